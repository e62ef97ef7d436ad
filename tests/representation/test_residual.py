"""The density on the complement of a subspace, against dense matrices."""

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.stats import multivariate_normal

from crow.representation import residual
from crow.representation.residual import MeanSquares, ResidualPrior, shrunk, variance, weight

V, K = 7, 2


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def prior(generator: np.random.Generator) -> ResidualPrior:
    basis = np.linalg.qr(generator.normal(size=(V, K)))[0].astype(np.float32)
    return ResidualPrior(basis, generator.uniform(0.2, 2, V), generator.uniform(0, 3, V))


def test_weight_and_variance_are_those_of_the_dense_random_intercept() -> None:
    noise, persistent = np.array([0.7]), np.array([1.9])
    past = np.array([0.4, -0.2, 1.1])
    dense = 1.9 * np.ones((4, 4)) + 0.7 * np.eye(4)
    gain = np.linalg.solve(dense[:3, :3], dense[:3, 3])
    np.testing.assert_allclose(weight(noise, persistent, 3) * past.mean(), gain @ past)
    np.testing.assert_allclose(variance(noise, persistent, 3), dense[3, 3] - gain @ dense[:3, 3])


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("block", [3, 100])
def test_density_is_the_gaussian_in_a_basis_of_the_complement(
    prior: ResidualPrior, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch, n: int, block: int
) -> None:
    monkeypatch.setattr(residual, "BLOCK", block)
    q = null_space(prior.basis.T)
    r, total = (q @ q.T @ generator.normal(size=V) for _ in range(2))
    total = total * n
    mean = weight(prior.noise, prior.persistent, n) * total / max(n, 1)
    d = variance(prior.noise, prior.persistent, n)
    expected = multivariate_normal.logpdf(q.T @ r, q.T @ mean, q.T @ np.diag(d) @ q)
    assert prior.log_prob(r, total, n) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(prior.mean(total, n), q @ q.T @ mean, atol=1e-6)
    np.testing.assert_allclose(prior.marginal_variance(n), np.diag(q @ q.T @ np.diag(d) @ q @ q.T), rtol=1e-5)


def test_density_integrates_to_one_over_the_complement() -> None:
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 1)))[0].astype(np.float32)
    prior = ResidualPrior(basis, np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.0, 0.3]))
    q = null_space(basis.T)
    total = q @ np.array([0.8, -0.5])
    line = np.linspace(-9, 9, 73)
    step = line[1] - line[0]
    values = [prior.log_prob(q @ np.array([a, b]), total, 1) for a in line for b in line]
    assert np.exp(values).sum() * step**2 == pytest.approx(1, abs=1e-5)


def test_samples_lie_in_the_complement_with_its_moments(prior: ResidualPrior, generator: np.random.Generator) -> None:
    total = prior.complement(generator.normal(size=V))
    noise = generator.standard_normal((8000, V), dtype=np.float32)
    draws = np.stack([prior.sample(total, 1, each) for each in noise])
    np.testing.assert_allclose(draws @ prior.basis, 0, atol=1e-5)
    np.testing.assert_allclose(draws.mean(0), prior.mean(total, 1), atol=0.06)
    np.testing.assert_allclose(draws.var(0), prior.marginal_variance(1), rtol=0.08)


def test_analysis_of_variance_recovers_the_variances(generator: np.random.Generator) -> None:
    noise, persistent = np.repeat([0.5, 1.0], 200), np.tile([0.0, 2.0], 200)
    squares = MeanSquares(400)
    for subject in range(120):
        visits = 2 + subject % 3
        level = np.sqrt(persistent) * generator.normal(size=400)
        squares.add(level + np.sqrt(noise) * generator.normal(size=(visits, 400)))
    raw, found = squares.components(shrink=False), squares.components()
    for value in (0.5, 1.0):
        assert raw.noise[noise == value].mean() == pytest.approx(value, rel=0.02)
    for value in (0.0, 2.0):
        assert raw.persistent[persistent == value].mean() == pytest.approx(value, abs=0.06)
    assert (found.persistent >= 0).all() and (found.noise > 0).all()


def test_shrinkage_helps_with_few_visits(generator: np.random.Generator) -> None:
    truth = 1 / generator.gamma(5, 1 / 5, 3000)
    found = truth * generator.chisquare(4, 3000) / 4
    error = [np.mean((np.log(estimate) - np.log(truth)) ** 2) for estimate in (found, shrunk(found, 4))]
    assert error[1] < 0.6 * error[0]
    equal = generator.chisquare(4, 3000) / 4
    assert np.log(shrunk(equal, 4)).std() < 0.15, "voxels of one variance get one variance"
    assert shrunk(np.array([0.0, 1.0, 2.0, 0.5]), 4).min() > 0, "a voxel that never changes"
