"""What groups are compared: two paths of a covariate, and which people went along them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort
from crow.errors import ConfigError

Values = NDArray[np.float64]
STAGES = {
    "cn": 0, "nl": 0, "nc": 0, "hc": 0, "control": 0, "normal": 0, "smc": 0, "mci": 1, "emci": 1, "lmci": 1,
    "ad": 2, "dementia": 2, "alzheimersdisease": 2,
}  # fmt: skip
NEAREST = 0.5  # a person belongs to the nearer path where it is at most half as far as the other
ENOUGH = 10  # people of each group for the published path; else the paths are those of the cohort's own people
THIRD = 3
POINTS = 3
ALIKE = 10  # visits, nearest in the covariate, that the other covariates of a path are taken from


class Measure(NamedTuple):
    """A covariate that falls or rises with the disease: its column's name, and its published paths."""

    pattern: str
    rises: bool
    paths: tuple[tuple[float, ...], tuple[float, ...]] | None = None


# Those of the published experiment; its numbers are known for CDR-SB only.
MEASURES = (
    Measure(r"cdr(sb|sob|sumofboxes|sumboxes)", True, ((0.0, 0.0, 0.0), (0.0, 5.0, 10.0))),
    Measure(r"adas(cog)?(13|11|q4)?", True),
    Measure(r"mmse(score)?", False),
    Measure(r"ravlt(immediate)?", False),
    Measure(r"dx|diag|diagnosis|dxchange", True),
)


def measure_of(column: str) -> Measure | None:
    """Which measure of the disease a column is, by its name; None for any other."""
    plain = re.sub("[^a-z0-9]", "", column.lower())
    return next((measure for measure in MEASURES if re.fullmatch(measure.pattern, plain)), None)


@dataclass(frozen=True)
class Contrast:
    """Two paths of a ``covariate``, at as many points evenly over the follow-up: ``second`` is the declining one.

    Of a diagnosis the numbers are stages (0 normal, 1 MCI, 2 dementia), and ``levels`` the column's word for each.
    Raises ConfigError for paths of different lengths, or of fewer than 2 points.
    """

    covariate: str
    first: tuple[float, ...]
    second: tuple[float, ...]
    published: bool = False
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.first) != len(self.second) or len(self.first) < 2:
            raise ConfigError(
                f"covariate paths of {self.covariate}: found {len(self.first)} and {len(self.second)} values; give as "
                "many of both, at least 2."
            )

    @property
    def paths(self) -> str:
        """``0-0-0 against 0-5-10``"""
        said = ("-".join(self._word(value) for value in path) for path in (self.first, self.second))
        return " against ".join(said)

    @property
    def rule(self) -> str:
        """Who belongs to the groups, in words."""
        source = "the published paths" if self.published else "mean paths of the third of training people that ends"
        ends = "" if self.published else " best, and of the third that ends worst"
        return (
            f"{self.covariate} {self.paths} ({source}{ends}): a person with {self.covariate} at two visits or more "
            f"belongs to the path that is nearer (root mean square over the follow-up), where it is at most "
            f"{NEAREST:.0%} as far as the other"
        )

    def _word(self, value: float) -> str:
        return self.levels[int(value)] if self.levels else f"{round(value, 1):g}"


def contrasts_of(training: Cohort) -> tuple[list[Contrast], list[tuple[str, str]]]:
    """The contrasts that a cohort's changing covariates make possible, and (contrast, why) for what cannot be had.

    CDR-SB has its published paths where at least 10 training people are near each; else, as the other measures, the
    mean paths of its people who end best and worst.
    """
    found, left_out = [], []
    for name in training.covariates:
        measure = measure_of(name)
        if measure is None or name in training.schema.fixed:
            continue
        try:
            found.append(_contrast(training, name, measure))
        except ValueError as reason:
            left_out.append((f"group_effects.{name}", str(reason)))
    if not found and not left_out:
        known = ", ".join(training.covariates) or "none"
        left_out.append((
            "group_effects",
            "no covariate of the model is CDR-SB, ADAS, MMSE, RAVLT or a diagnosis that changes within subjects (its "
            f"covariates: {known}). Train with --covariates.",
        ))  # fmt: skip
    return found, left_out


def members(cohort: Cohort, contrast: Contrast) -> tuple[list[str], list[str]]:
    """The subjects that belong to the first and to the second path, by `Contrast.rule`."""
    own = person_paths(cohort, contrast.covariate, len(contrast.first))
    far = [np.sqrt(((own.to_numpy() - np.array(path)) ** 2).mean(1)) for path in (contrast.first, contrast.second)]
    return (
        list(own.index[(far[0] <= NEAREST * far[1]) & (far[0] < far[1])]),
        list(own.index[(far[1] <= NEAREST * far[0]) & (far[1] < far[0])]),
    )


def people_of(cohort: Cohort, subjects: Iterable[str]) -> Cohort:
    """The cohort of some of its subjects."""
    visits = cohort.visits[cohort.visits["subject"].isin(list(subjects))].reset_index(drop=True)
    return replace(cohort, visits=visits)


