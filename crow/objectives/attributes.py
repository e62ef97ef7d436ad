"""The loss of predicted attributes: cross-entropy for classes, squared error for numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def attribute_loss(prediction: Tensor, attributes: Tensor, sizes: Sequence[int]) -> Tensor:
    """The mean over the batch of ``-log p(attribute | prediction)``, summed over attributes, without constants.

    ``prediction, attributes: [batch, sum(sizes)]``. An attribute of size 1 is a number; its prediction is the mean of a
    normal distribution of sd 1, so its loss is ``(prediction - a)^2 / 2``. An attribute of K channels is a one-hot
    class, predicted by K logits.
    """
    sizes = list(sizes)
    losses = [
        (guess - truth).square().mean() / 2 if size == 1 else functional.cross_entropy(guess, truth)
        for size, guess, truth in zip(sizes, prediction.split(sizes, 1), attributes.split(sizes, 1), strict=True)
    ]
    return torch.stack(losses).sum()
