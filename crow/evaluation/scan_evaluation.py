"""Evaluation of follow-up scans: the last scan of test subjects, given all their earlier scans.

Everything lies on the store's grid, on which all scans of a subject are aligned, in the store's intensities: white
matter of structural scans is 1, the reference region of PET is 1, other maps keep their units. Subjects are evaluated
one by one, so memory does not grow with the cohort.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort
from crow.errors import CrowError
from crow.evaluation.evaluate_model import FutureCovariates
from crow.evaluation.forecasts import skill
from crow.evaluation.image_scores import PIT_BINS, Volume, VoxelForecast, correlation, image_scores
from crow.evaluation.region_baselines import covariate_columns
from crow.evaluation.result import EvaluationResult
from crow.evaluation.scan_baselines import LAST_SCAN, MEAN_CHANGE, ScanBaselines, read_intensity
from crow.evaluation.scan_regions import ScanRegions, region_summary, registration_summary, yearly_rates
from crow.evaluation.scan_truth import SimulatedTruth
from crow.representation.follow_up import FollowUp
from crow.scans.store import ScanStore

if TYPE_CHECKING:
    from crow.models.follow_up import FollowUpModel

MAX_SCAN_DRAWS, MIN_SCAN_DRAWS = 32, 8  # draws that are kept as scans
MAX_DRAW_VOXELS = 60_000_000  # of all kept draws together
SKILLS = ("MAE", "RMSE", "CRPS", "change RMSE")
NOISE_FREE = "change correlation, noise-free"


class ScanTask(NamedTuple):
    """A scan to forecast: the store's row of the ``target`` and the rows of the subject's ``past``."""

    subject: str
    session: str
    past: NDArray[np.int64]
    target: int
    ahead: float


class ScanComparison(NamedTuple):
    """Last, real and forecast scan, and the expected change, ``[X, Y, Z]`` in the store's intensities."""

    last: Volume
    real: Volume
    synthetic: Volume
    change: Volume


@dataclass
class ScanEvaluation:
    """The evaluation of several scans, before it is summarised.

    Attributes
    ----------
    scans, regions : list of dict
        Rows of the tables of scans and of regions.
    real_rates, drawn_rates : list of DataFrame
        Changes of regions per year in real scans and in draws.
    pit : dict of str to ndarray of shape [bin]
        By model, the voxels in each bin of the PIT.
    failures : list of str
        Why scans could not be evaluated.
    single_scan : int
        Subjects with a single scan.
    folded : int
        Voxels at which a forecast deformation folds.
    seconds : float
        Wall-clock time.
    """

    scans: list[dict[str, Any]] = field(default_factory=list)
    regions: list[dict[str, Any]] = field(default_factory=list)
    real_rates: list[pd.DataFrame] = field(default_factory=list)
    drawn_rates: list[pd.DataFrame] = field(default_factory=list)
    pit: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    single_scan: int = 0
    folded: int = 0
    seconds: float = 0.0


def last_visits(cohort: Cohort) -> tuple[list[ScanTask], int]:
    """The last scan of every subject with two or more, and the number of subjects with a single scan.

    ``cohort`` is that of a store, indexed by the store's rows.
    """
    tasks, single_scan = [], 0
    for subject, own in cohort.visits.groupby("subject", sort=False):
        rows, times = own.index.to_numpy(np.int64), own["time"].to_numpy(float)
        if len(rows) < 2:
            single_scan += 1
            continue
        session = str(own["session"].iloc[-1])
        tasks.append(ScanTask(str(subject), session, rows[:-1], int(rows[-1]), float(times[-1] - times[-2])))
    return tasks, single_scan


