"""ActNorm starts at the data, once; Standardise is exact."""

import pytest
import torch
from bijections import contract

from crow.bijections.affine import ActNorm, Standardise


def test_the_first_training_batch_comes_out_standardised() -> None:
    x = 3 + 2 * torch.randn(6, 4, 5, 5)
    norm = ActNorm(4, space=2)
    assert torch.equal(norm.eval()(x)[0], x) and not norm.initialised
    z, _ = norm.train()(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(4), atol=1e-5, rtol=0)


def test_a_loaded_one_is_not_initialised_again() -> None:
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


@pytest.mark.parametrize("event", [(5,), (2, 3), (1, 2, 2), (1, 2, 2, 2)])
def test_standardise_keeps_the_contract(event: tuple[int, ...]) -> None:
    def build() -> Standardise:
        return Standardise(torch.randn(event).double(), 0.5 + torch.rand(event).double())

    bijection, x = build(), torch.randn(3, *event).double()
    contract.check_round_trip(bijection, x, None, 1e-9)
    contract.check_log_det(bijection, x, None)
    contract.check_batch(bijection, x, None)
    contract.check_state_dict(bijection, x, None, build)
    assert not list(bijection.parameters())
    with pytest.raises(ValueError, match="Standardise expects"):
        bijection(torch.cat([x, x], 1))
