"""The shrunk covariance: keeps the factors that regions share, finds none where there is none, the truth with many."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from crow.bijections import shrinkage
from crow.bijections.shrinkage import covariance, shrunk_covariance


def truth(regions: int, factors: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    loadings = rng.normal(size=(regions, factors)) * np.sqrt(0.6 / max(factors, 1))
    return loadings @ loadings.T + np.diag(rng.uniform(0.3, 0.6, regions))


def drawn(covariance: np.ndarray, visits: int, seed: int = 0) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).multivariate_normal(np.zeros(len(covariance)), covariance, visits))


def nats(covariance: np.ndarray, of: np.ndarray) -> float:
    """Expected log-density, but for a constant, of draws ``of`` another covariance."""
    return float(-0.5 * (np.linalg.slogdet(covariance)[1] + np.trace(np.linalg.solve(covariance, of))))


@pytest.mark.parametrize("visits", [40, 200])
def test_common_factors_are_kept(visits: int) -> None:
    real = truth(60, 2)
    e = drawn(real, visits)
    found = shrunk_covariance(e, torch.arange(visits)).numpy()
    other = LedoitWolf(assume_centered=True).fit(e.numpy()).covariance_
    assert np.linalg.eigvalsh(found).min() > 0
    lost, lost_by_other = (nats(real, real) - nats(each, real) for each in (found, other))
    assert lost < 0.6 * lost_by_other


def test_without_correlation_none_is_found() -> None:
    e = drawn(np.eye(30), 60)
    found = shrunk_covariance(e, torch.arange(60))
    torch.testing.assert_close(found, (e.T @ e / 60).diagonal().diag(), atol=0.08, rtol=0)


@pytest.mark.parametrize("regions", [2, 5])
def test_many_visits_need_no_shrinkage(regions: int) -> None:
    real = truth(regions, 1)
    e = drawn(real, 20_000)
    found = shrunk_covariance(e, torch.arange(20_000) // 4)
    torch.testing.assert_close(found, e.T @ e / len(e), atol=0.02, rtol=0)


def test_a_factor_that_explains_everything() -> None:
    """Two regions that are one: still a covariance."""
    e = drawn(np.eye(3), 50)
    e = torch.cat([e, e[:, :1], e[:, :1] + 1e-9 * e[:, 1:2]], 1)
    assert torch.linalg.cholesky_ex(shrunk_covariance(e, torch.arange(50)))[1] == 0


def test_missing_values_cost_little_of_the_covariance() -> None:
    """A third missing at random: EM's is the likeliest of the measured values, and near that of all values."""
    real = truth(6, 2)
    e = drawn(real, 3000)
    measured = torch.rand(e.shape, generator=torch.Generator().manual_seed(0)) > 1 / 3
    found = covariance(e * measured, measured)
    torch.testing.assert_close(found, e.T @ e / len(e), atol=0.08, rtol=0)

    def nats(s: Tensor) -> float:
        each = [(there, e[k, there]) for k, there in enumerate(measured) if there.any()]
        return float(sum(
            torch.distributions.MultivariateNormal(v.new_zeros(len(v)), s[there][:, there]).log_prob(v)
            for there, v in each
        ))  # fmt: skip

    best = nats(found)
    for k in range(6):
        other = found.clone()
        other[k, :k] *= 0.97
        other[:k, k] *= 0.97
        assert k == 0 or nats(other) < best
    shrunk = shrunk_covariance(e * measured, torch.arange(3000), measured)
    torch.testing.assert_close(shrunk, found, atol=0.05, rtol=0)


def test_regions_that_are_never_measured_together() -> None:
    e = drawn(truth(3, 1), 500)
    measured = torch.ones_like(e, dtype=torch.bool)
    measured[::2, 0] = measured[1::2, 1] = measured[:, 2] = False
    found = shrunk_covariance(e * measured, torch.arange(500), measured)
    assert torch.linalg.cholesky_ex(found)[1] == 0 and found[2, 2] == 1
    assert abs(float(found[0, 1])) < 0.1


def test_few_visits_of_many_regions_have_the_same_likelihoods() -> None:
    """Woodbury's identity changes the time, not the answer."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(30, 2, generator=generator, dtype=torch.double)
    e = common @ torch.randn(2, 90, generator=generator, dtype=torch.double)
    e = e + torch.randn(30, 90, generator=generator, dtype=torch.double)
    kept, left, factors = e[:24], e[24:], [0, 1, 2, 3]
    everything = torch.ones_like(left, dtype=torch.bool)
    s = shrinkage.covariance(kept, torch.ones_like(kept, dtype=torch.bool))
    parts = shrinkage._by_pattern(left, everything)
    expected = torch.stack([shrinkage._likelihood(parts, s, f) for f in shrinkage._targets(s, factors)])
    found = shrinkage._likelihoods_of_few(kept, left, factors)
    torch.testing.assert_close(found[:, 1:], expected[:, 1:], rtol=1e-8, atol=1e-6)
    assert int(found.argmax()) == int(expected[:, 1:].argmax()) // 13 * 14 + int(expected[:, 1:].argmax()) % 13 + 1
