"""Contrasts between groups: two paths of a covariate, and the subjects that follow each of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
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
MAX_DISTANCE_RATIO = 0.5  # a subject belongs to the nearer path if it is at most half as far away as the other
MIN_GROUP = 10  # subjects near each published path; with fewer, the paths are those of the cohort's own subjects
N_PARTS = 3  # the cohort's own paths are those of the best and the worst third of the subjects
N_POINTS = 3  # of a path
N_NEIGHBOURS = 10  # visits, nearest in the covariate, that provide the other covariates of a path


class Measure(NamedTuple):
    """A covariate that falls or rises with the disease: a pattern of its name, and its published paths."""

    pattern: str
    rises: bool
    paths: tuple[tuple[float, ...], tuple[float, ...]] | None = None


# The measures of the published experiment, whose paths are known for CDR-SB only.
MEASURES = (
    Measure(r"cdr(sb|sob|sumofboxes|sumboxes)", True, ((0.0, 0.0, 0.0), (0.0, 5.0, 10.0))),
    Measure(r"adas(cog)?(13|11|q4)?", True),
    Measure(r"mmse(score)?", False),
    Measure(r"ravlt(immediate)?", False),
    Measure(r"dx|diag|diagnosis|dxchange", True),
)


def measure_of(column: str) -> Measure | None:
    """The measure of disease that a column holds, by its name; None for any other column."""
    plain = re.sub("[^a-z0-9]", "", column.lower())
    return next((measure for measure in MEASURES if re.fullmatch(measure.pattern, plain)), None)


@dataclass(frozen=True)
class Contrast:
    """Two paths of a covariate, at the same number of points evenly spaced over the follow-up.

    Attributes
    ----------
    covariate : str
        Name of the covariate. Values of a diagnosis are stages (0 normal, 1 MCI, 2 dementia).
    first, second : tuple of float
        The stable and the declining path.
    published : bool
        Whether the paths are those of the published experiment.
    levels : tuple of str
        For a diagnosis, the column's word for each stage.

    Raises
    ------
    ConfigError
        If the paths differ in length or have fewer than 2 points.
    """

    covariate: str
    first: tuple[float, ...]
    second: tuple[float, ...]
    published: bool = False
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.first) != len(self.second) or len(self.first) < 2:
            raise ConfigError(
                f"covariate paths of {self.covariate}: found {len(self.first)} and {len(self.second)} values; give the "
                "same number of values for both, at least 2."
            )

    @property
    def paths(self) -> str:
        """The names of both groups: ``stable CDRSB 0 against CDRSB 0 to 10``."""
        return " against ".join(self.groups)

    @property
    def groups(self) -> tuple[str, str]:
        """``stable CDRSB 0`` and ``CDRSB 0 to 10``."""
        return self._name(self.first), self._name(self.second)

    def _name(self, path: tuple[float, ...]) -> str:
        words = [self.word(value) for value in path]
        return f"stable {self.covariate} {words[0]}" if len(set(words)) == 1 else (
            f"{self.covariate} {words[0]} to {words[-1]}"
        )  # fmt: skip

    @property
    def rule(self) -> str:
        """How subjects are assigned to the groups, as a clause."""
        source = (
            "the published paths" if self.published
            else "mean paths of the thirds of the training subjects with the best and the worst last value"
        )  # fmt: skip
        return (
            f"{self._values} ({source}); a subject with {self.covariate} at two or more visits belongs "
            f"to the nearer path (root mean square over the follow-up) if that is at most {MAX_DISTANCE_RATIO:.0%} as "
            "far away as the other"
        )

    @property
    def _values(self) -> str:
        """``CDRSB 0-0-0 against 0-5-10``"""
        paths = ("-".join(self.word(value) for value in path) for path in (self.first, self.second))
        return f"{self.covariate} {' against '.join(paths)}"

    def word(self, value: float) -> str:
        """A value of a path as the table writes it."""
        return self.levels[int(value)] if self.levels else f"{round(value, 1):g}"


def contrasts_of(training: Cohort) -> tuple[list[Contrast], list[tuple[str, str]]]:
    """The contrasts that the changing covariates of a cohort allow.

    CDR-SB has its published paths if at least 10 training subjects are near each of them. The paths of other measures,
    and of CDR-SB otherwise, are the mean paths of the subjects with the best and the worst last values.

    Parameters
    ----------
    training : Cohort
        The training subjects.

    Returns
    -------
    contrasts : list of Contrast
        One per measure of disease.
    left_out : list of (str, str)
        Contrasts that are not possible, and the reason.
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


def group_members(cohort: Cohort, contrast: Contrast) -> tuple[list[str], list[str]]:
    """The subjects that belong to the first and to the second path, by `Contrast.rule`."""
    own = subject_paths(cohort, contrast.covariate, len(contrast.first))
    distance = [np.sqrt(((own.to_numpy() - np.array(path)) ** 2).mean(1)) for path in (contrast.first, contrast.second)]
    return (
        list(own.index[(distance[0] <= MAX_DISTANCE_RATIO * distance[1]) & (distance[0] < distance[1])]),
        list(own.index[(distance[1] <= MAX_DISTANCE_RATIO * distance[0]) & (distance[1] < distance[0])]),
    )


