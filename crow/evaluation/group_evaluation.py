"""Group effects of synthetic subjects beside those of real ones, by contrast and region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort
from crow.data.forecast import quantiles_of
from crow.evaluation.contrasts import MIN_GROUP, Contrast, contrasts_of, group_members, path_visits
from crow.evaluation.groups import (
    MIN_REGIONS,
    bootstrapped,
    cohens_d,
    concordance,
    concordance_interval,
    effects,
    p_values,
    significant,
)
from crow.evaluation.result import EvaluationResult
from crow.models.crow import CRow
from crow.seeds import SeedStream, derived_seed

Values = NDArray[np.float64]
N_REPLICATES = 100  # synthetic studies of the size of the real one
N_PATH_SUBJECTS = 500  # on each idealised path
TIMES = {"last": "at the last visit", "change": "change from the first visit to the last"}


class Group(NamedTuple):
    """The subjects of one side of a contrast.

    ``values [visit, replicate, region]`` with the ``subject [visit]`` of each visit; ``observed [visit, region]`` tells
    which values were observed.
    """

    subject: pd.Series
    values: Values
    observed: NDArray[np.bool_]

    def at(self, time: str) -> Values:
        """``[replicate, subject, region]``: each subject's last value, or the last minus the first (``change``).

        NaN for a subject without an observed value, or with only one if a change is wanted.
        """
        subject, subjects = pd.factorize(self.subject)
        visits, regions = len(subject), np.arange(self.observed.shape[1])
        row = np.arange(visits)[:, None]
        last = np.full((len(subjects), len(regions)), -1)
        first = np.full_like(last, visits)
        np.maximum.at(last, subject, np.where(self.observed, row, -1))
        np.minimum.at(first, subject, np.where(self.observed, row, visits))
        found, exists = self.values[last, :, regions], last >= 0  # [subject, region, replicate]
        if time == "change":
            found, exists = found - self.values[np.minimum(first, visits - 1), :, regions], last > first
        return np.moveaxis(np.where(exists[..., None], found, np.nan), -1, 0)


def evaluate_groups(
    model: CRow, training: Cohort, test: Cohort, seed: int = 0, contrasts: Sequence[Contrast] | None = None
) -> EvaluationResult:
    """Cohen's d of each contrast by region, at the last visit and of the change, real beside synthetic.

    The real groups consist of test subjects (of all subjects, with a warning, if a group has fewer than 10 test
    subjects). The synthetic groups have the covariates and visit times of the same subjects, in 100 replicates; each
    replicate is a study of the real size. ``d_path`` is the published experiment: synthetic subjects on one path and
    on the other, all else equal.

    Parameters
    ----------
    model : CRow
        A fitted model.
    training, test : Cohort
        Training and test subjects.
    seed : int
        Seed of the synthetic subjects and of the bootstrap.
    contrasts : sequence of Contrast, optional
        By default `contrasts_of` the training subjects.

    Returns
    -------
    EvaluationResult
        Table ``group_effects``: one row per contrast and region, with ``d_real``, ``d_synthetic`` and ``d_path``,
        each with the bounds of its 95 % interval (``_low``, ``_high``), ``p_real`` and ``p_synthetic``. Metrics
        ``group_effects``, by contrast: ``concordance`` of real and synthetic d with its interval;
        ``concordance_expected``, the median concordance of a single replicate, which real subjects would reach if the
        model were true; medians of |d|; and numbers of significant regions at the real sample size.
    """
    left_out: list[tuple[str, str]] = []
    if contrasts is None:
        contrasts, left_out = contrasts_of(training)
    result = EvaluationResult(left_out=left_out)
    for k, contrast in enumerate(contrasts):
        own_seed = derived_seed(seed, SeedStream.GROUP_CONTRAST, k)
        result = result.merge(_evaluate_contrast(model, training, test, contrast, own_seed))
    return result


def _evaluate_contrast(model: CRow, training: Cohort, test: Cohort, contrast: Contrast, seed: int) -> EvaluationResult:
    name, regions, warnings = contrast.covariate, model.table.regions, []
    subjects, groups = test, group_members(test, contrast)
    if min(map(len, groups)) < MIN_GROUP:
        warnings.append(
            f"Group effects of {name}: the groups of {_sizes(groups)} test subjects are too small, so the real effects "
            "are those of all subjects, including the training subjects."
        )
        subjects = replace(training, visits=pd.concat([training.visits, test.visits], ignore_index=True))
        groups = group_members(subjects, contrast)
    if min(map(len, groups)) < 2:
        reason = f"groups of {_sizes(groups)} subjects: at least 2 are needed in each ({contrast.rule})."
        return EvaluationResult(left_out=[(f"group_effects.{name}", reason)])
    real, replicates, on_paths = [], [], []
    paths = path_visits(training, contrast, N_PATH_SUBJECTS, seed)
    for k, (group, path) in enumerate(zip(groups, paths, strict=True)):
        visits = subjects.of(group).visits.reset_index(drop=True)
        values, observed = visits[regions].to_numpy(float)[:, None], visits[regions].notna().to_numpy()
        draw_seed = derived_seed(seed, SeedStream.GROUP_DRAWS, k)
        drawn = model.sample(visits.drop(columns=regions), N_REPLICATES, draw_seed).values
        ideal = model.sample(path, 1, derived_seed(seed, SeedStream.GROUP_REFERENCE, k)).values
        real.append(Group(visits["subject"], values, observed))
        replicates.append(Group(visits["subject"], drawn, observed))
        on_paths.append(Group(path["subject"], ideal, np.ones((len(path), len(regions)), bool)))
    source = "test subjects" if subjects is test else "all subjects"
    shared = {"paths": contrast.paths, "rule": contrast.rule, "subjects": source, "subjects_first": len(groups[0]),
              "subjects_second": len(groups[1])}  # fmt: skip
    result = EvaluationResult(warnings=warnings)
    for time, description in TIMES.items():
        label = name if time == "last" else f"{name} change"
        found = _compare_effects(
            label, regions, [group.at(time)[0] for group in real], [group.at(time) for group in replicates],
            [group.at(time)[0] for group in on_paths], seed,
        )  # fmt: skip
        for numbers in found.metrics.get("group_effects", {}).values():
            numbers |= {"time": description, **shared}
        result = result.merge(found)
    return result


def _compare_effects(
    label: str, regions: list[str], real: list[Values], replicates: list[Values], on_paths: list[Values], seed: int
) -> EvaluationResult:
    """Two groups each: ``real [subject, region]``, ``replicates [replicate, subject, region]`` and
    ``on_paths [subject, region]``."""
    if all(np.isnan(cohens_d(*groups)).all() for groups in (real, on_paths)):
        reason = "no region was observed often enough in both groups."
        return EvaluationResult(left_out=[(f"group_effects.{label}", reason)])
    found = effects(real[0], real[1], regions, seed=seed).rename(columns={
        "d": "d_real", "d_low": "d_real_low", "d_high": "d_real_high", "p": "p_real",
    })  # fmt: skip
    each, p = cohens_d(*replicates), p_values(*replicates)  # [replicate, region]
    d = cohens_d(*(group.reshape(-1, len(regions)) for group in replicates))
    low, high = quantiles_of(each, [0.025, 0.975], axis=0)
    ideal = effects(on_paths[0], on_paths[1], regions, seed=seed)
    table = found.assign(
        d_synthetic=d, d_synthetic_low=low, d_synthetic_high=high, p_synthetic=np.median(p, 0),
        d_path=ideal["d"], d_path_low=ideal["d_low"], d_path_high=ideal["d_high"],
    )  # fmt: skip
    table.insert(0, "contrast", label)
    numbers = _agreement(table, each, bootstrapped(real[0], real[1], seed=seed)) | _significance(table, p)
    left_out = []
    if np.isnan(numbers["concordance"]):
        left_out.append(
            (f"group_effects.{label}.concordance", f"fewer than {MIN_REGIONS} regions have an effect to compare.")
        )
    return EvaluationResult({"group_effects": {label: numbers}}, {"group_effects": table}, left_out)


def _agreement(table: pd.DataFrame, each: Values, resampled: Values) -> dict[str, float]:
    """Concordance of real and synthetic effects, what to expect if the model were true, and sizes of effects."""
    d_real, d = table["d_real"].to_numpy(), table["d_synthetic"].to_numpy()
    bounds = concordance_interval(d_real, resampled, d)
    by_replicate = np.array([concordance(row, d) for row in each])
    low, expected = quantiles_of(by_replicate, [0.05, 0.5], axis=0)
    return {
        "regions": len(table), "concordance": concordance(d_real, d), "concordance_low": bounds[0],
        "concordance_high": bounds[1], "concordance_expected": float(expected),
        "concordance_expected_low": float(low),
        **{f"median_abs_{name}": float(np.nanmedian(np.abs(table[name])))
           for name in ("d_real", "d_synthetic", "d_path")},
    }  # fmt: skip


def _significance(table: pd.DataFrame, p: Values) -> dict[str, float]:
    """Numbers of significant regions in the real study and in the synthetic replicates ``p [replicate, region]``."""
    low, middle, high = quantiles_of(np.array([significant(row) for row in p]), [0.05, 0.5, 0.95], axis=0)
    return {
        "significant_real": significant(table["p_real"].to_numpy()), "significant_synthetic": float(middle),
        "significant_synthetic_low": float(np.floor(low)), "significant_synthetic_high": float(np.ceil(high)),
    }  # fmt: skip


def _sizes(groups: tuple[list[str], list[str]]) -> str:
    return " and ".join(str(len(group)) for group in groups)
