"""Choice of the number of modes, and of the residual variances of new subjects, on validation subjects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crow.bijections.normal import LOG_2PI
from crow.errors import ConfigError
from crow.representation.modes import ScaledScans
from crow.representation.residual import Components, MeanSquares, ResidualPrior, Values, project, variance, weight
from crow.seeds import SeedStream, derived_seed

CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40)
SUBJECTS_PER_MODE = 3  # flows of more dimensions overfit
VALIDATION_FRACTION = 0.2


class Choice(NamedTuple):
    """``components`` K, factors on the residual variances (at least 1), and ``validation``: log-density per validation
    visit for each K."""

    components: int
    noise: float
    persistent: float
    validation: dict[int, float]


def choose(scans: ScaledScans, gram: NDArray[np.float64], components: int | None, seed: int) -> Choice:
    """Choose K by the density of whole visits y (`ScaledScans`) of validation subjects.

    Modes are fitted to four fifths of the subjects and evaluated on the rest. K is the smallest number whose density is
    within one standard error of the best, with at most one mode per three subjects, beside the means of structures.
    Coefficients are modelled as a random intercept per subject plus noise, as a proxy for the flow. Residuals of the
    fitted scans are too small; the validation subjects show by what factor. Mean and scale of each voxel are those of
    all subjects. Raises ConfigError if ``components`` exceeds what the training scans can determine.
    """
    validation = _validation_subjects(scans, seed)
    inside = np.flatnonzero(~validation[scans.subject])
    most = len(inside) - 1
    if components is not None and not 1 <= components <= most:
        raise ConfigError(
            f"components={components}: {len(inside)} training scans allow at most {most}. Lower scans.components."
        )
    small = [k for k in CANDIDATES if k <= max(int((~validation).sum()) // SUBJECTS_PER_MODE, 1)]
    before = len(scans.structures.names)
    trials = [before + k for k in ([components] if components else small)]
    basis = scans.modes(gram, inside, max(trials) - before)
    fitted, fresh = _GroupSquares(trials, basis), _GroupSquares(trials, basis)
    for where, y in scans.by_subject():
        (fresh if validation[scans.subject[where[0]]] else fitted).add(y)
    factors = {k: _variance_ratios(fitted.residuals[k], fresh.residuals[k]) for k in trials}
    priors = {k: _inflated(basis[:, :k], fitted.residuals[k].components(), *factors[k]) for k in trials}
    modes = fitted.coefficients.components(shrink=False)
    modes = Components(modes.noise, np.maximum(modes.persistent, 0))
    scores: dict[int, list[float]] = {k: [] for k in trials}  # one value per subject
    for where, y in scans.by_subject():
        if not validation[scans.subject[where[0]]]:
            continue
        c = project(basis, y)
        of_modes = _log_prob(c, modes)
        for k, r in _residuals(trials, basis, c, y):
            of_residuals = [priors[k].log_prob(r[n], r[:n].sum(0), n) for n in range(len(r))]
            scores[k].append(float(np.mean(of_modes[:, :k].sum(1) + of_residuals)))
    means = {k - before: float(np.mean(scores[k])) for k in trials}
    best = _smallest_adequate(scores)
    return Choice(best - before, *factors[best], means)


def _smallest_adequate(scores: dict[int, list[float]]) -> int:
    """The smallest K within one standard error (of the difference) of the best."""
    best = max(scores, key=lambda k: np.mean(scores[k]))
    for k in sorted(scores):
        worse = np.array(scores[best]) - np.array(scores[k])
        if worse.mean() <= worse.std(ddof=1 if len(worse) > 1 else 0) / np.sqrt(len(worse)):
            return k
    return best


class _GroupSquares:
    """Mean squares of the coefficients and, for each K, of the residuals of a group of subjects."""

    def __init__(self, trials: list[int], basis: NDArray[np.float32]) -> None:
        self.trials, self.basis = trials, basis
        self.coefficients = MeanSquares(basis.shape[1])
        self.residuals = {k: MeanSquares(len(basis)) for k in trials}

    def add(self, y: NDArray[np.float32]) -> None:
        c = project(self.basis, y)
        self.coefficients.add(c)
        for k, r in _residuals(self.trials, self.basis, c, y):
            self.residuals[k].add(r)


def _residuals(
    trials: list[int], basis: NDArray[np.float32], c: Values, y: NDArray[np.float32]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """For each K, the residual of ``y`` after the first K modes; the same array is updated and yielded each time."""
    r, done = y.copy(), 0
    for k in trials:
        r -= c[:, done:k].astype(np.float32) @ basis[:, done:k].T
        done = k
        yield k, r


def _validation_subjects(scans: ScaledScans, seed: int) -> NDArray[np.bool_]:
    """A fifth of the subjects with at least two scans, at least one subject, as a mask ``[subject]``."""
    twice = np.flatnonzero(np.bincount(scans.subject) > 1)
    order = np.random.default_rng(derived_seed(seed, SeedStream.COMPONENT_CHOICE)).permutation(twice)
    chosen = np.zeros(scans.subject.max() + 1, bool)
    chosen[order[: max(1, round(VALIDATION_FRACTION * len(twice)))]] = True
    return chosen


def _variance_ratios(fitted: MeanSquares, fresh: MeanSquares) -> tuple[float, float]:
    """Ratios (at least 1) of the residual variances of new subjects to those of training subjects."""
    training, new = fitted.components(), fresh.components(shrink=False)
    noise = float(np.mean(new.noise / training.noise))
    total = training.noise + training.persistent
    persistent = float(np.sum(new.persistent / total) / max(float(np.sum(training.persistent / total)), 1e-6))
    return max(noise, 1.0), float(np.clip(persistent, 1.0, 10.0))


def _inflated(basis: NDArray[np.float32], found: Components, noise: float, persistent: float) -> ResidualPrior:
    return ResidualPrior(basis, noise * found.noise, persistent * found.persistent)


def _log_prob(c: Values, modes: Components) -> Values:
    """Log-density of each coefficient of a subject's visits given the earlier visits, ``[visit, K]``."""
    out = np.empty_like(c)
    for n in range(len(c)):
        mean = weight(modes.noise, modes.persistent, n) * (c[:n].mean(0) if n else 0.0)
        d = variance(modes.noise, modes.persistent, n)
        out[n] = -0.5 * ((c[n] - mean) ** 2 / d + LOG_2PI + np.log(d))
    return out