def subject_paths(cohort: Cohort, covariate: str, points: int = N_POINTS) -> pd.DataFrame:
    """One row per subject that has ``covariate`` at two visits or more: its values at ``points`` evenly spaced times,
    interpolated linearly between visits. A diagnosis is its stage."""
    known = cohort.visits[["subject", "time"]].assign(value=as_numbers(cohort.visits[covariate])).dropna()
    rows = {}
    for subject, visits in known.groupby("subject", sort=False):
        time = visits["time"].to_numpy(float)
        if len(time) > 1:
            rows[subject] = np.interp(np.linspace(time[0], time[-1], points), time, visits["value"].to_numpy(float))
    return pd.DataFrame.from_dict(rows, orient="index", columns=range(points), dtype=float)


def as_numbers(column: pd.Series) -> pd.Series:
    """Numbers as they are, a diagnosis as its stage, NaN if missing. Raises ValueError for words without an order."""
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float)
    words = column.dropna().astype(str)
    stages = words.map(lambda word: STAGES.get(re.sub("[^a-z]", "", word.lower()), -1))
    if (stages < 0).any():
        raise ValueError(f"{words[stages < 0].iloc[0]!r} is no stage of a diagnosis (known: CN, MCI, AD, Dementia)")
    return stages.astype(float).reindex(column.index)


def path_visits(training: Cohort, contrast: Contrast, subjects: int, seed: int = 0) -> list[pd.DataFrame]:
    """Visits of the same synthetic subjects on the first and on the second path, all else equal.

    Ages at the first visit and fixed covariates are those of training subjects drawn at random; the visits are evenly
    spaced over the median follow-up. Other changing covariates come from a training visit drawn among the 10 whose
    ``covariate`` is nearest to the path's, so that they are consistent with it.
    """
    rng = np.random.default_rng(seed)
    visits, name, points = training.visits, contrast.covariate, len(contrast.first)
    first = visits.groupby("subject", sort=False).head(1).reset_index(drop=True)
    years = visits.groupby("subject")["time"].max()
    times = np.linspace(0, float(years[years > 0].median()), points)
    drawn = first.iloc[rng.integers(len(first), size=subjects)].reset_index(drop=True)
    fixed = [c for c in training.schema.fixed if c in training.covariates]
    changing = [c for c in training.covariates if c not in fixed]
    base = drawn.loc[drawn.index.repeat(points), ["age", *fixed]].reset_index(drop=True)
    base.insert(0, "subject", np.repeat([f"path{k + 1:05d}" for k in range(subjects)], points))
    base.insert(1, "time", np.tile(times, subjects))
    base["age"] = base["age"] + base["time"]
    known = visits[visits[name].notna()]
    value, chosen = as_numbers(known[name]).to_numpy(), rng.integers(N_NEIGHBOURS, size=(subjects, points))
    paths = []
    for path in (contrast.first, contrast.second):
        nearest = np.stack([_nearest(value, wanted, rng) for wanted in path])
        rows = nearest[np.arange(points), np.minimum(chosen, nearest.shape[1] - 1)].ravel()
        others = known.iloc[rows][changing].reset_index(drop=True)
        others[name] = [contrast.word(v) if contrast.levels else v for v in np.tile(path, subjects)]
        paths.append(pd.concat([base, others], axis=1))
    return paths


def _nearest(value: Values, wanted: float, rng: np.random.Generator) -> NDArray[np.int_]:
    """Rows of the 10 nearest values; ties are broken at random."""
    shuffled = rng.permutation(len(value))
    return np.asarray(shuffled[np.argsort(np.abs(value[shuffled] - wanted), kind="stable")[:N_NEIGHBOURS]])


def _contrast(training: Cohort, name: str, measure: Measure) -> Contrast:
    column = training.visits[name]
    levels = () if pd.api.types.is_numeric_dtype(column) else _levels(column)
    if measure.paths and not levels:
        published = Contrast(name, *measure.paths, published=True)
        if min(map(len, group_members(training, published))) >= MIN_GROUP:
            return published
    own = subject_paths(training, name)
    third = len(own) // N_PARTS
    if third < 2:
        raise ValueError(f"{len(own)} training subjects have {name} at two or more visits: too few for two groups")
    order = (own[N_POINTS - 1] if measure.rises else -own[N_POINTS - 1]).sort_values(kind="stable").index
    first, second = (own.loc[group].mean().round(0 if levels else 2) for group in (order[:third], order[-third:]))
    if (first == second).all():
        raise ValueError(f"{name} hardly differs between subjects")
    return Contrast(name, tuple(first), tuple(second), levels=levels)


def _levels(column: pd.Series) -> tuple[str, ...]:
    """The most frequent word for each stage in order; a stage that does not occur has the word of the nearest one."""
    stage, words = as_numbers(column).dropna(), column.dropna().astype(str)
    commonest = words.groupby(stage).agg(lambda group: group.value_counts().index[0])
    if len(commonest) < 2:
        raise ValueError(f"{column.name} is the same at all visits")
    stages = commonest.index.to_numpy()
    return tuple(str(commonest.iloc[np.abs(stages - k).argmin()]) for k in range(int(stages.max()) + 1))
