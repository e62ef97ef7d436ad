"""A simulated cohort in TADPOLE's AV45 columns, whose group effects are known in closed form."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crow.errors import ConfigError
from crow.simulate.progression import FIRST_DAY, YEARS_OF_ENTRY, draw_scores
from crow.simulate.regions import AGE, Array, sigmoid
from crow.simulate.simulation import Simulation
from crow.simulate.subjects import diagnosis, draw_subjects

SUFFIX = "UCBERKELEYAV45_10_17_16"
GAP, JITTER, MAX_JITTER = 2.0, 0.15, 0.45  # years: visit interval, sd and limit of its jitter
HALF, FULL = 8.0, 10.0
# Mean ratio to the cerebellum, and Cohen's d of CDR-SB 10 against 0: strong effects in association cortex, weak ones in
# motor and visual cortex, none in atrophied medial temporal lobes.
CORTEX = {
    "BANKSSTS": (1.38, 0.95), "CAUDALANTERIORCINGULATE": (1.37, 0.95), "CAUDALMIDDLEFRONTAL": (1.33, 0.95),
    "CUNEUS": (1.24, 0.50), "ENTORHINAL": (1.15, 0.20), "FRONTALPOLE": (1.16, 0.90), "FUSIFORM": (1.25, 0.65),
    "INFERIORPARIETAL": (1.34, 1.05), "INFERIORTEMPORAL": (1.27, 0.95), "INSULA": (1.22, 0.75),
    "ISTHMUSCINGULATE": (1.40, 1.00), "LATERALOCCIPITAL": (1.26, 0.65), "LATERALORBITOFRONTAL": (1.30, 1.05),
    "LINGUAL": (1.25, 0.40), "MEDIALORBITOFRONTAL": (1.31, 1.15), "MIDDLETEMPORAL": (1.31, 1.05),
    "PARACENTRAL": (1.27, 0.45), "PARAHIPPOCAMPAL": (1.18, 0.25), "PARSOPERCULARIS": (1.32, 0.95),
    "PARSORBITALIS": (1.32, 1.00), "PARSTRIANGULARIS": (1.31, 0.95), "PERICALCARINE": (1.26, 0.20),
    "POSTCENTRAL": (1.22, 0.45), "POSTERIORCINGULATE": (1.42, 1.10), "PRECENTRAL": (1.25, 0.50),
    "PRECUNEUS": (1.41, 1.20), "ROSTRALANTERIORCINGULATE": (1.38, 1.05), "ROSTRALMIDDLEFRONTAL": (1.33, 1.10),
    "SUPERIORFRONTAL": (1.30, 1.00), "SUPERIORPARIETAL": (1.28, 0.85), "SUPERIORTEMPORAL": (1.27, 0.90),
    "SUPRAMARGINAL": (1.31, 1.00), "TEMPORALPOLE": (1.14, 0.50), "TRANSVERSETEMPORAL": (1.22, 0.60),
}  # fmt: skip
DEEP = {
    "ACCUMBENS_AREA": (1.30, 0.80), "AMYGDALA": (1.20, 0.10), "CAUDATE": (1.22, 0.35), "HIPPOCAMPUS": (1.22, -0.35),
    "PALLIDUM": (1.55, -0.05), "PUTAMEN": (1.45, 0.65), "THALAMUS_PROPER": (1.38, -0.15),
}  # fmt: skip
# Shares of the variance between subjects: common to all regions, in patterns, and common to left and right.
COMMON, PATTERNS, PAIR, FACTORS = 0.45, 0.20, 0.20, 3
MODEL = (
    "y = level + ageing (age - 73) + effect g(CDRSB) + u + w t + e; g(c) = (1 - exp(-c / 8)) / (1 - exp(-10 / 8)); "
    "u ~ N(0, loadings loadings^T + diag(spread^2)); w ~ N(0, drift^2); e ~ N(0, noise^2), a share `reference` of its "
    "variance is common to all regions of a visit"
)


@dataclass(frozen=True)
class Uptake:
    """Uptake ratios at CDR-SB c, age a and t years after the first visit.

    y = level + ageing (a - 73) + effect g(c) + u + w t + e, with g(c) = (1 - exp(-c / 8)) / (1 - exp(-10 / 8)), so that
    ``effect`` is the difference between CDR-SB 10 and 0. Random effects of a subject: u ~ N(0, loadings loadings^T +
    diag(spread^2)) and w ~ N(0, drift^2). Noise of a visit: e ~ N(0, noise^2), with a share ``reference`` of its
    variance common to all regions (the noise of the reference region). y depends on c in no other way. Every parameter
    is ``[region]``, except the loadings ``[region, factor]``.
    """

    names: tuple[str, ...]
    level: Array
    ageing: Array
    effect: Array
    loadings: Array
    spread: Array
    drift: Array
    noise: Array
    reference: float = 0.2

    @classmethod
    def tadpole(cls, rng: np.random.Generator) -> Self:
        """Random parameters for the 82 regions of TADPOLE's table: 34 cortical and 7 subcortical per hemisphere."""
        count = len(CORTEX) + len(DEEP)
        known = np.array([*CORTEX.values(), *DEEP.values()])
        names = [f"CTX_{side}H_{name}_{SUFFIX}" for side in "LR" for name in CORTEX]
        names += [f"{side}_{name}_{SUFFIX}" for side in ("LEFT", "RIGHT") for name in DEEP]
        both = np.concatenate([known[: len(CORTEX)]] * 2 + [known[len(CORTEX) :]] * 2)
        pair = np.concatenate([np.arange(len(CORTEX))] * 2 + [np.arange(len(CORTEX), count)] * 2)
        level = both[:, 0] + rng.normal(0, 0.01, 2 * count)
        total = np.where(pair < len(CORTEX), 0.15, 0.11) * rng.uniform(0.9, 1.2, count)[pair]
        common = np.sqrt(COMMON) * rng.uniform(0.8, 1.1, count)[pair, None]
        patterns = rng.normal(size=(count, FACTORS))[pair] + 0.3 * rng.normal(size=(2 * count, FACTORS))
        patterns *= np.sqrt(PATTERNS) / np.linalg.norm(patterns, axis=1, keepdims=True)
        sides = np.sqrt(PAIR) * np.eye(count)[pair]
        loadings = np.concatenate([common, patterns, sides], axis=1)
        spread = total * np.sqrt(1 - (loadings**2).sum(1))
        drift, noise = 0.012 * rng.uniform(0.7, 1.3, 2 * count), rng.uniform(0.07, 0.11, 2 * count)
        d = both[:, 1] + rng.normal(0, 0.05, 2 * count)
        sd = np.sqrt(total**2 + (drift * 2 * GAP) ** 2 + noise**2)
        ageing = rng.uniform(0.0, 0.003, 2 * count)
        return cls(tuple(names), level, ageing, d * sd, loadings * total[:, None], spread, drift, noise)

    @classmethod
    def of(cls, parameters: dict[str, Any]) -> Self:
        """The uptake described by ``Simulation.parameters`` or truth.json."""
        regions = parameters["regions"]
        each = {key: np.array([region[key] for region in regions.values()]) for key in next(iter(regions.values()))}
        return cls(tuple(regions), **each, reference=parameters["reference"])

    def parameters(self) -> dict[str, Any]:
        """Parameters of each region, as JSON values."""
        columns = {key: getattr(self, key).tolist() for key in self.__dataclass_fields__ if key not in _SHARED}
        return {name: {key: values[k] for key, values in columns.items()} for k, name in enumerate(self.names)}

    def true(self, rng: np.random.Generator, cdrsb: Array, age: Array, years: Array) -> Array:
        """Noise-free values ``[subject, visit, region]`` for CDR-SB, age and years ``[subject, visit]``."""
        u = rng.normal(size=(len(cdrsb), self.loadings.shape[1])) @ self.loadings.T
        u += rng.normal(size=u.shape) * self.spread
        drift = rng.normal(size=u.shape) * self.drift
        mean = self.level + self.ageing * (age[..., None] - AGE) + self.effect * burden(cdrsb)[..., None]
        return np.asarray(mean + u[:, None] + drift[:, None] * years[..., None])

    def measured(self, rng: np.random.Generator, true: Array) -> Array:
        """Add measurement noise to noise-free values."""
        shared = np.sqrt(self.reference) * rng.normal(size=(*true.shape[:-1], 1))
        return true + self.noise * (shared + np.sqrt(1 - self.reference) * rng.normal(size=true.shape))

    def draw(self, rng: np.random.Generator, path: list[float], subjects: int, years: list[float]) -> Array:
        """Measured values ``[subject, visit, region]`` of subjects of one age on one CDR-SB path."""
        shape = (subjects, len(path))
        when = np.broadcast_to(np.asarray(years, float), shape)
        cdrsb = np.broadcast_to(np.asarray(path, float), shape)
        return self.measured(rng, self.true(rng, cdrsb, AGE + when, when))


