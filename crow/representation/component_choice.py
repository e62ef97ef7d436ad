"""How many modes, and how much wider than in training the residuals of new subjects are: asked of held-out subjects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crow.errors import ConfigError
from crow.representation.modes import ScaledScans
from crow.representation.residual import Components, MeanSquares, ResidualPrior, Values, project, variance, weight
from crow.seeds import derived_seed

CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40)
SUBJECTS_PER_MODE = 3  # a flow of more dimensions learns little from so few
HELD_OUT = 0.2


class Choice(NamedTuple):
    """``components`` K, factors on the variances of residuals (at least 1), and log-density a held-out visit by K."""

    components: int
    noise: float
    persistent: float
    held_out: dict[int, float]


def choose(scans: ScaledScans, gram: NDArray[np.float64], components: int | None, seed: int) -> Choice:
    """Modes of four fifths of the subjects, judged on the others by the density of whole visits y (`ScaledScans`):
    the smallest K as good as the best, up to the standard error, of at most one for three subjects.

    Here coefficients too are a level of the subject's own and noise, a stand-in for the flow. Residuals of the scans
    that modes were fitted to are too small, those of held-out subjects tell by how much. Mean and scale of a voxel are
    those of all subjects. Raises ConfigError where ``components`` are more than there are scans to learn them from.
    """
    held = _held_out(scans, seed)
    inside = np.flatnonzero(~held[scans.subject])
    most = len(inside) - 1
    if components is not None and not 1 <= components <= most:
        raise ConfigError(f"components={components}: {most} is the most that {len(inside)} training scans can tell.")
    small = [k for k in CANDIDATES if k <= max(int((~held).sum()) // SUBJECTS_PER_MODE, 1)]
    trials = [components] if components else small
    basis = scans.modes(gram, inside, max(trials))
    fitted, fresh = _Sides(trials, basis), _Sides(trials, basis)
    for where, y in scans.by_subject():
        (fresh if held[scans.subject[where[0]]] else fitted).add(y)
    factors = {k: _wider(fitted.residuals[k], fresh.residuals[k]) for k in trials}
    priors = {k: _widened(basis[:, :k], fitted.residuals[k].components(), *factors[k]) for k in trials}
    modes = fitted.coefficients.components(shrink=False)
    modes = Components(modes.noise, np.maximum(modes.persistent, 0))
    scores: dict[int, list[float]] = {k: [] for k in trials}  # a value a subject
    for where, y in scans.by_subject():
        if not held[scans.subject[where[0]]]:
            continue
        c = project(basis, y)
        of_modes = _log_prob(c, modes)
        for k, r in _residuals(trials, basis, c, y):
            of_residuals = [priors[k].log_prob(r[n], r[:n].sum(0), n) for n in range(len(r))]
            scores[k].append(float(np.mean(of_modes[:, :k].sum(1) + of_residuals)))
    held_out = {k: float(np.mean(scores[k])) for k in trials}
    best = _fewest(scores)
    return Choice(best, *factors[best], held_out)


def _fewest(scores: dict[int, list[float]]) -> int:
    """The smallest K that is not worse than the best by more than the standard error of their difference."""
    best = max(scores, key=lambda k: np.mean(scores[k]))
    for k in sorted(scores):
        worse = np.array(scores[best]) - np.array(scores[k])
        if worse.mean() <= worse.std(ddof=1 if len(worse) > 1 else 0) / np.sqrt(len(worse)):
            return k
    return best


class _Sides:
    """Mean squares of the coefficients and, by K, of the residuals of some subjects."""

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
    """For every K, the part of ``y`` outside the first K modes; one array, worked on further."""
    r, done = y.copy(), 0
    for k in trials:
        r -= c[:, done:k].astype(np.float32) @ basis[:, done:k].T
        done = k
        yield k, r


def _held_out(scans: ScaledScans, seed: int) -> NDArray[np.bool_]:
    """A fifth of the subjects with two scans or more, at least one, ``[subject]``."""
    twice = np.flatnonzero(np.bincount(scans.subject) > 1)
    order = np.random.default_rng(derived_seed(seed, 7)).permutation(twice)
    held = np.zeros(scans.subject.max() + 1, bool)
    held[order[: max(1, round(HELD_OUT * len(twice)))]] = True
    return held


def _wider(fitted: MeanSquares, fresh: MeanSquares) -> tuple[float, float]:
    """Factors from the variances of residuals in training to those of new subjects, at least 1."""
    ours, theirs = fitted.components(), fresh.components(shrink=False)
    noise = float(np.mean(theirs.noise / ours.noise))
    total = ours.noise + ours.persistent
    persistent = float(np.sum(theirs.persistent / total) / max(float(np.sum(ours.persistent / total)), 1e-6))
    return max(noise, 1.0), float(np.clip(persistent, 1.0, 10.0))


def _widened(basis: NDArray[np.float32], found: Components, noise: float, persistent: float) -> ResidualPrior:
    return ResidualPrior(basis, noise * found.noise, persistent * found.persistent)


def _log_prob(c: Values, modes: Components) -> Values:
    """Log-density of each coefficient of one subject's visits given those before, ``[visit, K]``."""
    out = np.empty_like(c)
    for n in range(len(c)):
        mean = weight(modes.noise, modes.persistent, n) * (c[:n].mean(0) if n else 0.0)
        d = variance(modes.noise, modes.persistent, n)
        out[n] = -0.5 * ((c[n] - mean) ** 2 / d + np.log(2 * np.pi * d))
    return out
