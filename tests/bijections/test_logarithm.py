"""Logarithms are selected for positive features if they help, and are inverted exactly."""

import pytest
import torch
from bijections import contract
from torch import Tensor

from crow.bijections.logarithm import Logarithm

ZERO = torch.tensor([-2.0, -1.0, 0.0, 0.5], dtype=torch.float64)


def subjects(n: int = 200) -> tuple[Tensor, Tensor]:
    """Two features whose logarithms are linear in c, one that is normal and far above zero, one that crosses it."""
    generator = torch.Generator().manual_seed(0)
    c, e = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (1, 4))
    x = torch.stack([(c[:, 0] + 0.5 * e[:, 0]).exp(), (0.4 * e[:, 1]).exp(), 10 + e[:, 2], 0.8 * e[:, 3].exp()], 1)
    x[0, 3] = -0.1
    return x + ZERO, c


def fitted() -> Logarithm:
    logarithm = Logarithm(4).double()
    logarithm.fit(*subjects(), ZERO)
    return logarithm


def test_it_selects_positive_features_that_it_makes_more_normal() -> None:
    assert fitted().selected.tolist() == [True, True, False, False]


def test_keeps_the_contract() -> None:
    logarithm, x = fitted(), subjects(5)[0]
    contract.check_round_trip(logarithm, x, None)
    contract.check_log_det(logarithm, x, None)
    contract.check_batch(logarithm, x, None)
    contract.check_state_dict(logarithm, x, None, lambda: Logarithm(4))
    contract.check_refuses(logarithm, x[:, :3], None, "Logarithm expects 4 features")
    contract.check_gradients(logarithm, x, None, context_matters=False)


def test_no_draw_is_below_zero_and_every_value_is_finite() -> None:
    logarithm = fitted()
    drawn, log_det = logarithm.inverse(5 * torch.randn(500, 4, dtype=torch.float64))
    assert bool((drawn[:, :2] > ZERO[:2] - 1e-9).all() and log_det.isfinite().all())
    z, log_det = logarithm(ZERO.expand(3, -1) - 1)
    assert bool(z.isfinite().all() and log_det.isfinite().all())


def test_it_is_the_identity_before_the_fit() -> None:
    x = subjects(5)[0].float()
    logarithm = Logarithm(4)
    assert torch.equal(logarithm(x)[0], x) and logarithm(x)[1].tolist() == pytest.approx([0] * 5)
