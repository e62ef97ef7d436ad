"""Scanners that change: forecasts with random effects, with a covariate, and after longCombat; effects recovered.

    python benchmarks/sites.py [--part change sites unseen] [--seeds 0] [--quick]

150 subjects to learn from and 400 to forecast, 5 visits of 6 regions in units of their sd (as in missing.py); the last
2 visits are forecast. ``change``: half of the subjects change to a second scanner at a random visit, which adds 1 sd.
``sites``: 20 sites with N(0, 0.5^2) added and a factor of exp(N(0, 0.1^2)), some with few subjects; a fifth of the
subjects moves once. ``unseen``: the test subjects' change is to a scanner that training lacked (+ 0.8 sd), before and
after it is adapted to with 5 other subjects. CRPS is in the units of an average scanner, and ``clean`` is crow on the
same subjects without sites. ``--quick`` is the mixed model that crow starts at in place of crow.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from long_combat import LongCombat
from missing import simulated
from seeds import Row, add_seeds, rows_of_seeds
from timing import write

from crow import Cohort, CRow
from crow.evaluation.forecasts import split_history, value_scores
from crow.evaluation.mixed_baseline import MixedBaseline
from crow.models.adapted import adapted

MIXED: dict[str, Any] = {"model": {"members": 1, "initialise": "mixed_model"}, "training": {"max_epochs": 0}}
Z90 = 1.645


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    add_seeds(parser)
    parser.add_argument("--members", type=int, help="ensemble members of crow")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    settings = MIXED if arguments.quick else {"model": {"members": arguments.members}} if arguments.members else {}
    rows = [
        {"part": part, **row} for part in arguments.part for row in rows_of_seeds(PARTS[part], arguments, settings)
    ]
    write("sites", "Sites and scanners, simulated", rows)


@dataclass(frozen=True)
class Effects:
    """Sites with their ``level`` and ``scale [site, region]``."""

    names: list[str]
    level: np.ndarray
    scale: np.ndarray

    def applied(self, cohort: Cohort, site: np.ndarray) -> Cohort:
        """The cohort as measured at sites, with a column of them."""
        visits = cohort.visits.copy()
        visits[cohort.regions] = self.level[site] + self.scale[site] * visits[cohort.regions].to_numpy()
        visits.insert(5, "scanner", np.array(self.names)[site])
        schema = cohort.schema.model_copy(
            update={"covariates": {**cohort.schema.covariates, "scanner": "categorical"}, "sites": ["scanner"]}
        )
        return replace(cohort, visits=visits, schema=schema)


def change(seed: int, settings: dict[str, Any]) -> list[Row]:
    """Half of the subjects change to a second scanner, which adds 1 sd."""
    training, test = simulated(0.0, seed)
    rng = np.random.default_rng([seed, 11])
    effects = Effects(["A", "B"], np.outer([0.0, 1.0], np.ones(6)), np.ones((2, 6)))
    sites = [_moved(cohort, rng, np.zeros(_count(cohort), int), 0.5, 2) for cohort in (training, test)]
    return _compare(training, test, effects, sites, settings)


def sites(seed: int, settings: dict[str, Any]) -> list[Row]:
    """Twenty sites of very different size."""
    training, test = simulated(0.0, seed)
    rng = np.random.default_rng([seed, 12])
    level, scale = rng.normal(0, 0.5, (20, 6)), np.exp(rng.normal(0, 0.1, (20, 6)))
    effects = Effects([f"s{k:02d}" for k in range(20)], level, scale)
    share = rng.dirichlet(np.full(20, 1.0))
    moved = []
    for cohort in (training, test):
        first = rng.choice(20, _count(cohort), p=share)
        moved.append(_moved(cohort, rng, first, 0.2, 20))
    seen = np.isin(moved[1], moved[0])  # sites that no training subject has are for the next part
    moved[1] = np.where(seen, moved[1], moved[0][0])
    return _compare(training, test, effects, moved, settings)


def unseen(seed: int, settings: dict[str, Any]) -> list[Row]:
    """Half of the test subjects change to a scanner that no training subject had."""
    training, test = simulated(0.0, seed)
    rng = np.random.default_rng([seed, 13])
    effects = Effects(["A", "B", "C"], np.outer([0.0, 0.6, 0.8], np.ones(6)), np.ones((3, 6)))
    known = effects.applied(training, _moved(training, rng, np.zeros(_count(training), int), 0.5, 2))
    second = _moved(test, rng, np.zeros(_count(test), int), 0.5, 2)
    later = effects.applied(test, np.where(second == 1, 2, second))
    few = [name for name, own in later.visits.groupby("subject") if (own["scanner"] == "C").any()][:5]
    rest = later.of([name for name in later.subjects if name not in few])
    model = CRow(**settings).fit(known)
    rows = [{"model": "crow, scanner unseen", **_scores(model, rest, effects)}]
    other, found = adapted(model, later.of(few))
    assert model.table.sites is not None
    base = dict(
        zip(model.table.sites.factors[0].levels, np.array(model.table.sites.level) * model.table.sd, strict=True)
    )
    shift = found["shift"].to_numpy() - base["A"]
    row: Row = {"model": "crow, adapted by 5 subjects", **_scores(other, rest, effects)}
    rows.append(row | {"error of shift": round(float(np.abs(shift - 0.8).mean()), 3)})
    return rows


PARTS = {"change": change, "sites": sites, "unseen": unseen}


def _compare(
    training: Cohort, test: Cohort, effects: Effects, site: list[np.ndarray], settings: dict[str, Any]
) -> list[Row]:
    measured, asked = (effects.applied(*pair) for pair in zip((training, test), site, strict=True))
    none = Effects(effects.names, np.zeros_like(effects.level), np.ones_like(effects.scale))
    rows: list[Row] = []

    def one(name: str, model: Any, fitted: Cohort, new: Cohort, own: Effects) -> Any:
        began = time.perf_counter()
        model.fit(fitted)
        rows.append({"model": name, **_scores(model, new, own), "fit": round(time.perf_counter() - began)})
        return model

    one("crow, clean", CRow(**settings), training, none.applied(test, site[1]), none)
    found = one("crow, random effects", CRow(**settings), measured, asked, effects)
    rows[-1] |= _recovered(found, effects, np.unique(site[0]))
    without = {"sites": [], "covariates": measured.schema.covariates}
    one("crow, covariate", CRow(**settings), _schema(measured, **without), _schema(asked, **without), effects)
    without = {"sites": [], "covariates": training.schema.covariates}
    one("crow, ignored", CRow(**settings), _schema(measured, **without), _schema(asked, **without), effects)
    one("longCombat, mixed model", Harmonised(), measured, asked, effects)
    one("mixed model, covariate", MixedBaseline(), measured, asked, effects)
    return rows


class Harmonised:
    """longCombat, then a mixed model per region; forecasts are put back on the target's scanner."""

    def fit(self, training: Cohort) -> None:
        visits = training.visits.assign(CDRSB=training.visits["CDRSB"].fillna(0.0))
        self.combat = LongCombat(training.regions, "scanner", ["age", "CDRSB"]).fit(visits)
        self.mixed = MixedBaseline().fit(self._without(training, self.combat.adjust(visits)))

    def forecast(self, history: Cohort, targets: pd.DataFrame, draws: int) -> Any:
        adjusted = self._without(history, self.combat.adjust(history.visits))
        forecast = self.mixed.forecast(adjusted, targets, draws)
        return replace(forecast, values=self.combat.restore(history.visits, targets, forecast.values))

    @staticmethod
    def _without(cohort: Cohort, visits: pd.DataFrame) -> Cohort:
        covariates = {name: kind for name, kind in cohort.schema.covariates.items() if name != "scanner"}
        schema = cohort.schema.model_copy(update={"covariates": covariates, "sites": []})
        return replace(cohort, visits=visits, schema=schema)


