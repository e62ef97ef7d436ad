"""Any wide table is read as the long one that it stands for."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_tables import assert_read, dated, save

from crow.cohort import read_cohort
from crow.cohort.wide import find_waves
from crow.errors import CohortError

LABELS = st.sampled_from(["W{}", "w{}", "T{}", "Wave{}", "ses{:02d}", "V{}", "visit{}", "tp{}"])


@settings(max_examples=25, deadline=None)
@given(
    label=LABELS, link=st.sampled_from(["_", ".", "-", " "]), before=st.booleans(),
    waves=st.integers(2, 5), subjects=st.integers(10, 15), seed=st.integers(0, 99),
    measures=st.lists(st.sampled_from(["Hippocampus", "Left-Caudate", "MMSE", "lh_area"]), min_size=1, unique=True),
)  # fmt: skip
def test_any_wide_table_is_its_long_one(
    label: str, link: str, before: bool, waves: int, subjects: int, seed: int, measures: list[str]
) -> None:
    """A value per measure, subject and wave comes back at its place; empty waves are no visits."""
    rng = np.random.default_rng(seed)
    ages = 60 + np.arange(subjects)[:, None] + np.cumsum(rng.uniform(0.5, 2, (subjects, waves)), 1).round(2)
    values = rng.normal(50, 5, (len(measures), subjects, waves)).round(3)
    absent = rng.random((subjects, waves)) < 0.2
    absent[:, :2] = False
    columns = {"id": [f"P{s:02d}" for s in range(subjects)]}
    for w in range(waves):
        for name, cells in (("age", ages), *zip(measures, values, strict=True)):
            wave = label.format(w + 1)
            column = f"{wave}{link}{name}" if before else f"{name}{link}{wave}"
            columns[column] = np.where(absent[:, w], "", cells[:, w].astype(str)).tolist()
    cohort = read_cohort(pd.DataFrame(columns))
    assert len(cohort) == (~absent).sum() and set(measures) <= {*cohort.regions, *cohort.covariates}
    for name, cells in zip(measures, values, strict=True):
        np.testing.assert_allclose(cohort.visits[name].to_numpy(float), cells[~absent])


@pytest.mark.parametrize(
    ("form", "labels"),
    [
        ("{name}_{wave}", ["BL", "FU1", "FU2"]), ("{name}_{wave}", ["bl", "fu1", "fu2"]), ("{name}.{wave}", [1, 2, 3]),
        ("{name}_{wave}", [1, 2, 3]), ("{name}{wave}", [1, 2, 3]), ("{name}{wave}", ["", ".1", ".2"]),
        ("{name}{wave}", ["", "_2", "_3"]), ("{wave}_{name}", [2012, 2013, 2014]),
        ("{name}_{wave}", [2012, 2013, 2014]),
        ("{name}.{wave}mo", [0, 12, 24]), ("{name}_{wave}J", [0, 1, 2]), ("{name}_yr{wave}", [0, 1, 2]),
        ("{name} ({wave})", ["T1", "T2", "T3"]), ("{name} (Visit {wave})", [1, 2, 3]), ("{name}[{wave}]", [1, 2, 3]),
        ("{name}__{wave}", [1, 2, 3]), ("{name}_Besuch{wave}", [1, 2, 3]), ("ses-{wave}_{name}", ["01", "02", "03"]),
        ("w{wave}{name}", [1, 2, 3]), ("{name}:{wave}", ["T1", "T2", "T3"]),
        ("{name}_{wave}", ["baseline", "M12", "M24"]),
    ],
)  # fmt: skip
def test_labels_of_waves_in_many_writings(tmp_path: Path, form: str, labels: list[object]) -> None:
    truth = dated()
    wave = truth.groupby("subject").cumcount()
    table = truth[wave == 0][["subject", "sex"]].set_index("subject")
    for number, label in enumerate(labels):
        rows = truth[wave == number].set_index("subject")
        for name in ("age", "Hippocampus", "Ventricles"):
            table[form.format(name=name, wave=label)] = rows[name]
    cohort = read_cohort(save(table.reset_index(), tmp_path / "t.csv"))
    assert cohort.regions == ["Hippocampus", "Ventricles"]
    assert cohort.covariates == ["sex"]
    assert_read(cohort, truth, within=0.02)


@pytest.mark.parametrize("form", ["{name}_{wave}", "{wave}_{name}"])
def test_before_and_after(tmp_path: Path, form: str) -> None:
    truth = dated(visits=2)
    wave = truth.groupby("subject").cumcount()
    parts = [
        truth[wave == number].set_index("subject")[["age", "Hippocampus", "Ventricles"]].rename(
            columns=lambda name, label=label: form.format(name=name, wave=label)
        )
        for number, label in enumerate(("pre", "post"))
    ]  # fmt: skip
    assert_read(read_cohort(save(pd.concat(parts, axis=1).reset_index(), tmp_path / "t.csv")), truth, within=0.02)


def test_numbers_at_the_end_of_names_are_waves_only_with_a_time() -> None:
    assert find_waves(["id", "item_1", "item_2", "item_3"]) is None
    assert find_waves(["id", "pre_central", "post_central", "age"]) is None
    assert find_waves(["id", "T1w_mean", "T2w_mean", "age"]) is None
    found = find_waves(["id", "item_1", "item_2", "age_1", "age_2"])
    assert found is not None and found.waves == ("1", "2")


def test_one_row_per_subject_without_waves_is_refused_with_the_names_of_waves(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="names such as Hippocampus_w1 and Hippocampus_w2"):
        read_cohort(save(dated(visits=1), tmp_path / "t.csv"))