class ScanEvaluator:
    """Compares the follow-up scans of a fitted model with the real scans and with baselines.

    Parameters
    ----------
    model : FollowUpModel
        A fitted model.
    store : ScanStore
        The scans to evaluate on.
    training : tuple of (ScanStore, DataFrame) or None
        A store and its visits of training subjects (index: row in that store); None if they are not available.
    draws, seed : int
        Draws per scan and their seed.
    future : {"known", "carry", "linear"}
        Covariates at the forecast visit: those of the store, carried forward, or on a line.
    """

    def __init__(
        self,
        model: FollowUpModel,
        store: ScanStore,
        training: tuple[ScanStore, pd.DataFrame] | None,
        draws: int = 200,
        seed: int = 0,
        future: FutureCovariates = "known",
    ) -> None:
        self.model, self.store, self.draws, self.seed, self.future = model, store, draws, seed, future
        self.mask = store.mask
        self.cohort = model.cohort(store)
        self.truth = SimulatedTruth.find(store)
        self.regions = ScanRegions.of(store, model.representation == "deformation", self.truth)
        self.baselines: ScanBaselines | None = None
        visits = self.cohort.visits
        known = visits if training is None else training[1]
        of_training, self.covariates = covariate_columns(known, visits, self.cohort.covariates)
        if training is not None:
            self.baselines = ScanBaselines.fit(*training)
            if self.regions is not None:
                self.regions = _fit_regions(self.regions, *training, of_training)
        room = int(MAX_DRAW_VOXELS // np.prod(store.info.grid.shape))
        self.scan_draws = int(np.clip(room, MIN_SCAN_DRAWS, MAX_SCAN_DRAWS))

    def follow_up(self, task: ScanTask) -> FollowUp:
        """The follow-up on the store's grid, exactly as `crow generate` makes it, with draws if regions need them."""
        past = self.store.subset(task.past)
        columns = ["subject", "time", *(self.cohort.covariates if self.future == "known" else [])]
        visit = self.cohort.visits.loc[[task.target], columns].reset_index(drop=True)
        rule: Any = "carry" if self.future == "known" else self.future
        draws = min(self.draws, MAX_SCAN_DRAWS) if self.model.representation == "voxels" else self.draws
        forecast = self.model.forecast(past, visit, rule, draws, self.seed)
        keep = 0 if self.regions is None or self.regions.moving else min(self.scan_draws, draws)
        return self.model.follow_up(past, forecast, 0, "template", keep, self.seed)

    def compare(self, task: ScanTask, follow_up: FollowUp | None = None) -> ScanComparison:
        """The last, real and forecast scan of one subject."""
        follow_up = self.follow_up(task) if follow_up is None else follow_up
        last, real = (read_intensity(self.store, int(row)) for row in (task.past[-1], task.target))
        gain, offset = self._units(task)
        return ScanComparison(last, real, (follow_up.median - offset) / gain, follow_up.change / gain)

    def evaluate(self, task: ScanTask, into: ScanEvaluation) -> None:
        """Add the scores of one scan; raises CrowError if it cannot be read or forecast."""
        began = time.perf_counter()
        follow_up = self.follow_up(task)
        comparison = self.compare(task, follow_up)
        gain = self._units(task)[0]
        expected = {"crow": VoxelForecast(comparison.synthetic, follow_up.sd / abs(gain), comparison.change)}
        if self.baselines is not None:
            expected |= self.baselines.expected(comparison.last, task.ahead)
        else:
            zero = np.zeros_like(comparison.last)
            expected[LAST_SCAN] = VoxelForecast(comparison.last, np.full_like(zero, np.nan), zero)
        keys = {"subject": task.subject, "session": task.session, "ahead": task.ahead, "gain": gain}
        noise_free = self._noise_free_change(task)
        rows, counts = [], {}
        for name, one in expected.items():
            scores, counts[name] = image_scores(one, comparison.last, comparison.real, self.mask)
            if noise_free is not None:
                scores[NOISE_FREE] = correlation(one.change[self.mask], noise_free)
            rows.append({"model": name, **keys, **scores})
        regions = self._score_regions(task, follow_up)
        into.scans += rows
        for name, found in counts.items():
            into.pit[name] = into.pit.get(name, np.zeros(PIT_BINS, np.int64)) + found
        if regions is not None:
            into.regions += regions[0]
            into.real_rates.append(regions[1])
            into.drawn_rates.append(regions[2])
        into.folded += follow_up.folded
        into.seconds += time.perf_counter() - began

    def _score_regions(
        self, task: ScanTask, follow_up: FollowUp
    ) -> tuple[list[dict[str, Any]], pd.DataFrame, pd.DataFrame] | None:
        """Scores of the regions, and their changes per year in the real scans and in the draws."""
        if self.regions is None:
            return None
        last = int(task.past[-1])
        past = self.regions.past(self.cohort.visits.loc[task.past], self.covariates)
        forecast = self.regions.forecast(follow_up, last, *self._units(task), task.ahead, past)
        change, names = self.regions.change(last, task.target), self.regions.names
        keys = {"subject": task.subject, "session": task.session, "ahead": task.ahead}
        registered = self.regions.registered_change(last, task.target)
        found = {} if registered is None else dict(zip(names, registered, strict=True))
        scores = [
            {**keys, **row, **({"registered": found[row["region"]]} if found else {})}
            for row in self.regions.scores(forecast, change)
        ]
        real = pd.DataFrame({"subject": task.subject, "region": names, "rate": change / task.ahead})
        draws = len(forecast.draws)
        rates = (forecast.draws / task.ahead).ravel()
        drawn = pd.DataFrame({"subject": task.subject, "region": np.tile(np.array(names), draws), "rate": rates})
        return scores, real, drawn

    def _noise_free_change(self, task: ScanTask) -> NDArray[np.float64] | None:
        """The true change of a simulated subject's voxels in the mask."""
        if self.truth is None:
            return None
        change = self.truth.change(int(task.past[-1]), task.target)
        return None if change is None else change[self.mask].astype(np.float64)

    def _units(self, task: ScanTask) -> tuple[float, float]:
        gain, offset = np.asarray(self.store.array("scale")[int(task.past[-1])])
        return float(gain), float(offset)


def evaluate_all(
    evaluator: ScanEvaluator, tasks: Sequence[ScanTask], progress: Callable[[Any], Iterable[ScanTask]] = iter
) -> ScanEvaluation:
    """Evaluate scans one after the other; those that cannot be read are recorded with the reason.

    Parameters
    ----------
    evaluator : ScanEvaluator
        The model and the scans.
    tasks : sequence of ScanTask
        The scans to forecast.
    progress : callable
        Wraps the list of tasks, for a progress bar.

    Returns
    -------
    ScanEvaluation
        Scores of all scans.
    """
    found = ScanEvaluation()
    for task in progress(list(tasks)):
        try:
            evaluator.evaluate(task, found)
        except CrowError as error:
            found.failures.append(str(error))
    return found


def merge_folds(parts: Sequence[ScanEvaluation]) -> ScanEvaluation:
    """The evaluations of several folds as one."""
    merged = ScanEvaluation()
    for part in parts:
        for name in ("scans", "regions", "real_rates", "drawn_rates", "failures"):
            getattr(merged, name).extend(getattr(part, name))
        for name, counts in part.pit.items():
            merged.pit[name] = merged.pit.get(name, np.zeros(PIT_BINS, np.int64)) + counts
        merged.single_scan += part.single_scan
        merged.folded += part.folded
        merged.seconds += part.seconds
    return merged


def summarise_scans(found: ScanEvaluation, regions: ScanRegions | None, seed: int = 0) -> EvaluationResult:
    """The metrics ``scans`` and the tables ``scans``, ``scan_regions``, ``scan_rates`` and ``scan_pit``."""
    scans = pd.DataFrame(found.scans)
    measures = list(scans.columns.drop(["model", "subject", "session", "ahead", "gain"]))
    means = scans.groupby("model", sort=False)[measures].mean()
    metrics: dict[str, Any] = {
        "subjects": int(scans["subject"].nunique()),
        "subjects with a single scan": found.single_scan,
        "forecast": {str(name): {str(k): float(v) for k, v in row.items()} for name, row in means.iterrows()},
        "skill": _skills(scans, SKILLS, seed),
        "pit": found.pit["crow"] / max(int(found.pit["crow"].sum()), 1),
        "folded voxels": found.folded,
        "seconds per scan": found.seconds / max(scans["subject"].nunique(), 1),
    }
    shares = {name: counts / max(int(counts.sum()), 1) for name, counts in found.pit.items()}
    tables = {"scans": scans, "scan_pit": pd.DataFrame({"bin": np.arange(PIT_BINS) / PIT_BINS, **shares})}
    left_out: list[tuple[str, str]] = []
    if found.regions and regions is not None:
        by_region = pd.DataFrame(found.regions)
        rates = yearly_rates(pd.concat(found.real_rates), pd.concat(found.drawn_rates))
        tables |= {"scan_regions": by_region, "scan_rates": rates}
        errors = by_region.rename(columns={"error": "MAE", "crps": "CRPS"})
        metrics["regions"] = {
            "source": regions.source, "unit": regions.unit, "forecast": region_summary(by_region),
            "skill": _skills(errors, ("MAE", "CRPS"), seed),
            "rates": {"wasserstein": float(rates["wasserstein"].mean()),
                      "sd ratio": float((rates["sd_synthetic"] / rates["sd_real"]).median())},
        }  # fmt: skip
        if "registered" in by_region:
            first = by_region[by_region["model"] == "crow"]
            metrics["regions"]["registration"] = registration_summary(first)
    else:
        reason = "the scans are not on the template's grid, on which structures are measured."
        left_out.append(("scans.regions", reason))
    return EvaluationResult({"scans": metrics}, tables, left_out)


def _fit_regions(regions: ScanRegions, store: ScanStore, visits: pd.DataFrame, covariates: pd.Series) -> ScanRegions:
    """Fit the baselines of regions to training subjects, measured in their own store."""
    if store.path == regions.store.path:
        return regions.fit(visits, covariates)
    own = ScanRegions(store, regions.atlas, regions.moving, SimulatedTruth.find(store)).fit(visits, covariates)
    regions.baselines = own.baselines
    return regions


def _skills(scores: pd.DataFrame, measures: Sequence[str], seed: int) -> dict[str, dict[str, Any]]:
    """By measure: 1 - error / error of the best baseline, and its 95 % bootstrap interval over subjects."""
    models = dict(list(scores.groupby("model", sort=False)))
    out = {}
    for measure in measures:
        errors = {name: models[name][measure].mean() for name in (LAST_SCAN, MEAN_CHANGE) if name in models}
        errors = {name: error for name, error in errors.items() if np.isfinite(error)}
        if errors:
            best = min(errors, key=lambda name: errors[name])
            value, low, high = skill(models["crow"], models[best], measure, seed=seed)
            out[measure] = {"reference": best, "value": value, "low": low, "high": high}
    return out
