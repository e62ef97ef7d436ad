"""The largest eigenvalues of a large matrix are those of all its eigenvalues."""

from __future__ import annotations

import pytest
import torch

from crow.bijections import eigenvectors
from crow.bijections.eigenvectors import Largest


@pytest.mark.parametrize("count", [0, 1, 4])
def test_large_and_small_matrices_have_the_same_factors(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(20, 40, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    matrix = x.T @ x
    v, excess = Largest.of(matrix, max(count, 2)).factors(count)
    monkeypatch.setattr(eigenvectors, "SMALL", 10)
    again, same = Largest.of(matrix, max(count, 2)).factors(count)
    size = torch.linalg.eigvalsh(matrix)
    torch.testing.assert_close(excess, size[40 - count :] - size[: 40 - count].mean())
    torch.testing.assert_close(same, excess)
    torch.testing.assert_close((again * same) @ again.T, (v * excess) @ v.T)


def test_the_same_matrix_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigenvectors, "SMALL", 10)
    x = torch.randn(20, 40, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    first, second = (Largest.of(x.T @ x, 3) for _ in range(2))
    assert torch.equal(first.vectors, second.vectors) and torch.equal(first.size, second.size)
