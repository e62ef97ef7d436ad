"""The maximum mean discrepancy per time equals its definition over the subjects with a visit."""

import pytest
import torch
from torch import Tensor

from crow.objectives.mmd import mmd


def samples(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernel(a: Tensor, b: Tensor) -> float:
    distance = float((a - b).square().sum())
    return sum(w**2 / (w**2 + distance) for w in (0.2, 0.5, 0.9, 1.3))


def literal(x: Tensor, y: Tensor) -> float:
    """``x [n, features]``, ``y [m, features]``: the mean over all pairs, including those of an element with itself."""
    return sum(
        sign * sum(kernel(p, q) for p in a for q in b) / (len(a) * len(b))
        for sign, a, b in ((1, x, x), (1, y, y), (-2, x, y))
    )


def everywhere(x: Tensor) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def test_is_the_definition_at_every_time() -> None:
    x, y = samples(7, 3, 2), 0.5 + samples(7, 3, 2, seed=1)
    found = mmd(x, y, everywhere(x))
    assert found.shape == (3,)
    assert found.tolist() == pytest.approx([literal(x[:, t], y[:, t]) for t in range(3)], rel=1e-10)


def test_counts_the_subjects_that_have_the_visit() -> None:
    x, y = samples(6, 4, 2), samples(6, 4, 2, seed=1)
    mask = torch.arange(4) < torch.tensor([1, 3, 2, 3, 3, 2])[:, None]
    found = mmd(x.masked_fill(~mask[..., None], 1e6), y.masked_fill(~mask[..., None], -1e6), mask)
    expected = [literal(x[mask[:, t], t], y[mask[:, t], t]) for t in range(3)]
    assert found.tolist() == pytest.approx([*expected, 0.0], rel=1e-10)


def test_pads_have_no_gradient() -> None:
    x, y = samples(6, 2, 2).requires_grad_(), samples(6, 2, 2, seed=1)
    mask = torch.arange(2) < torch.tensor([1, 2, 1, 2, 2, 1])[:, None]
    (gradient,) = torch.autograd.grad(mmd(x, y, mask).sum(), x)
    assert bool((gradient[~mask] == 0).all()) and bool((gradient[mask] != 0).all())


def test_is_zero_for_the_same_samples_and_grows_with_their_distance() -> None:
    x = samples(200, 1, 3)
    far = [float(mmd(x, x[torch.randperm(200)] + shift, everywhere(x))) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert far[0] == pytest.approx(0.0, abs=1e-9)
    assert far == sorted(far) and far[1] > 0.01


def test_finds_differences_of_variance_and_dependence() -> None:
    """Equal means with another variance, or with another correlation, are different."""
    x, same = samples(400, 1, 2), samples(400, 1, 2, seed=1)
    other = samples(400, 1, 2, seed=2)
    correlated = torch.cat([other[..., :1], 0.95 * other[..., :1] + 0.3 * other[..., 1:]], -1)
    noise = float(mmd(x, same, everywhere(x)))
    assert float(mmd(x, 0.5 * same, everywhere(x))) > 3 * noise
    assert float(mmd(x, correlated, everywhere(x))) > 3 * noise
