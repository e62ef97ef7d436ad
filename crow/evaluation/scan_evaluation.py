"""How good follow-up scans are: the last scan of people that training did not see, given all their earlier ones.

Everything lies on the store's grid, where all scans of a subject are aligned, in its intensities: white matter of
structural scans is 1, the reference region of PET is 1, other maps keep their units. Subject by subject: memory does
not grow with the cohort.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort
from crow.errors import CrowError
from crow.evaluation.forecasts import skill
from crow.evaluation.image_scores import PIT_BINS, Expected, Volume, correlation, image_scores
from crow.evaluation.result import EvaluationResult
from crow.evaluation.scan_baselines import LAST, USUAL, ScanBaselines, read_intensity
from crow.evaluation.scan_regions import ScanRegions, region_summary, yearly_rates
from crow.evaluation.scan_truth import SimulatedTruth
from crow.representation.follow_up import FollowUp
from crow.scans.store import ScanStore

if TYPE_CHECKING:
    from crow.models.follow_up import FollowUpModel

Future = Literal["known", "carry", "linear"]
KEPT, ROOM = 32, 60_000_000  # draws that are kept as scans: at most, and voxels of all of them together
ERRORS = ("MAE", "RMSE", "CRPS", "change RMSE")  # of which skill is reckoned
CLEAN = "change correlation, noise-free"


class Asked(NamedTuple):
    """A scan to forecast (``target``: its row in the store) and the rows of the subject's ``past``."""

    subject: str
    session: str
    past: NDArray[np.int64]
    target: int
    ahead: float


class Shown(NamedTuple):
    """Last, real and forecast scan, and the expected change, ``[X, Y, Z]`` in intensities."""

    last: Volume
    real: Volume
    synthetic: Volume
    change: Volume


@dataclass
class ScanEvaluation:
    """What was found: rows of the tables, by model the voxels in each bin of the PIT, draws of the regions' rates."""

    scans: list[dict[str, Any]] = field(default_factory=list)
    regions: list[dict[str, Any]] = field(default_factory=list)
    real_rates: list[pd.DataFrame] = field(default_factory=list)
    drawn_rates: list[pd.DataFrame] = field(default_factory=list)
    pit: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    alone: int = 0  # subjects with a single scan
    folded: int = 0
    seconds: float = 0.0


def last_visits(cohort: Cohort) -> tuple[list[Asked], int]:
    """The last scan of every subject with two or more, and how many have one. ``cohort``: of a store, by its rows."""
    asked, alone = [], 0
    for subject, own in cohort.visits.groupby("subject", sort=False):
        rows, times = own.index.to_numpy(np.int64), own["time"].to_numpy(float)
        if len(rows) < 2:
            alone += 1
            continue
        session = str(own["session"].iloc[-1])
        asked.append(Asked(str(subject), session, rows[:-1], int(rows[-1]), float(times[-1] - times[-2])))
    return asked, alone