_SHARED = ("names", "reference")


def burden(cdrsb: Array) -> Array:
    """g(c), a saturating function of CDR-SB: 0 at 0, 1 at 10."""
    return (1 - np.exp(-np.asarray(cdrsb, float) / HALF)) / (1 - np.exp(-FULL / HALF))


def simulate_av45(subjects: int = 279, visits: int = 3, seed: int = 0) -> Simulation:
    """Simulate a cohort in TADPOLE's columns: 82 regional AV45 uptake ratios (`Uptake`), every two years.

    CDRSB, ADAS13, MMSE, RAVLT_immediate and DX follow a disease time, as in `simulate_adni`; ``AGE`` is the age at
    baseline on every row. `true_effects` gives the exact group effects.

    Parameters
    ----------
    subjects, visits : int
        Number of subjects, and of visits per subject.
    seed : int
        Seed of all draws. For a given seed, the regions do not depend on ``subjects``.

    Returns
    -------
    Simulation
        The table, the noise-free truth, and the parameters.

    Examples
    --------
    >>> from crow.simulate import simulate_av45, true_effects
    >>> simulation = simulate_av45(subjects=2, visits=3)
    >>> simulation.table.filter(like="AV45").shape
    (6, 82)
    >>> true_effects(simulation.parameters, [0, 0, 0], [2, 4, 6]).columns.tolist()
    ['region', 'at', 'd']
    """
    model, rng = Uptake.tadpole(np.random.default_rng([seed, 0])), np.random.default_rng([seed, 1])
    drawn = draw_subjects(rng, subjects)
    jitter = np.clip(rng.normal(0, JITTER, size=(subjects, visits)), -MAX_JITTER, MAX_JITTER) * (np.arange(visits) > 0)
    days = np.round((GAP * np.arange(visits) + jitter) * 365.25).astype(int)
    years = days / 365.25
    course = drawn["disease_time"].to_numpy()[:, None] + drawn["rate"].to_numpy()[:, None] * years
    scores = _scores(rng, course.ravel())
    age = drawn["age"].round(1).to_numpy()[:, None] + years
    true = model.true(rng, scores["CDRSB"].to_numpy().reshape(course.shape), age, years)
    measured = model.measured(rng, true)
    regions, values = (
        pd.DataFrame(each.reshape(days.size, -1), columns=list(model.names)) for each in (true, measured.round(5))
    )
    visit = np.tile(np.arange(visits), subjects)
    entry = FIRST_DAY + pd.to_timedelta(rng.integers(0, 365 * YEARS_OF_ENTRY, size=subjects), unit="D")
    day = entry.repeat(visits) + pd.to_timedelta(days.ravel(), unit="D")
    identity = _identity(drawn.loc[np.repeat(drawn.index, visits)], visit, day, diagnosis(pd.Series(course.ravel())))
    clock = pd.DataFrame({"Years_bl": years.ravel().round(6), "M": np.round(12 * GAP * visit).astype(int)})
    rate = drawn["rate"].to_numpy().repeat(visits)
    truth = identity[["RID", "VISCODE"]].assign(Years_bl=clock["Years_bl"], disease_time=course.ravel(), rate=rate)
    arguments = {"subjects": subjects, "visits": visits, "seed": seed}
    parameters = {"model": MODEL, **arguments, "reference": model.reference, "regions": model.parameters()}
    table = pd.concat([identity, scores, clock, values], axis=1)
    return Simulation(table, pd.concat([truth, regions], axis=1), parameters)


