"""The fit of the regression: effects, residual covariance, and degenerate data."""

import pytest
import torch
from torch import Tensor

from crow.bijections.regression import Regression

EFFECT = torch.tensor([[1.0, 0.0], [-2.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
LEVEL = torch.tensor([3.0, 0.0, -1.0], dtype=torch.float64)
FACTOR = torch.tensor([[0.5, 0.0, 0.0], [0.4, 0.3, 0.0], [0.0, -0.2, 1.0]], dtype=torch.float64)


def subjects(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    c, e = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (2, 3))
    return LEVEL + c @ EFFECT.T + e @ FACTOR.T, c


def fitted(x: Tensor, c: Tensor, subject: Tensor | None = None) -> Regression:
    regression = Regression(x.shape[1], c.shape[1]).double()
    regression.fit(x, c, subject)
    return regression.requires_grad_(False)


def test_it_recovers_the_linear_model_of_the_data() -> None:
    regression = fitted(*subjects(4000))
    assert torch.allclose(regression.effect, EFFECT, atol=0.05) and torch.allclose(regression.level, LEVEL, atol=0.05)
    assert torch.allclose(regression.factor, FACTOR, atol=0.05)
    x, c = subjects(4000, seed=1)
    z, _ = regression(x, c)
    assert torch.allclose(torch.cov(z.T), torch.eye(3, dtype=torch.float64), atol=0.08)


def test_its_density_is_the_linear_model() -> None:
    regression, (x, c) = fitted(*subjects(200)), subjects(5, seed=1)
    z, log_det = regression(x, c)
    found = log_det + torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    mean = regression.level + c @ regression.effect.T
    expected = torch.distributions.MultivariateNormal(mean, scale_tril=regression.factor).log_prob(x)
    torch.testing.assert_close(found, expected)


def test_classes_that_add_up_to_one_have_effects() -> None:
    x, c = subjects(300)
    group = torch.arange(300) % 3
    x[:, 0] += group
    regression = fitted(x, torch.cat([c, torch.eye(3, dtype=torch.float64)[group]], 1))
    assert float(regression.effect[0, 4] - regression.effect[0, 2]) == pytest.approx(2.0, abs=0.2)


def test_a_saturated_context_leaves_a_positive_sd() -> None:
    """More channels than visits, a region with one deviating subject, and two identical regions."""
    x, _ = subjects(9)
    x = torch.cat([x, x[:, :1], (torch.arange(9) == 4).double()[:, None]], 1)
    c = torch.randn(9, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for context in (c, c[:, :1]):
        z, log_det = fitted(x, context)(x, context)
        assert bool(z.isfinite().all() and log_det.isfinite().all())


def test_the_covariance_is_cross_validated_over_subjects() -> None:
    """Thirty subjects with ten almost identical visits each: the shrinkage is that of thirty visits."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 40, generator=generator, dtype=torch.float64).repeat_interleave(10, 0)
    x = x + 0.05 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    others = torch.randn(500, 40, generator=generator, dtype=torch.float64)
    c, new = x.new_zeros(len(x), 1), x.new_zeros(500, 1)

    def log_likelihood(subject: Tensor | None) -> float:
        z, log_det = fitted(x, c, subject)(others, new)
        return float((log_det - z.square().sum(1) / 2).mean())

    assert log_likelihood(torch.arange(30).repeat_interleave(10)) > log_likelihood(None) + 10
