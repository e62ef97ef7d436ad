"""Whole synthetic subjects, and all that is asked of them: distribution, group effects, usefulness, privacy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from crow.cohort.cohort import Cohort
from crow.evaluation.contrasts import Contrast, people_of
from crow.evaluation.distribution import FOLDS, by_region, overall
from crow.evaluation.group_evaluation import evaluate_groups
from crow.evaluation.privacy import FEWEST, Records, audit
from crow.evaluation.result import EvaluationResult
from crow.evaluation.tadpole_forecast import evaluate_tadpole
from crow.evaluation.usefulness import usefulness
from crow.models.crow import CRow
from crow.seeds import derived_seed

AUDITED = 100  # people whose covariates the audited ones have, of each kind


def evaluate_synthetic(
    model: CRow,
    training: Cohort,
    held_out: Cohort,
    seed: int = 0,
    contrasts: Sequence[Contrast] | None = None,
    echo: Callable[[str], None] = lambda line: None,
) -> EvaluationResult:
    """How whole synthetic subjects of ``model`` compare with real ones it was not trained on, and TADPOLE's scores.

    ``contrasts`` are by default those of `contrasts_of` the training cohort. Nothing is fitted but small models of
    scikit-learn. What cannot be had is in ``left_out`` with the reason; nothing is raised for a small cohort.
    """
    training, held_out = _measured(training, model), _measured(held_out, model)
    result = EvaluationResult()
    for part, evaluate in (
        ("distribution", evaluate_distribution), ("usefulness", evaluate_usefulness), ("privacy", evaluate_privacy)
    ):  # fmt: skip
        echo(f"{part} of synthetic subjects")
        result = result.merge(evaluate(model, training, held_out, seed))
    echo("group effects of synthetic subjects")
    result = result.merge(evaluate_groups(model, training, held_out, seed, contrasts))
    echo("TADPOLE's scores, where there are its columns")
    return result.merge(evaluate_tadpole(model, training, held_out, seed))


def evaluate_distribution(model: CRow, training: Cohort, held_out: Cohort, seed: int = 0) -> EvaluationResult:
    """Synthetic against held-out subjects, and real training against held-out subjects beside it (``..._real``).

    There is one synthetic subject for every training subject, with its covariates, visit times and missing regions: a
    perfect model is as far from the held-out subjects as the training subjects are.
    """
    if (fewest := min(len(training.subjects), len(held_out.subjects))) < FOLDS:
        return EvaluationResult(left_out=[("distribution", f"{fewest} subjects: at least {FOLDS} of training and as many held "
                                                   "out are needed.")])  # fmt: skip
    regions, real = model.table.regions, held_out.visits
    drawn = synthetic_visits(model, training, derived_seed(seed, 1))
    table, beside = (by_region(real, other, regions) for other in (drawn, training.visits))
    for name in ("wasserstein", "jensen_shannon", "wasserstein_change"):
        table[f"{name}_real"] = beside[name]
    table["autocorrelation_training"] = beside["autocorrelation_synthetic"]
    numbers = {name: float(table[name].mean()) for name in table.columns[1:] if not name.startswith("autocorr")}
    held, of = table["autocorrelation_real"], "autocorrelation_difference"
    numbers[of] = float((table["autocorrelation_synthetic"] - held).abs().mean())
    numbers[f"{of}_real"] = float((table["autocorrelation_training"] - held).abs().mean())
    whole, whole_real = (overall(real, other, regions, seed) for other in (drawn, training.visits))
    for name in whole:
        numbers[name], numbers[f"{name}_real"] = whole[name], whole_real[name]
    why = "there is nothing to compare: too few visits, or too few without missing regions."
    left_out = [(f"distribution.{name}", why) for name, value in numbers.items() if np.isnan(value)]
    table = table.rename(columns={"autocorrelation_real": "autocorrelation_held_out"})
    return EvaluationResult({"distribution": numbers}, {"distribution": table}, left_out)


def evaluate_usefulness(model: CRow, training: Cohort, held_out: Cohort, seed: int = 0) -> EvaluationResult:
    """`usefulness` of synthetic subjects with the covariates and visit times of the training subjects."""
    drawn = synthetic_visits(model, training, derived_seed(seed, 2))
    known = [name for name in training.covariates if name in held_out.visits]
    table, left_out = usefulness(training.visits, drawn, held_out.visits, model.table.regions, known, seed=seed)
    if table.empty:
        return EvaluationResult(left_out=left_out)
    rows = {str(row.pop("task")): row for row in table.to_dict("records")}
    return EvaluationResult({"usefulness": rows}, {"usefulness": table}, left_out)


def evaluate_privacy(model: CRow, training: Cohort, held_out: Cohort, seed: int = 0) -> EvaluationResult:
    """`audit` of people generated for the covariates of as many training as held-out subjects (at most 100 of each)."""
    mean, sd = (pd.Series(each, model.table.regions) for each in (model.table.mean, model.table.sd))
    rng = np.random.default_rng([seed, 3])
    size = min(len(training.subjects), len(held_out.subjects), AUDITED)
    drawn = []
    for k, cohort in enumerate((training, held_out)):
        chosen = rng.permutation(cohort.subjects)[:size]
        visits = synthetic_visits(model, people_of(cohort, chosen), derived_seed(seed, 3, k))
        drawn.append(visits.assign(subject=f"{k} " + visits["subject"]))
    synthetic, train, others = (
        Records.of(visits, mean, sd) for visits in (pd.concat(drawn), training.visits, held_out.visits)
    )
    if (fewest := min(len(set(each.subject)) for each in (synthetic, train, others))) < FEWEST:
        return EvaluationResult(left_out=[("privacy", f"{fewest} subjects have a visit without a missing region: at least "
                                              f"{FEWEST} of each kind are needed.")])  # fmt: skip
    left_out, nats = [], None
    if model.config.model.objective == "inn":
        left_out.append(("privacy.membership_auc", "the published objective (inn) has no likelihood."))
    else:
        known, unknown = (
            model.log_prob(cohort).groupby("subject")["log_prob"].mean() for cohort in (training, held_out)
        )
        nats = known.to_numpy(float), unknown.to_numpy(float)
    found = audit(synthetic, train, others, nats, seed)
    table = pd.DataFrame({"measure": list(found.figures), "value": list(found.figures.values())})
    numbers = {"verdict": found.verdict, "reasons": found.reasons, **found.figures}
    return EvaluationResult({"privacy": numbers}, {"privacy": table}, left_out)


def synthetic_visits(model: CRow, cohort: Cohort, seed: int = 0) -> pd.DataFrame:
    """The visits of ``cohort`` with synthetic regions, drawn for its covariates, ages and times; gaps stay gaps."""
    regions = model.table.regions
    values = model.sample(cohort.visits.drop(columns=regions), seed=seed).values[:, 0]
    drawn = cohort.visits.copy()
    drawn[regions] = np.where(cohort.visits[regions].notna(), values, np.nan)
    return drawn


def _measured(cohort: Cohort, model: CRow) -> Cohort:
    """The visits at which a region of the model was measured."""
    model.table.require(cohort.visits, cohort.path or "the cohort")
    visits = cohort.visits[cohort.visits[model.table.regions].notna().any(axis=1)].reset_index(drop=True)
    return replace(cohort, visits=visits)