def _scores(rng: np.random.Generator, s: Array) -> pd.DataFrame:
    """CDRSB, ADAS13, MMSE and RAVLT_immediate at disease times ``[visit]``."""
    words = np.clip(np.round(46 - 34 * sigmoid((s + 1) / 4) + 5 * rng.normal(size=len(s))), 0, 75)
    return draw_scores(rng, s).assign(RAVLT_immediate=words.astype(int))


def _identity(subjects: pd.DataFrame, visit: NDArray[np.int_], day: pd.DatetimeIndex, state: pd.Series) -> pd.DataFrame:
    """The first columns of the table, one row per visit."""
    return pd.DataFrame(
        {
            "RID": 9001 + subjects.index,
            "PTID": [f"900_S_{9001 + row}" for row in subjects.index],
            "VISCODE": ["bl" if k == 0 else f"m{round(12 * GAP * k):02d}" for k in visit],
            "EXAMDATE": day.strftime("%Y-%m-%d"),
            "DX": state.to_numpy(),
            "AGE": subjects["age"].round(1).to_numpy(),
            "PTGENDER": subjects["sex"].to_numpy(),
            "PTEDUCAT": subjects["education"].to_numpy(),
            "APOE4": subjects["apoe4"].to_numpy(),
        }
    )


def true_effects(
    parameters: dict[str, Any], first: list[float], second: list[float], years: list[float] | None = None
) -> pd.DataFrame:
    """Exact Cohen's d of subjects on the CDR-SB path ``second`` against subjects on ``first``.

    Both groups have the same age and the same sd; d is the difference of their means divided by the sd.

    Parameters
    ----------
    parameters : dict
        ``Simulation.parameters`` of `simulate_av45`, or truth.json.
    first, second : list of float
        CDR-SB at each visit.
    years : list of float, optional
        Times of the visits, by default every two years.

    Returns
    -------
    DataFrame
        One row per region and ``at``: "1", "2", ... for values at a visit; "2-1", "3-2", "3-1", ... for changes.
        Columns ``region``, ``at``, ``d``.

    Raises
    ------
    ConfigError
        If the paths have different lengths.
    """
    years = [GAP * k for k in range(len(first))] if years is None else years
    if not len(first) == len(second) == len(years):
        raise ConfigError(
            f"Paths of {len(first)} and {len(second)} visits with {len(years)} times: use the same number of each."
        )
    model, gap = Uptake.of(parameters), burden(np.asarray(second)) - burden(np.asarray(first))
    between = (model.loadings**2).sum(1) + model.spread**2 + model.noise**2
    rows = {
        str(k + 1): model.effect * gap[k] / np.sqrt(between + (model.drift * years[k]) ** 2) for k in range(len(first))
    }
    for apart in range(1, len(first)):
        for k in range(len(first) - apart):
            sd = np.sqrt(2 * model.noise**2 + (model.drift * (years[k + apart] - years[k])) ** 2)
            rows[f"{k + apart + 1}-{k + 1}"] = model.effect * (gap[k + apart] - gap[k]) / sd
    parts = [pd.DataFrame({"region": list(model.names), "at": at, "d": d + 0.0}) for at, d in rows.items()]
    return pd.concat(parts, ignore_index=True)
