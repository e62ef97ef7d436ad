"""The regression's fit: where attributes move each region, how residuals vary, and that no data break it."""

import pytest
import torch
from torch import Tensor

from crow.bijections.regression import Regression

EFFECT = torch.tensor([[1.0, 0.0], [-2.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
LEVEL = torch.tensor([3.0, 0.0, -1.0], dtype=torch.float64)
FACTOR = torch.tensor([[0.5, 0.0, 0.0], [0.4, 0.3, 0.0], [0.0, -0.2, 1.0]], dtype=torch.float64)


def people(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    c, e = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (2, 3))
    return LEVEL + c @ EFFECT.T + e @ FACTOR.T, c


def fitted(x: Tensor, c: Tensor, subject: Tensor | None = None) -> Regression:
    regression = Regression(x.shape[1], c.shape[1]).double()
    regression.fit(x, c, subject)
    return regression.requires_grad_(False)


def test_it_finds_the_linear_model_that_people_come_from() -> None:
    regression = fitted(*people(4000))
    assert torch.allclose(regression.effect, EFFECT, atol=0.05) and torch.allclose(regression.level, LEVEL, atol=0.05)
    assert torch.allclose(regression.factor, FACTOR, atol=0.05)
    x, c = people(4000, seed=1)
    z, _ = regression(x, c)
    assert torch.allclose(torch.cov(z.T), torch.eye(3, dtype=torch.float64), atol=0.08)


def test_its_density_is_that_of_the_linear_model() -> None:
    regression, (x, c) = fitted(*people(200)), people(5, seed=1)
    z, log_det = regression(x, c)
    found = log_det + torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    mean = regression.level + c @ regression.effect.T
    expected = torch.distributions.MultivariateNormal(mean, scale_tril=regression.factor).log_prob(x)
    torch.testing.assert_close(found, expected)


def test_classes_that_add_up_to_one_have_effects() -> None:
    x, c = people(300)
    group = torch.arange(300) % 3
    x[:, 0] += group
    regression = fitted(x, torch.cat([c, torch.eye(3, dtype=torch.float64)[group]], 1))
    assert float(regression.effect[0, 4] - regression.effect[0, 2]) == pytest.approx(2.0, abs=0.2)


def test_a_context_that_says_everything_of_a_few_people_leaves_a_spread() -> None:
    """More channels than visits, a region that one person alone has another value of, two regions that are the same."""
    x, _ = people(9)
    x = torch.cat([x, x[:, :1], (torch.arange(9) == 4).double()[:, None]], 1)
    c = torch.randn(9, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for context in (c, c[:, :1]):
        z, log_det = fitted(x, context)(x, context)
        assert bool(z.isfinite().all() and log_det.isfinite().all())


def test_visits_of_one_person_do_not_vouch_for_each_other() -> None:
    """Thirty people, ten visits each that are all but the same: the covariance is shrunk as that of thirty."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 40, generator=generator, dtype=torch.float64).repeat_interleave(10, 0)
    x = x + 0.05 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    others = torch.randn(500, 40, generator=generator, dtype=torch.float64)
    c, new = x.new_zeros(len(x), 1), x.new_zeros(500, 1)

    def told(subject: Tensor | None) -> float:
        z, log_det = fitted(x, c, subject)(others, new)
        return float((log_det - z.square().sum(1) / 2).mean())

    assert told(torch.arange(30).repeat_interleave(10)) > told(None) + 10


def test_a_run_from_before_it_has_no_regression() -> None:
    regression = Regression(3, 2)
    regression.fit(*people(50))
    regression.load_state_dict({})
    x, c = (v.float() for v in people(4))
    assert torch.equal(regression(x, c)[0], x)
