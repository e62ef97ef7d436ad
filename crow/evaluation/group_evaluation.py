"""Group effects of synthetic people beside those of real ones, contrast by contrast and region by region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort
from crow.evaluation.contrasts import ENOUGH, Contrast, contrasts_of, members, path_visits, people_of
from crow.evaluation.groups import (
    FEWEST,
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
from crow.seeds import derived_seed

Values = NDArray[np.float64]
COPIES = 100  # synthetic studies of the size of the real one
ON_PATHS = 500  # people on each idealised path
TIMES = {"last": "at the last visit", "change": "change from the first visit to the last"}


class Group(NamedTuple):
    """``values [visit, copy, region]`` of the people of a contrast, whose visits ``subject [visit]`` tells apart;
    ``known [visit, region]`` says what was measured."""

    subject: pd.Series
    values: Values
    known: NDArray[np.bool_]

    def at(self, time: str) -> Values:
        """``[copy, person, region]``: each person's last value, or the last less the first; NaN without one, or two."""
        subject, people = pd.factorize(self.subject)
        visits, regions = len(subject), np.arange(self.known.shape[1])
        row = np.arange(visits)[:, None]
        last = np.full((len(people), len(regions)), -1)
        first = np.full_like(last, visits)
        np.maximum.at(last, subject, np.where(self.known, row, -1))
        np.minimum.at(first, subject, np.where(self.known, row, visits))
        found, there = self.values[last, :, regions], last >= 0  # [person, region, copy]
        if time == "change":
            found, there = found - self.values[np.minimum(first, visits - 1), :, regions], last > first
        return np.moveaxis(np.where(there[..., None], found, np.nan), -1, 0)


def evaluate_groups(
    model: CRow, training: Cohort, held_out: Cohort, seed: int = 0, contrasts: Sequence[Contrast] | None = None
) -> EvaluationResult:
    """Cohen's d of each contrast by region, at the last visit and of the change, real against synthetic.

    Real groups are held-out people (all people where fewer than 10 of a group were held out, which is said). Synthetic
    ones have the covariates and visit times of these very people, a hundred times over: each copy is a study of the
    real size, whose effects spread as widely as chance makes them (``d_synthetic_low, d_synthetic_high``) and whose
    significant regions are counted. ``concordance_if_true`` is that of one synthetic study with all of them: what real
    people would show were the model true. ``d_path`` is the published experiment: invented people, all else equal, on
    one path and on the other.
    """
    left_out: list[tuple[str, str]] = []
    if contrasts is None:
        contrasts, left_out = contrasts_of(training)
    result = EvaluationResult(left_out=left_out)
    for k, contrast in enumerate(contrasts):
        result = result.merge(_contrasted(model, training, held_out, contrast, derived_seed(seed, 4, k)))
    return result


def _contrasted(model: CRow, training: Cohort, held_out: Cohort, contrast: Contrast, seed: int) -> EvaluationResult:
    name, regions, warnings = contrast.covariate, model.table.regions, []
    people, groups = held_out, members(held_out, contrast)
    if min(map(len, groups)) < ENOUGH:
        warnings.append(
            f"group effects of {name}: groups of {_sizes(groups)} held-out people are too small, so the real effects "
            "are those of all people, the training subjects too."
        )
        people = replace(training, visits=pd.concat([training.visits, held_out.visits], ignore_index=True))
        groups = members(people, contrast)
    if min(map(len, groups)) < 2:
        why = f"groups of {_sizes(groups)} people: at least 2 are needed in each ({contrast.rule})."
        return EvaluationResult(left_out=[(f"group_effects.{name}", why)])
    real, copies, on_paths = [], [], []
    for k, (group, path) in enumerate(zip(groups, path_visits(training, contrast, ON_PATHS, seed), strict=True)):
        visits = people_of(people, group).visits
        measured, known = visits[regions].to_numpy(float)[:, None], visits[regions].notna().to_numpy()
        drawn = model.sample(visits.drop(columns=regions), COPIES, derived_seed(seed, 1, k)).values
        ideal = model.sample(path, 1, derived_seed(seed, 2, k)).values
        real.append(Group(visits["subject"], measured, known))
        copies.append(Group(visits["subject"], drawn, known))
        on_paths.append(Group(path["subject"], ideal, np.ones((len(path), len(regions)), bool)))
    who = "held-out people" if people is held_out else "all people"
    shared = {"paths": contrast.paths, "rule": contrast.rule, "people": who, "people_first": len(groups[0]),
              "people_second": len(groups[1])}  # fmt: skip
    result = EvaluationResult(warnings=warnings)
    for at, said in TIMES.items():
        label = name if at == "last" else f"{name} change"
        found = _compared(
            label, regions, [group.at(at)[0] for group in real], [group.at(at) for group in copies],
            [group.at(at)[0] for group in on_paths], seed,
        )  # fmt: skip
        for numbers in found.metrics.get("group_effects", {}).values():
            numbers |= {"at": said, **shared}
        result = result.merge(found)
    return result