def person_paths(cohort: Cohort, covariate: str, points: int = POINTS) -> pd.DataFrame:
    """A row a subject that has ``covariate`` at two visits: its values at ``points`` evenly over these, on the lines
    between visits. A diagnosis is its stage."""
    seen = cohort.visits[["subject", "time"]].assign(value=as_numbers(cohort.visits[covariate])).dropna()
    rows = {}
    for subject, visits in seen.groupby("subject", sort=False):
        time = visits["time"].to_numpy(float)
        if len(time) > 1:
            rows[subject] = np.interp(np.linspace(time[0], time[-1], points), time, visits["value"].to_numpy(float))
    return pd.DataFrame.from_dict(rows, orient="index", columns=range(points), dtype=float)


def as_numbers(column: pd.Series) -> pd.Series:
    """Numbers as they are, a diagnosis as its stage; NaN where missing. Raises ValueError for words of no order."""
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float)
    words = column.dropna().astype(str)
    stages = words.map(lambda word: STAGES.get(re.sub("[^a-z]", "", word.lower()), -1))
    if (stages < 0).any():
        raise ValueError(f"{words[stages < 0].iloc[0]!r} is no stage of a diagnosis (known: CN, MCI, AD, Dementia)")
    return stages.astype(float).reindex(column.index)


def path_visits(training: Cohort, contrast: Contrast, people: int, seed: int = 0) -> list[pd.DataFrame]:
    """Visits of the same invented people on the first and on the second path: all else equal.

    Age at the first visit and what never changes are those of training people drawn at random; the visits lie evenly
    over the median follow-up. Other covariates that change come from a training visit drawn among the 10 whose
    ``covariate`` is nearest to the path's, so that they fit it.
    """
    rng = np.random.default_rng(seed)
    visits, name, points = training.visits, contrast.covariate, len(contrast.first)
    first = visits.groupby("subject", sort=False).head(1).reset_index(drop=True)
    years = visits.groupby("subject")["time"].max()
    times = np.linspace(0, float(years[years > 0].median()), points)
    drawn = first.iloc[rng.integers(len(first), size=people)].reset_index(drop=True)
    fixed = [c for c in training.schema.fixed if c in training.covariates]
    changing = [c for c in training.covariates if c not in fixed]
    base = drawn.loc[drawn.index.repeat(points), ["age", *fixed]].reset_index(drop=True)
    base.insert(0, "subject", np.repeat([f"path{k + 1:05d}" for k in range(people)], points))
    base.insert(1, "time", np.tile(times, people))
    base["age"] = base["age"] + base["time"]
    known = visits[visits[name].notna()]
    value, chosen = as_numbers(known[name]).to_numpy(), rng.integers(ALIKE, size=(people, points))
    paths = []
    for path in (contrast.first, contrast.second):
        nearest = np.stack([_nearest(value, wanted, rng) for wanted in path])
        rows = nearest[np.arange(points), np.minimum(chosen, nearest.shape[1] - 1)].ravel()
        others = known.iloc[rows][changing].reset_index(drop=True)
        others[name] = [contrast._word(v) if contrast.levels else v for v in np.tile(path, people)]
        paths.append(pd.concat([base, others], axis=1))
    return paths


def _nearest(value: Values, wanted: float, rng: np.random.Generator) -> NDArray[np.int_]:
    """Rows of the 10 nearest values, any of those that are as near."""
    mixed = rng.permutation(len(value))
    return np.asarray(mixed[np.argsort(np.abs(value[mixed] - wanted), kind="stable")[:ALIKE]])


def _contrast(training: Cohort, name: str, measure: Measure) -> Contrast:
    column = training.visits[name]
    levels = () if pd.api.types.is_numeric_dtype(column) else _levels(column)
    if measure.paths and not levels:
        published = Contrast(name, *measure.paths, published=True)
        if min(map(len, members(training, published))) >= ENOUGH:
            return published
    own = person_paths(training, name)
    third = len(own) // THIRD
    if third < 2:
        raise ValueError(f"{len(own)} training people have {name} at two visits or more: too few for two groups")
    order = (own[POINTS - 1] if measure.rises else -own[POINTS - 1]).sort_values(kind="stable").index
    first, second = (own.loc[who].mean().round(0 if levels else 2) for who in (order[:third], order[-third:]))
    if (first == second).all():
        raise ValueError(f"{name} hardly differs between people")
    return Contrast(name, tuple(first), tuple(second), levels=levels)


def _levels(column: pd.Series) -> tuple[str, ...]:
    """The commonest word for each stage, in their order, or for the stage nearest to it that there is."""
    stage, words = as_numbers(column).dropna(), column.dropna().astype(str)
    commonest = words.groupby(stage).agg(lambda group: group.value_counts().index[0])
    if len(commonest) < 2:
        raise ValueError(f"{column.name} is the same at all visits")
    stages = commonest.index.to_numpy()
    return tuple(str(commonest.iloc[np.abs(stages - k).argmin()]) for k in range(int(stages.max()) + 1))