def _scores(model: Any, test: Cohort, effects: Effects) -> Row:
    history, targets = split_history(test)
    columns = ["subject", "time", *test.covariates] if isinstance(model, CRow) else list(targets.columns)
    forecast = model.forecast(history, targets[columns], draws=400)
    site = pd.Index(effects.names).get_indexer(test.visits.set_index(["subject", "time"]).loc[
        pd.MultiIndex.from_frame(targets[["subject", "time"]]), "scanner"])  # fmt: skip
    scores = value_scores(forecast, targets, history)
    unit = effects.scale[site].ravel()
    row: Row = {
        "CRPS": round(float((scores["crps"] / unit).mean()), 4),
        "MAE": round(float((scores["error"] / unit).mean()), 4),
        "50 %": round(float(scores["inside_50"].mean()), 3),
        "90 %": round(float(scores["inside_90"].mean()), 3),
    }
    if isinstance(model, CRow):
        row["NLL"] = round(-float(model.log_prob(test)["log_prob"].mean()), 3)
    return row


def _recovered(model: CRow, effects: Effects, seen: np.ndarray) -> Row:
    """Errors of level and log-scale, as differences from the average site, and coverage of their 90 % intervals."""
    sites = model.table.sites
    assert sites is not None
    order = pd.Index(effects.names)[seen].get_indexer(sites.factors[0].levels)
    level, log_scale = (v[seen][order] for v in (effects.level, np.log(effects.scale)))
    level, log_scale = (v - v.mean(0) for v in (level, log_scale))
    found, sd = np.array(sites.level) * model.table.sd, np.array(sites.level_sd) * model.table.sd
    scale, scale_sd = np.array(sites.log_scale), np.array(sites.log_scale_sd)
    return {
        "error of level": round(float(np.abs(found - level).mean()), 3),
        "covered": round(float((np.abs(found - level) < Z90 * sd).mean()), 2),
        "error of log scale": round(float(np.abs(scale - log_scale).mean()), 3),
        "scale covered": round(float((np.abs(scale - log_scale) < Z90 * scale_sd).mean()), 2),
    }


def _moved(cohort: Cohort, rng: np.random.Generator, first: np.ndarray, share: float, sites: int) -> np.ndarray:
    """The site of each visit: a share of the subjects changes once."""
    subject = pd.factorize(cohort.visits["subject"])[0]
    visit = cohort.visits.groupby("subject").cumcount().to_numpy()
    changes, at = rng.random(len(first)) < share, rng.integers(1, 5, len(first))
    second = (first + rng.integers(1, sites, len(first))) % sites
    return np.where(changes[subject] & (visit >= at[subject]), second[subject], first[subject])


def _count(cohort: Cohort) -> int:
    return len(cohort.subjects)


def _schema(cohort: Cohort, **changes: Any) -> Cohort:
    return replace(cohort, schema=cohort.schema.model_copy(update=changes))


if __name__ == "__main__":
    main()