def _compared(
    label: str, regions: list[str], real: list[Values], copies: list[Values], on_paths: list[Values], seed: int
) -> EvaluationResult:
    """Of groups ``real [person, region]``, ``copies [copy, person, region]`` and ``on_paths [person, region]``."""
    if all(np.isnan(cohens_d(*groups)).all() for groups in (real, on_paths)):
        return EvaluationResult(left_out=[(f"group_effects.{label}", "no region was measured often enough in both groups.")])
    found = effects(real[0], real[1], regions, seed=seed).rename(columns={
        "d": "d_real", "d_low": "d_real_low", "d_high": "d_real_high", "p": "p_real",
    })  # fmt: skip
    each, p = cohens_d(*copies), p_values(*copies)  # [copy, region]
    d = cohens_d(*(group.reshape(-1, len(regions)) for group in copies))
    low, high = np.quantile(each, [0.025, 0.975], axis=0)
    ideal = effects(on_paths[0], on_paths[1], regions, seed=seed)
    table = found.assign(
        d_synthetic=d, d_synthetic_low=low, d_synthetic_high=high, p_synthetic=np.median(p, 0),
        d_path=ideal["d"], d_path_low=ideal["d_low"], d_path_high=ideal["d_high"],
    )  # fmt: skip
    table.insert(0, "contrast", label)
    d_real, counts = table["d_real"].to_numpy(), [significant(row) for row in p]
    interval = concordance_interval(d_real, bootstrapped(real[0], real[1], seed=seed), d)
    by_chance = np.array([concordance(row, d) for row in each])
    numbers = {
        "regions": len(regions), "concordance": concordance(d_real, d), "concordance_low": interval[0],
        "concordance_high": interval[1], "concordance_if_true": float(np.median(by_chance)),
        "concordance_if_true_low": float(np.quantile(by_chance, 0.05)),
        "median_abs_d_real": float(np.nanmedian(np.abs(d_real))),
        "median_abs_d_synthetic": float(np.nanmedian(np.abs(d))),
        "median_abs_d_path": float(np.nanmedian(np.abs(ideal["d"]))),
        "significant_real": significant(found["p_real"].to_numpy()), "significant_synthetic": float(np.median(counts)),
        "significant_synthetic_low": float(np.quantile(counts, 0.05, method="inverted_cdf")),
        "significant_synthetic_high": float(np.quantile(counts, 0.95, method="inverted_cdf")),
    }  # fmt: skip
    left_out = []
    if np.isnan(numbers["concordance"]):
        left_out.append(
            (f"group_effects.{label}.concordance", f"fewer than {FEWEST} regions have an effect to compare.")
        )
    return EvaluationResult({"group_effects": {label: numbers}}, {"group_effects": table}, left_out)


def _sizes(groups: tuple[list[str], list[str]]) -> str:
    return " and ".join(str(len(group)) for group in groups)
