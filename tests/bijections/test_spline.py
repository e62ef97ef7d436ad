"""The rational-quadratic spline compared with autograd, a root search, and its boundary conditions."""

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from crow.bijections.spline import rational_quadratic_spline

BOUND = 3.0


@pytest.fixture
def theta() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(2 * torch.randn(200, k, generator=generator, dtype=torch.float64) for k in (6, 6, 5))  # type: ignore


@pytest.fixture
def x() -> Tensor:
    return torch.linspace(-4, 4, 200, dtype=torch.float64)


def test_derivative_equals_autograd(x: Tensor, theta: tuple[Tensor, Tensor, Tensor]) -> None:
    for inverse in (False, True):
        x = x.detach().requires_grad_()
        y, log_slope = rational_quadratic_spline(x, *theta, BOUND, inverse)
        (slope,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(log_slope, slope.log(), atol=1e-9, rtol=1e-9)


def test_inverse_equals_a_root_search(x: Tensor, theta: tuple[Tensor, Tensor, Tensor]) -> None:
    found, _ = rational_quadratic_spline(x, *theta, BOUND, inverse=True)
    for i in range(0, len(x), 7):
        row = [t[i : i + 1] for t in theta]

        def excess(value: float, row: list[Tensor] = row, target: float = float(x[i])) -> float:
            return float(rational_quadratic_spline(torch.tensor([value], dtype=torch.float64), *row, BOUND)[0]) - target

        assert float(found[i]) == pytest.approx(brentq(excess, -6, 6, xtol=1e-13), abs=1e-9)


def test_values_and_slopes_at_knots_are_the_parameters() -> None:
    """Two equal bins, slope 0.5 in the middle: values and slopes computed by hand from equation 4."""
    widths = heights = torch.zeros(3, 2, dtype=torch.float64)
    softplus_inverse = torch.tensor(0.49, dtype=torch.float64).expm1().log()
    offset = torch.tensor(0.99, dtype=torch.float64).expm1().log()
    derivatives = (softplus_inverse - offset).expand(3, 1)
    x = torch.tensor([-2.0, 0.0, 1.0], dtype=torch.float64)
    y, log_slope = rational_quadratic_spline(x, widths, heights, derivatives, 2.0)
    # On [0, 2]: w = h = 2, delta = 1, d0 = 0.5, d1 = 1, xi = 0.5: y = 2 (0.25 + 0.125) / (1 - 0.5 * 0.25).
    torch.testing.assert_close(y, torch.tensor([-2.0, 0.0, 0.75 / 0.875], dtype=torch.float64))
    slope = (0.25 + 0.5 + 0.125) / 0.875**2
    torch.testing.assert_close(log_slope.exp(), torch.tensor([1.0, 0.5, slope], dtype=torch.float64))


def test_it_rises_and_is_the_identity_outside(theta: tuple[Tensor, Tensor, Tensor]) -> None:
    x = torch.linspace(-5, 5, 2001, dtype=torch.float64)
    one = [t[:1].expand(len(x), -1) for t in theta]
    y, log_slope = rational_quadratic_spline(x, *one, BOUND)
    assert bool((y.diff() > 0).all())
    outside = x.abs() >= BOUND
    assert torch.equal(y[outside], x[outside]) and bool((log_slope[outside] == 0).all())
    assert float((y - x).abs().max()) > 0.5


def test_extreme_parameters_stay_finite() -> None:
    x = torch.linspace(-4, 4, 64).requires_grad_()
    theta = [
        (100.0 * torch.randn(64, k, generator=torch.Generator().manual_seed(k))).requires_grad_() for k in (8, 8, 7)
    ]
    for inverse in (False, True):
        y, log_slope = rational_quadratic_spline(x, *theta, BOUND, inverse)
        gradients = torch.autograd.grad((y + log_slope).sum(), [x, *theta])
        assert all(bool(v.isfinite().all()) for v in (y, log_slope, *gradients))
