"""Mixing: what each is at the start, and that it can be drawn again."""

import pytest
import torch
from bijections.contract import perturb

from crow.bijections.mixing import LU, Permutation, Rotation


@pytest.mark.parametrize("mixing", [Permutation, LU])
def test_a_seed_gives_the_same_permutation_of_the_channels(mixing: type[Permutation | LU]) -> None:
    x = torch.arange(24.0).view(2, 12)
    first, again, other = (mixing(12, generator=torch.Generator().manual_seed(seed))(x)[0] for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(first.sort(1).values, x) and not torch.equal(first, x)


def test_a_rotation_stays_one_when_it_is_trained() -> None:
    rotation = Rotation(6).double()
    perturb(rotation)
    q = rotation(torch.eye(6, dtype=torch.float64))[0].detach().mT
    torch.testing.assert_close(q @ q.mT, torch.eye(6, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float(torch.linalg.det(q)) == pytest.approx(1, abs=1e-12)
    assert float((q - torch.eye(6)).abs().max()) > 0.1
