"""How well attributes are told: classes by cross-entropy, numbers by squared error."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def attribute_loss(told: Tensor, attributes: Tensor, sizes: Sequence[int]) -> Tensor:
    """Mean over the batch of the sum over attributes of ``-log p(a | told)``, without its constants.

    ``told, attributes: [batch, sum(sizes)]``. An attribute of size 1 is a number, told by the mean of a Gaussian of sd
    1: ``(told - a)^2 / 2``. One of K channels is a class, one-hot, told by its K logits.
    """
    losses = [
        (guess - truth).square().mean() / 2 if size == 1 else functional.cross_entropy(guess, truth)
        for size, guess, truth in zip(sizes, told.split(list(sizes), 1), attributes.split(list(sizes), 1), strict=True)
    ]
    return torch.stack(losses).sum()
