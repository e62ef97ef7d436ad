"""ActNorm starts at the data, once."""

import torch

from crow.bijections.affine import ActNorm


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