class ScanEvaluator:
    """Asks a fitted model for scans of ``store``; compares them with the real ones, and with what training scans say.

    ``training``: a store and its visits of training subjects (index: row in that store), or None where they are not
    known. ``future``: whether covariates at the forecast visit are known, else how they go on from the last visit.
    """

    def __init__(
        self,
        model: FollowUpModel,
        store: ScanStore,
        training: tuple[ScanStore, pd.DataFrame] | None,
        samples: int = 200,
        seed: int = 0,
        future: Future = "known",
    ) -> None:
        self.model, self.store, self.samples, self.seed, self.future = model, store, samples, seed, future
        self.mask = store.mask
        self.cohort = model.cohort(store)
        self.truth = SimulatedTruth.beside(store)
        self.regions = ScanRegions.of(store, model.representation == "deformation", self.truth)
        self.baselines: ScanBaselines | None = None
        if training is not None:
            self.baselines = ScanBaselines.fit(*training)
            if self.regions is not None:
                self.regions = _learned(self.regions, *training)
        self.kept = int(np.clip(ROOM // np.prod(store.info.grid.shape), 8, KEPT))

    def made(self, asked: Asked) -> FollowUp:
        """The follow-up on the store's grid, just as `crow generate` makes it, with draws where regions need them."""
        seen = self.store.some(asked.past)
        columns = ["subject", "time", *(self.cohort.covariates if self.future == "known" else [])]
        visit = self.cohort.visits.loc[[asked.target], columns].reset_index(drop=True)
        goes_on: Any = "carry" if self.future == "known" else self.future
        samples = min(self.samples, KEPT) if self.model.representation == "voxels" else self.samples
        forecast = self.model.forecast(seen, visit, goes_on, samples, self.seed)
        draws = 0 if self.regions is None or self.regions.moving else min(self.kept, samples)
        return self.model.follow_up(seen, forecast, 0, "template", draws, self.seed)

    def shown(self, asked: Asked, made: FollowUp | None = None) -> Shown:
        """The scans of one subject, for a picture."""
        made = self.made(asked) if made is None else made
        last, real = (read_intensity(self.store, int(row)) for row in (asked.past[-1], asked.target))
        gain, offset = self._units(asked)
        return Shown(last, real, (made.median - offset) / gain, made.change / gain)

    def evaluate(self, asked: Asked, into: ScanEvaluation) -> None:
        """Add what is found of one scan; raises CrowError where it cannot be read or forecast."""
        began = time.perf_counter()
        made = self.made(asked)
        shown = self.shown(asked, made)
        gain = self._units(asked)[0]
        expected = {"crow": Expected(shown.synthetic, made.sd / abs(gain), shown.change)}
        if self.baselines is not None:
            expected |= self.baselines.expected(shown.last, asked.ahead)
        else:
            still = np.zeros_like(shown.last)
            expected[LAST] = Expected(shown.last, np.full_like(still, np.nan), still)
        keys = {"subject": asked.subject, "session": asked.session, "ahead": asked.ahead, "gain": gain}
        clean = self._clean_change(asked)
        rows, counts = [], {}
        for name, said in expected.items():
            scores, counts[name] = image_scores(said, shown.last, shown.real, self.mask)
            if clean is not None:
                scores[CLEAN] = correlation(said.change[self.mask], clean)
            rows.append({"model": name, **keys, **scores})
        of_regions = self._judge_regions(asked, made)
        into.scans += rows
        for name, found in counts.items():
            into.pit[name] = into.pit.get(name, np.zeros(PIT_BINS, np.int64)) + found
        if of_regions is not None:
            into.regions += of_regions[0]
            into.real_rates.append(of_regions[1])
            into.drawn_rates.append(of_regions[2])
        into.folded += made.folded
        into.seconds += time.perf_counter() - began

    def _judge_regions(
        self, asked: Asked, made: FollowUp
    ) -> tuple[list[dict[str, Any]], pd.DataFrame, pd.DataFrame] | None:
        """Scores of the regions, and their changes a year in the real scans and in the draws."""
        if self.regions is None:
            return None
        last = int(asked.past[-1])
        forecast = self.regions.forecast(made, last, *self._units(asked), asked.ahead)
        change, names = self.regions.change(last, asked.target), self.regions.names
        keys = {"subject": asked.subject, "session": asked.session, "ahead": asked.ahead}
        scores = [{**keys, **row} for row in self.regions.scores(forecast, change)]
        real = pd.DataFrame({"subject": asked.subject, "region": names, "rate": change / asked.ahead})
        draws = len(forecast.draws)
        rates = (forecast.draws / asked.ahead).ravel()
        drawn = pd.DataFrame({"subject": asked.subject, "region": np.tile(np.array(names), draws), "rate": rates})
        return scores, real, drawn

    def _clean_change(self, asked: Asked) -> NDArray[np.float64] | None:
        """The true change of a simulated subject's voxels in the mask."""
        if self.truth is None:
            return None
        before, after = (self.truth.clean(int(row)) for row in (asked.past[-1], asked.target))
        if before is None or after is None:
            return None
        return (after - before)[self.mask].astype(np.float64)

    def _units(self, asked: Asked) -> tuple[float, float]:
        gain, offset = np.asarray(self.store.array("scale")[int(asked.past[-1])])
        return float(gain), float(offset)


def evaluate_scans_of(evaluator: ScanEvaluator, asked: Sequence[Asked], progress: Callable[[Any], Iterable[Asked]] = iter) -> ScanEvaluation:
    """All of them, one after the other; those whose scans cannot be read are counted with the reason."""
    found = ScanEvaluation()
    for each in progress(list(asked)):
        try:
            evaluator.evaluate(each, found)
        except CrowError as error:
            found.failures.append(str(error))
    return found


def joined(parts: Sequence[ScanEvaluation]) -> ScanEvaluation:
    """What was found of several folds."""
    whole = ScanEvaluation()
    for part in parts:
        for name in ("scans", "regions", "real_rates", "drawn_rates", "failures"):
            getattr(whole, name).extend(getattr(part, name))
        for name, counts in part.pit.items():
            whole.pit[name] = whole.pit.get(name, np.zeros(PIT_BINS, np.int64)) + counts
        whole.alone += part.alone
        whole.folded += part.folded
        whole.seconds += part.seconds
    return whole


def summarise_scans(found: ScanEvaluation, regions: ScanRegions | None, seed: int = 0) -> EvaluationResult:
    """The metrics ``scans`` and the tables ``scans``, ``scan_regions``, ``scan_rates`` and ``scan_pit``."""
    scans = pd.DataFrame(found.scans)
    measures = list(scans.columns.drop(["model", "subject", "session", "ahead", "gain"]))
    means = scans.groupby("model", sort=False)[measures].mean()
    metrics: dict[str, Any] = {
        "subjects": int(scans["subject"].nunique()),
        "single scan": found.alone,
        "forecast": {str(name): {str(k): float(v) for k, v in row.items()} for name, row in means.iterrows()},
        "skill": _skills(scans, ERRORS, seed),
        "pit": found.pit["crow"] / max(int(found.pit["crow"].sum()), 1),
        "folded": found.folded,
        "seconds a scan": found.seconds / max(scans["subject"].nunique(), 1),
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
    else:
        left_out.append(("scans.regions", "the store's grid is not the template's, whose structures would be measured"))
    return EvaluationResult({"scans": metrics}, tables, left_out)


def _learned(regions: ScanRegions, store: ScanStore, visits: pd.DataFrame) -> ScanRegions:
    """What is usual in training subjects, measured in their own store."""
    if store.path == regions.store.path:
        return regions.fit(visits)
    own = ScanRegions(store, regions.atlas, regions.moving, SimulatedTruth.beside(store)).fit(visits)
    regions.slope, regions.still, regions.usual = own.slope, own.still, own.usual
    return regions


def _skills(scores: pd.DataFrame, measures: Sequence[str], seed: int) -> dict[str, dict[str, Any]]:
    """1 - error / that of the best simple baseline, and its 95 % interval over resampled subjects, by measure."""
    models = dict(list(scores.groupby("model", sort=False)))
    out = {}
    for measure in measures:
        errors = {name: models[name][measure].mean() for name in (LAST, USUAL) if name in models}
        errors = {name: error for name, error in errors.items() if np.isfinite(error)}
        if errors:
            best = min(errors, key=lambda name: errors[name])
            value, low, high = skill(models["crow"], models[best], measure, seed=seed)
            out[measure] = {"against": best, "value": value, "low": low, "high": high}
    return out
