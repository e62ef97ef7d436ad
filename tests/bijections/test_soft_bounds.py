"""Values with bounds on the whole line."""

import math

import pytest
import torch
from bijections import contract

from crow.bijections.soft_bounds import Bounds, SoftBounds

INF = math.inf


def bounds(dtype: torch.dtype = torch.double) -> Bounds:
    """Real, positive, bounded and reached, a score from 0 to 30, and an upper bound alone."""
    return Bounds(
        torch.tensor([-INF, -2.0, -1.0, -3.0, -INF], dtype=dtype),
        torch.tensor([INF, INF, 1.5, 1.0, 2.0], dtype=dtype),
        torch.tensor([True, True, False, False, True]),
        torch.tensor([0.0, 0.0, 0.0, 0.5, 0.0], dtype=dtype),
        torch.tensor([0.0, 0.0, 0.0, -3.0, 0.0], dtype=dtype),
    )


def layer(softness: float, dtype: torch.dtype = torch.double) -> SoftBounds:
    made = SoftBounds(5).to(dtype)
    made.set(bounds(dtype))
    made.soften(torch.full((5,), softness, dtype=dtype))
    x = inside(400, dtype)
    made.standardise(x, torch.ones_like(x, dtype=torch.bool))
    return made


def inside(n: int, dtype: torch.dtype = torch.double) -> torch.Tensor:
    u = torch.rand(n, 5, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01
    return torch.stack(
        [6 * u[:, 0] - 3, 8 * u[:, 1] - 2, 2.5 * u[:, 2] - 1, 4 * u[:, 3] - 3, 2 - 6 * u[:, 4]], 1
    )


@pytest.mark.parametrize("softness", [0.05, 0.5, 5.0])
def test_it_keeps_the_contract(softness: float) -> None:
    made, x = layer(softness), inside(7)
    contract.check_round_trip(made, x, None)
    contract.check_log_det(made, x, None)
    contract.check_batch(made, x, None)
    contract.check_state_dict(made, x, None, lambda: SoftBounds(5).double())
    contract.check_modes(made, x, None)


@pytest.mark.parametrize("softness", [0.05, 0.5, 5.0])
def test_any_latent_value_lies_within_the_bounds(softness: float) -> None:
    z = torch.linspace(-40, 40, 1001, dtype=torch.double)[:, None].expand(-1, 5)
    x = layer(softness).inverse(z)[0]
    made = layer(softness)
    low, high = made._ends()
    assert bool(((x >= low) & (x <= high)).all())
    settled = made.settle(x)
    assert bool(((settled >= made.least) & (settled <= made.most)).all())
    steps = (settled[:, 3] + 3) / 0.5
    torch.testing.assert_close(steps, steps.round())


def test_a_region_without_bounds_stays_as_it_is() -> None:
    x = inside(9)
    assert torch.equal(layer(0.5)(x)[0][:, 0], x[:, 0])


@pytest.mark.parametrize("softness", [0.05, 0.5, 5.0])
def test_a_normal_latent_integrates_to_one_between_the_bounds(softness: float) -> None:
    made = layer(softness)
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.double)[:, None].expand(-1, 5)
    edges = made.inverse(grid)[0][:, 2]
    x = inside(1).expand(20_000, -1).clone()
    x[:, 2] = (edges[1:] + edges[:-1]) / 2
    z, log_slope = made.each(x)
    log_p = -0.5 * z[:, 2].square() - 0.5 * math.log(2 * math.pi) + log_slope[:, 2]
    assert float((log_p.exp() * edges.diff()).sum()) == pytest.approx(1, abs=1e-3)


def test_far_from_the_bounds_it_is_a_line_and_near_one_a_logarithm() -> None:
    made = SoftBounds(1).double()
    made.set(Bounds(*(torch.tensor([v], dtype=torch.double) for v in (0.0, INF)), torch.tensor([True]),
                    torch.zeros(1, dtype=torch.double), torch.zeros(1, dtype=torch.double)))  # fmt: skip
    made.soften(torch.tensor([0.1], dtype=torch.double))
    x = torch.tensor([[3.0], [4.0], [1e-4], [1e-5]], dtype=torch.double)
    y = made(x)[0][:, 0]
    assert float(y[1] - y[0]) == pytest.approx(1, abs=1e-10)
    assert float(y[2] - y[3]) == pytest.approx(0.1 * math.log(10), rel=1e-3)


def test_in_single_precision_draws_beyond_the_bound_stay_finite() -> None:
    made = layer(0.05, torch.float32)
    x = made.inverse(torch.full((3, 5), -60.0))[0]
    assert bool(torch.isfinite(made(x)[0]).all())
