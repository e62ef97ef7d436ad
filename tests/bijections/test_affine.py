"""ActNorm is initialised by the data, once; Standardise is exact."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from bijections import contract

from crow.bijections.affine import ActNorm, Standardise


def test_the_first_training_batch_is_standardised() -> None:
    x = 3 + 2 * torch.randn(6, 4, 5, 5)
    norm = ActNorm(4, space=2)
    assert torch.equal(norm.eval()(x)[0], x) and not norm.initialised
    z, _ = norm.train()(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(4), atol=1e-5, rtol=0)


def test_a_loaded_layer_is_not_initialised_again() -> None:
    norm, loaded = ActNorm(3), ActNorm(3)
    norm(torch.randn(8, 3))
    loaded.load_state_dict(norm.state_dict())
    other = 5 + torch.randn(8, 3)
    assert loaded.initialised
    assert torch.equal(loaded.train()(other)[0], norm(other)[0])


def test_a_constant_channel_keeps_its_scale() -> None:
    norm = ActNorm(2)
    z, log_det = norm(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    assert torch.equal(z, torch.tensor([[-1.0, 0.0], [1.0, 0.0]])) and torch.equal(log_det, torch.zeros(2))


def test_padded_visits_can_be_left_out() -> None:
    x, mask = torch.randn(4, 5, 3), torch.arange(5) < torch.tensor([[5], [2], [3], [1]])
    norm = ActNorm(3)
    norm.initialise(x[mask])
    assert torch.equal(norm.shift, x[mask].mean(0))
    assert torch.equal(norm.train()(x)[0], norm.eval()(x)[0])


@pytest.mark.parametrize("with_slope", [False, True])
@pytest.mark.parametrize("event", [(5,), (2, 3), (1, 2, 2), (1, 2, 2, 2)])
def test_standardise_keeps_the_contract(event: tuple[int, ...], with_slope: bool) -> None:
    def build() -> Standardise:
        slope = torch.randn(event).double() if with_slope else None
        return Standardise(torch.randn(event).double(), 0.5 + torch.rand(event).double(), slope)

    bijection, x = build(), torch.randn(3, *event).double()
    context = torch.randn(3, *event).double() if with_slope else None
    contract.check_round_trip(bijection, x, context)
    contract.check_log_det(bijection, x, context)
    contract.check_gradients(bijection, x, context, context_matters=with_slope)
    contract.check_batch(bijection, x, context)
    contract.check_state_dict(bijection, x, context, build)
    assert not list(bijection.parameters())
    with pytest.raises(ValueError, match="Standardise expects"):
        bijection(torch.cat([x, x], 1))


def fitted(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]], min_sd: float = 0.0) -> Standardise:
    pairs = list(pairs)
    event = pairs[0][0].shape[1:]
    bijection = Standardise(torch.zeros(event), torch.ones(event))
    bijection.fit(pairs, min_sd)
    return bijection


def test_the_regression_is_least_squares_and_its_sd_holds_for_new_values() -> None:
    """Every value has its own line, and the sd is that of new values about it."""
    generator = torch.Generator().manual_seed(0)
    mean, slope, sd = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.5, 1.0, 0.2])

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        c = 1 + torch.randn(n, 3, generator=generator)
        return mean + slope * c + sd * torch.randn(n, 3, generator=generator), c

    x, c = draw(400)
    found = fitted(zip(x.split(7), c.split(7), strict=True))
    for k in range(3):
        expected = np.polyfit(c[:, k], x[:, k], 1)
        np.testing.assert_allclose([found.slope[k], found.mean[k]], expected, rtol=0.01)
    z, _ = found(*draw(4000))
    torch.testing.assert_close(z.std(0), torch.ones(3), atol=0.05, rtol=0)
    few = torch.stack([fitted([draw(8)])(*draw(50))[0] for _ in range(400)])
    assert few.square().mean() == pytest.approx(1.35, abs=0.35)  # t with 6 degrees of freedom has 1.5


def test_an_uninformative_context_has_no_slope() -> None:
    generator = torch.Generator().manual_seed(0)
    x, c = torch.randn(2, 12, 2000, generator=generator)
    found = fitted([(x, c)])
    plain = ((x - x.mean(0)) * (c - c.mean(0))).sum(0) / (c - c.mean(0)).square().sum(0)
    assert (found.slope == 0).float().mean() > 0.6 and found.slope.square().mean() < 0.5 * plain.square().mean()
    constant = fitted([(torch.ones(9, 2), torch.zeros(9, 2))], 0.1)
    assert torch.equal(constant.mean, torch.ones(2)) and torch.equal(constant.slope, torch.zeros(2))
    torch.testing.assert_close(constant.sd, torch.full((2,), 0.1))
