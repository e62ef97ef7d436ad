"""Forecasts of the change of structures, from measured volumes alone: every subject is a test subject, several times.

In each fold the mixed model of changes, where the flow of structural scans begins, and the baselines are fitted to the
measured volumes of the other subjects. They forecast the last scan of each test subject from all earlier ones, and are
compared with the true change (percent of volume). No scan is rendered, and no member of the flow is trained.
`benchmarks/scans.py` writes the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats

from crow.bijections.change_fit import fit_change_model
from crow.bijections.innovation import MixedModelInnovation
from crow.data.sides import other_side
from crow.evaluation.region_baselines import Measured, RegionBaselines, covariate_columns
from crow.evaluation.scan_baselines import MEAN_CHANGE
from crow.evaluation.scan_regions import ScanRegions
from crow.evaluation.scan_truth import SimulatedTruth
from crow.representation.structure_volumes import NAMES, registration_error
from crow.scans.store import ScanStore

GROUPS = {"ventricles": "ventricles", "hippocampus": "hippocampus", "cortex": "cortex", "all 14 structures": ""}
JOINT = "crow, with a table of regions"
TABLE = ("ventricles", "hippocampus_left", "hippocampus_right")
ORACLE = "oracle: registration of the last scan"
Values = NDArray[np.float64]
Forecast = Callable[[Measured, float], tuple[Values, Values]]


class MixedModelOfChanges:
    """The mixed model of the changes of log volumes since the first scan, as `crow train` fits it.

    Values beyond those of the structures are the ``regions`` of a table, which are modelled with them.
    """

    def __init__(self, subjects: Sequence[Measured], resolution: float, regions: Sequence[str] = ()) -> None:
        self.resolution, sides = resolution, other_side([*NAMES, *regions])
        covariates = np.nan_to_num(np.concatenate([own.covariates for own in subjects]))
        self.centre, self.scale = covariates.mean(0), np.maximum(covariates.std(0), 1e-9)
        x, context = zip(*(self._encode(own) for own in subjects), strict=True)
        self.unit = torch.cat(x).square().mean(0)
        self.unit = ((self.unit + self.unit[sides]) / 2).sqrt()
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(v), dtype=torch.bool) for v in x], batch_first=True)
        values, known = (torch.nn.utils.rnn.pad_sequence(list(v), batch_first=True) for v in (x, context))
        channels = known.shape[2]
        self.model = MixedModelInnovation(values.shape[2], range(channels), range(1, channels)).double()
        fit_change_model(self.model, values / self.unit, known, mask, other_side=sides)

    @torch.no_grad()
    def __call__(self, past: Measured, years: float) -> tuple[Values, Values]:
        """Mean and sd of the change in percent, ``years`` after the last of the ``past`` scans."""
        x, context = self._encode(past)
        _, moments = self.model.predict(x[None] / self.unit, context[None])
        levels, later = [], context[None, -1:].clone()
        for ahead in (1e-6, years):
            later[..., 0] = context[-1, 0] + ahead
            levels.append(self.model.predict(torch.zeros_like(x[None, :1]), later, moments)[0].mean[0, 0] * self.unit)
        one = torch.ones(1, x.shape[1], dtype=torch.double)
        sd = self.model.share_of_change(later[:, 0, :1], context[None, -1, :1], moments, one)[0] * self.unit
        change = (levels[1] - levels[0]).numpy()[: len(NAMES)]
        missed, spread = registration_error(change, self.resolution)
        return 100 * np.expm1(change + missed), 100 * np.hypot(sd.numpy()[: len(NAMES)], spread)

    def _encode(self, own: Measured) -> tuple[torch.Tensor, torch.Tensor]:
        changes = np.log(own.values[1:] / own.values[0])
        known = (np.nan_to_num(own.covariates[1:]) - self.centre) / self.scale
        return torch.tensor(changes), torch.tensor(np.column_stack([own.times[1:] - own.times[0], known]))


def measured(store: ScanStore) -> tuple[list[str], list[Measured], list[Values]]:
    """Names of the structures; measured volumes and covariates of each subject, and its true volumes."""
    regions = ScanRegions.of(store, True, SimulatedTruth.find(store))
    assert regions is not None and regions.truth is not None
    cohort = store.cohort()
    covariates = covariate_columns(cohort.visits, cohort.visits, cohort.covariates)[0]
    groups = [own for _, own in cohort.visits.groupby("subject", sort=False)]
    subjects = [regions.past(own, covariates) for own in groups]
    return regions.names, subjects, [np.stack([regions.measured(int(row)) for row in own.index]) for own in groups]


def with_table(
    names: Sequence[str], subjects: Sequence[Measured], true: Sequence[Values], error: float
) -> list[Measured]:
    """The same with the volumes of `TABLE` as another method measures them, with an error of a share of the volume."""
    rng, columns = np.random.default_rng(0), [list(names).index(name) for name in TABLE]
    found = []
    for own, volumes in zip(subjects, true, strict=True):
        table = volumes[:, columns] * np.exp(error * rng.standard_normal((len(volumes), len(columns))))
        found.append(own._replace(values=np.hstack([own.values, table])))
    return found


def cross_validated(
    names: Sequence[str], subjects: Sequence[Measured], true: Sequence[Values], resolution: float, folds: int,
    seeds: int, table: Sequence[Measured] = (),
) -> pd.DataFrame:  # fmt: skip
    """One row per seed, subject, model and structure: true change, mean and sd of its forecast.

    ``table`` are the ``subjects`` with a table of regions (`with_table`).
    """
    rows = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(subjects))
        for fold in range(folds):
            test = order[fold::folds]
            training = [subjects[k] for k in order if k not in test]
            mixed = MixedModelOfChanges(training, resolution)
            if table:
                joint = MixedModelOfChanges([table[k] for k in order if k not in test], resolution, TABLE)
            baselines = RegionBaselines.fit(training, True, len(names))
            for k in test:
                own, change = subjects[k], 100 * (true[k][-1] / true[k][-2] - 1)
                past = Measured(own.times[:-1], own.values[:-1], own.covariates[:-1])
                years = float(own.times[-1] - own.times[-2])
                found = 100 * (own.values[-1] / own.values[-2] - 1)
                forecasts = {"crow": mixed(past, years), **baselines.forecasts(past, years)}
                if table:
                    beside = table[k]
                    known = Measured(own.times[:-1], beside.values[:-1], own.covariates[:-1])
                    forecasts[JOINT] = joint(known, years)
                forecasts[ORACLE] = found, np.full_like(found, np.nan)
                for model, (mean, sd) in forecasts.items():
                    rows.append(pd.DataFrame({
                        "seed": seed, "subject": k, "model": model, "structure": names, "true": change, "mean": mean,
                        "sd": sd,
                    }))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def unexpected_error(scores: pd.DataFrame) -> pd.DataFrame:
    """By structure, sides together: what remains of `registration_error`, 0 and 0 if it is right."""
    own = scores[scores["model"] == "crow"].copy()
    own["size"] = own.groupby(["seed", "subject"])["mean"].transform(lambda mean: np.sqrt((mean**2).mean()))
    own["name"] = own["structure"].str.replace("_(left|right)$", "", regex=True)
    own["error"] = own["true"] - own["mean"]
    own["square"], own["product"] = own["size"] ** 2, own["error"] * own["size"]
    sums = own.groupby("name", sort=False)[["square", "product"]].sum()
    mean = sums["product"] / sums["square"]
    own["excess"] = (own["error"] - own["name"].map(mean) * own["size"]) ** 2 - own["sd"] ** 2
    excess = own.groupby("name", sort=False)["excess"].sum().clip(lower=0) / sums["square"]
    return pd.DataFrame({"mean": mean, "sd": np.sqrt(excess)})


def table(scores: pd.DataFrame, group: str) -> list[dict[str, str | float]]:
    """One row per model, over the structures of a group.

    The standard error of a coverage is that of the mean over subjects, whose structures and folds are not independent.
    """
    scores = scores[scores["structure"].str.startswith(GROUPS.get(group, group))]
    keys = ["seed", "subject", "structure"]
    common = scores[scores["model"] == MEAN_CHANGE].set_index(keys)
    reference = float((common["true"] - common["mean"]).abs().mean())
    rows = []
    for model, own in scores.groupby("model", sort=False):
        mean_change = common["mean"].reindex(pd.MultiIndex.from_frame(own[keys])).to_numpy()
        z = (own["true"] - own["mean"]) / own["sd"]
        crps = own["sd"] * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - np.pi**-0.5)
        away = own.assign(forecast=own["mean"] - mean_change, real=own["true"] - mean_change).groupby("structure")
        r = [np.corrcoef(part["forecast"], part["real"])[0, 1] for _, part in away if part["forecast"].std() > 1e-9]
        error = float((own["true"] - own["mean"]).abs().mean())
        row: dict[str, str | float] = {
            "target": group, "model": str(model), "r": round(float(np.mean(r)), 2) if r else "",
            "MAE (%)": round(error, 3), "of the mean change's": round(error / reference, 2),
        }  # fmt: skip
        if model != ORACLE:
            row["CRPS (%)"] = round(float(crps.mean()), 3)
            for share, quantile in ((50, 0.6745), (90, 1.6449)):
                covered = (z.abs() < quantile).groupby(own["subject"]).mean()
                row[f"coverage of {share} %"] = round(float(covered.mean()), 2)
                row[f"s.e. {share} %"] = round(float(covered.std() / np.sqrt(len(covered))), 2)
        rows.append(row)
    return rows
