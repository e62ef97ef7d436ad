"""Synthetic subjects beside real ones: distribution, usefulness, privacy, group effects and TADPOLE's scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from crow.cohort.cohort import Cohort
from crow.evaluation.contrasts import Contrast
from crow.evaluation.distribution import FOLDS, by_region, overall
from crow.evaluation.group_evaluation import evaluate_groups
from crow.evaluation.privacy import audit
from crow.evaluation.privacy_result import MIN_SUBJECTS, NO_GUARANTEE, Records
from crow.evaluation.privacy_table import audit_table
from crow.evaluation.result import EvaluationResult
from crow.evaluation.tadpole_forecast import evaluate_tadpole
from crow.evaluation.usefulness import usefulness
from crow.models.crow import CRow
from crow.seeds import SeedStream, derived_seed
from crow.synthetic.covariate_model import CovariateModel

MAX_AUDITED = 100  # training subjects, and as many test subjects, whose covariates the audited subjects have
N_NEW = 200  # synthetic subjects whose whole records are audited


def evaluate_synthetic(
    model: CRow,
    training: Cohort,
    test: Cohort,
    seed: int = 0,
    contrasts: Sequence[Contrast] | None = None,
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> EvaluationResult:
    """Compare synthetic subjects of a model with real test subjects, and compute TADPOLE's scores.

    Only small models of scikit-learn are fitted. A small cohort is no error: whatever cannot be evaluated is left out
    with the reason.

    Parameters
    ----------
    model : CRow
        A fitted model.
    training, test : Cohort
        Training and test subjects.
    seed : int
        Seed of the synthetic subjects.
    contrasts : sequence of Contrast, optional
        Groups to compare; by default those of `contrasts_of` the training subjects.
    progress : callable
        Wraps the names of the parts, for a progress bar.

    Returns
    -------
    EvaluationResult
        Metrics and tables ``distribution``, ``usefulness``, ``privacy``, ``group_effects`` and ``tadpole``.

    Raises
    ------
    CohortError
        If a cohort lacks regions of the model.
    """
    training, test = _observed(training, model), _observed(test, model)
    parts: dict[str, Callable[[], EvaluationResult]] = {
        "distribution of synthetic subjects": lambda: evaluate_distribution(model, training, test, seed),
        "usefulness of synthetic subjects": lambda: evaluate_usefulness(model, training, test, seed),
        "privacy": lambda: evaluate_privacy(model, training, test, seed),
        "group effects": lambda: evaluate_groups(model, training, test, seed, contrasts),
        "TADPOLE's scores": lambda: evaluate_tadpole(model, training, test, seed),
    }
    result = EvaluationResult()
    for part in progress(list(parts)):
        result = result.merge(parts[part]())
    return result


def evaluate_distribution(model: CRow, training: Cohort, test: Cohort, seed: int = 0) -> EvaluationResult:
    """Distances from synthetic to test subjects, beside those from training to test subjects (``..._real``).

    There is one synthetic subject per training subject, with its covariates, visit times and missing regions, so that a
    perfect model is as far from the test subjects as the training subjects are.

    Parameters
    ----------
    model, training, test, seed
        As in `evaluate_synthetic`.

    Returns
    -------
    EvaluationResult
        Metrics ``distribution`` (means over regions of `by_region`, and `overall`) and the table by region.
    """
    if (smallest := min(len(training.subjects), len(test.subjects))) < FOLDS:
        reason = f"{smallest} subjects: at least {FOLDS} training and {FOLDS} test subjects are needed."
        return EvaluationResult(left_out=[("distribution", reason)])
    regions, real = model.table.regions, test.visits
    drawn = synthetic_visits(model, training, derived_seed(seed, SeedStream.SYNTHETIC_DISTRIBUTION))
    table, chance = (by_region(real, other, regions) for other in (drawn, training.visits))
    for name in ("wasserstein", "jensen_shannon", "wasserstein_change"):
        table[f"{name}_real"] = chance[name]
    table["autocorrelation_training"] = chance["autocorrelation_synthetic"]
    table = table.rename(columns={"autocorrelation_real": "autocorrelation_test"})
    numbers = {name: float(table[name].mean()) for name in table.columns[1:] if not name.startswith("autocorr")}
    for source, suffix in (("synthetic", ""), ("training", "_real")):
        difference = table[f"autocorrelation_{source}"] - table["autocorrelation_test"]
        numbers[f"autocorrelation_difference{suffix}"] = float(difference.abs().mean())
    synthetic, chance_overall = (overall(real, other, regions, seed) for other in (drawn, training.visits))
    for name in synthetic:
        numbers[name], numbers[f"{name}_real"] = synthetic[name], chance_overall[name]
    reason = "there is nothing to compare: too few visits, or too few complete ones."
    left_out = [(f"distribution.{name}", reason) for name, value in numbers.items() if np.isnan(value)]
    return EvaluationResult({"distribution": numbers}, {"distribution": table}, left_out)


def evaluate_usefulness(model: CRow, training: Cohort, test: Cohort, seed: int = 0) -> EvaluationResult:
    """`usefulness` of synthetic subjects with the covariates and visit times of the training subjects.

    Parameters
    ----------
    model, training, test, seed
        As in `evaluate_synthetic`.

    Returns
    -------
    EvaluationResult
        Metrics by task, and the table ``usefulness``.
    """
    drawn = synthetic_visits(model, training, derived_seed(seed, SeedStream.SYNTHETIC_USEFULNESS))
    known = [name for name in training.covariates if name in test.visits]
    table, left_out = usefulness(training.visits, drawn, test.visits, model.table.regions, known, seed=seed)
    if table.empty:
        return EvaluationResult(left_out=left_out)
    rows = {str(row.pop("task")): row for row in table.to_dict("records")}
    return EvaluationResult({"usefulness": rows}, {"usefulness": table}, left_out)


def by_family(cohort: Cohort) -> pd.DataFrame:
    """The visits of a cohort with relatives as one subject."""
    return cohort.visits.assign(subject=cohort.split_names(cohort.visits["subject"]))


def evaluate_privacy(model: CRow, training: Cohort, test: Cohort, seed: int = 0) -> EvaluationResult:
    """Audit of what the flow memorised, and of the whole records of new synthetic subjects.

    `audit` compares subjects generated for the covariates of as many training as test subjects, at most 100 each.
    `audit_table` compares new subjects, as ``crow generate --new-subjects`` writes them. Relatives count as one.

    Parameters
    ----------
    model, training, test, seed
        As in `evaluate_synthetic`.

    Returns
    -------
    EvaluationResult
        Metrics ``privacy`` (verdict, reasons and figures) and the table of figures.
    """
    mean, sd = (pd.Series(each, model.table.regions) for each in (model.table.mean, model.table.sd))
    rng = np.random.default_rng([seed, 3])
    size = min(len(training.subjects), len(test.subjects), MAX_AUDITED)
    drawn = []
    for k, cohort in enumerate((training, test)):
        chosen = rng.permutation(cohort.subjects)[:size]
        visits = synthetic_visits(model, cohort.of(chosen), derived_seed(seed, SeedStream.SYNTHETIC_PRIVACY, k))
        drawn.append(visits.assign(subject=f"{k} " + visits["subject"]))
    synthetic, train, others = (
        Records.of(visits, mean, sd) for visits in (pd.concat(drawn), by_family(training), by_family(test))
    )
    if (smallest := min(len(set(each.subject)) for each in (synthetic, train, others))) < MIN_SUBJECTS:
        reason = (
            f"{smallest} subjects have a complete visit: at least {MIN_SUBJECTS} synthetic, training and test subjects "
            "are needed."
        )
        return EvaluationResult(left_out=[("privacy", reason)])
    left_out, log_prob = [], None
    if model.config.model.objective == "inn":
        left_out.append(("privacy.membership_auc", "the published objective (inn) has no likelihood."))
    else:
        own, other = (
            log_prob.groupby(cohort.split_names(log_prob["subject"]))["log_prob"].mean()
            for cohort in (training, test)
            for log_prob in [model.log_prob(cohort)]
        )
        log_prob = own.to_numpy(float), other.to_numpy(float)
    found = audit(synthetic, train, others, log_prob, seed)
    new = new_visits(model, training, N_NEW, seed)
    found = found.merge(audit_table(new, training, test, model.table.regions, seed))
    table = pd.DataFrame({"measure": list(found.figures), "value": list(found.figures.values())})
    numbers = {
        "verdict": found.verdict, "reasons": found.reasons, "differential_privacy": NO_GUARANTEE, **found.figures,
    }  # fmt: skip
    return EvaluationResult({"privacy": numbers}, {"privacy": table}, left_out)


def new_visits(model: CRow, training: Cohort, count: int, seed: int = 0) -> pd.DataFrame:
    """The visits of new synthetic subjects, whose covariates and times come from a model of their own."""
    generator = np.random.default_rng(derived_seed(seed, SeedStream.SYNTHETIC_PRIVACY, 2))
    paths = CovariateModel.fit(training).draw(count, generator)
    drawn = model.sample(paths, seed=derived_seed(seed, SeedStream.SYNTHETIC_PRIVACY, 3))
    return pd.concat([paths, pd.DataFrame(drawn.values[:, 0], paths.index, drawn.regions)], axis=1)


def synthetic_visits(model: CRow, cohort: Cohort, seed: int = 0) -> pd.DataFrame:
    """The visits of ``cohort`` with synthetic regions, drawn for its covariates, ages and times.

    Missing values stay missing.
    """
    regions = model.table.regions
    values = model.sample(cohort.visits.drop(columns=regions), seed=seed).values[:, 0]
    drawn = cohort.visits.copy()
    drawn[regions] = np.where(cohort.visits[regions].notna(), values, np.nan)
    return drawn


def _observed(cohort: Cohort, model: CRow) -> Cohort:
    """The visits with a value of at least one region of the model."""
    model.table.require(cohort.visits, cohort.path or "the cohort")
    visits = cohort.visits[cohort.visits[model.table.regions].notna().any(axis=1)].reset_index(drop=True)
    return replace(cohort, visits=visits)
