"""The privacy audit of synthetic tables: whole records, with covariates and visit times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_cohorts import in_memory

from crow.cohort import Cohort
from crow.evaluation.privacy_result import PrivacyAudit
from crow.evaluation.privacy_table import audit_table
from crow.synthetic.covariate_model import CovariateModel

REGIONS = ["ROI1", "ROI2", "ROI3", "ROI4"]
SUBJECTS, TEST = 100, 50


def cohort(seed: int, subjects: int = SUBJECTS, prefix: str = "s") -> Cohort:
    """Subjects with two to four visits at irregular ages, a sex, an education, and four correlated regions."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(subjects):
        age, level = rng.normal(73, 6), rng.normal(size=4)
        sex, years = rng.choice(["F", "M"]), rng.integers(8, 21)
        for gap in np.cumsum([0, *rng.uniform(0.8, 1.6, rng.integers(1, 4))]):
            values = level - 0.1 * gap + 0.2 * rng.normal(size=4)
            rows.append([f"{prefix}{k}", age + gap, sex, years, *values])
    table = pd.DataFrame(rows, columns=["subject", "age", "sex", "education", *REGIONS])
    table["age"] = table["age"].round(1)
    return in_memory(table, REGIONS, {"sex": "categorical", "education": "numeric"})


def found(synthetic: pd.DataFrame, seed: int = 0) -> PrivacyAudit:
    return audit_table(synthetic, cohort(100 + seed), cohort(200 + seed, TEST, "t"), REGIONS)


def drawn(seed: int) -> pd.DataFrame:
    """Covariates and visits from the model of `crow generate --new-subjects`, with regions of nobody."""
    paths = CovariateModel.fit(cohort(100 + seed)).draw(150, np.random.default_rng(seed))
    rng = np.random.default_rng(300 + seed)
    level = dict(zip(paths["subject"].unique(), rng.normal(size=(150, 4)), strict=True))
    values = np.stack(paths["subject"].map(level).to_list()) + 0.2 * rng.normal(size=(len(paths), 4))
    return pd.concat([paths, pd.DataFrame(values - 0.1 * paths[["time"]].to_numpy(), paths.index, REGIONS)], axis=1)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_an_honest_table_passes(seed: int) -> None:
    for synthetic in (cohort(seed).visits, drawn(seed)):
        audit = found(synthetic, seed)
        assert audit.verdict == "pass", audit
        figures = audit.figures
        assert figures["record_exact_copies"] == 0 and figures["k_anonymity"] >= 1
        assert 0.3 < figures["record_membership_auc_low"] < figures["record_membership_auc_high"] < 0.75
        assert figures["record_closest_record"] > 0


def test_a_copied_table_fails_with_every_sign() -> None:
    audit = found(cohort(100).visits.assign(subject=lambda table: "copied" + table["subject"]))
    assert audit.verdict == "fail"
    reasons = " ".join(audit.reasons)
    for sign in ("of the synthetic whole visits equal", "of the synthetic covariates with visit times equal",
                 "Distances to synthetic visits reveal", "can be guessed better"):  # fmt: skip
        assert sign in reasons
    assert audit.figures["record_exact_copies"] == 1 and audit.figures["record_membership_auc"] == 1
    assert audit.figures["record_membership_p"] < 1e-6 and audit.figures["attribute_p"] < 0.01
    assert audit.figures["on_single_subject"] > 2 * audit.figures["on_single_test_subject"]


def test_a_table_with_some_copies_or_slightly_changed_ones_fails() -> None:
    honest, train = cohort(0).visits, cohort(100).visits
    some = pd.concat([honest, train[train["subject"].isin(["s0", "s1", "s2"])].assign(subject="copied")])
    assert "equal those of a training subject" in " ".join(found(some).reasons)
    rng = np.random.default_rng(1)
    moved = train.assign(**{name: train[name] + 0.01 * rng.normal(size=len(train)) for name in ["age", *REGIONS]})
    audit = found(moved)
    assert audit.verdict == "fail" and audit.figures["record_exact_copies"] == 0
    assert "near copies" in " ".join(audit.reasons)


def test_copied_covariates_with_new_regions_fail() -> None:
    """As `--covariates-of-subjects` makes them: every subject can be found by its covariates and visit times."""
    copied, rng = cohort(100).visits, np.random.default_rng(5)
    level = dict(zip(copied["subject"].unique(), rng.normal(size=(SUBJECTS, 4)), strict=True))
    values = np.stack(copied["subject"].map(level).to_list()) + 0.2 * rng.normal(size=(len(copied), 4))
    copied[REGIONS] = values
    audit = found(copied)
    assert audit.verdict == "fail"
    assert audit.figures["covariate_exact_copies"] == 1 and audit.figures["record_exact_copies"] == 0
    assert "covariates with visit times equal" in " ".join(audit.reasons)


def test_relatives_count_as_one_subject() -> None:
    train, test = cohort(100), cohort(200, TEST, "t")
    for each in (train, test):
        each.groups = pd.Series({name: f"{name[0]}{k // 2}" for k, name in enumerate(each.subjects)})
    alone = found(cohort(0).visits).figures
    audit = audit_table(cohort(0).visits, train, test, REGIONS)
    assert audit.verdict == "pass", audit
    wider = [figures["record_membership_auc_high"] - figures["record_membership_auc_low"]
             for figures in (audit.figures, alone)]  # fmt: skip
    assert wider[0] > wider[1]  # half as many subjects
