"""A deterministic network on the trunk of a conditioning network, to pretrain it and as a baseline for a flow."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from crow.data.examples import Examples
from crow.networks.convolutional import ConvNet


class Predictor(nn.Module):
    """``readout(trunk(c))`` predicts x (mean squared error) or, with ``classes``, the class (cross-entropy).

    `crow.training.fit.train` trains the trunk in place. Source: Ardizzone et al. 2019, cINN, section 3.2.

    Parameters
    ----------
    trunk : nn.Module
        Gives ``[batch, hidden]`` or ``[batch, hidden, *space]``.
    hidden : int
        Number of features of the trunk.
    shape : tuple of int
        Shape of x, ``(channels, *space)`` or ``(features,)``.
    classes : int
        Number of classes, or 0 to predict x.
    before : iterable of nn.Module
        Fixed transforms of x before it is predicted: bijections, or a dequantiser.
    """

    def __init__(
        self, trunk: nn.Module, hidden: int, shape: tuple[int, ...], classes: int = 0, before: Iterable[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.trunk, self.classes, self.before = trunk, classes, nn.ModuleList(before).requires_grad_(False)
        space = len(shape) - 1
        self.readout: nn.Module
        if classes or not space:
            self.readout = nn.Linear(hidden, classes or shape[0])
        else:
            self.readout = ConvNet(hidden, shape[0], space, hidden, zero=False)

    def forward(self, context: Tensor) -> Tensor:
        """Predictions of x, ``[batch, *shape]``, or logits, ``[batch, classes]``."""
        features = self.trunk(context)
        return self.readout(features.flatten(2).mean(2) if self.classes and features.dim() > 2 else features)

    def loss(self, batch: Examples) -> Tensor:
        """Mean loss per example."""
        assert batch.context is not None
        if not self.classes:
            x = batch.x
            for step in self.before:
                x, _ = step(x, batch.context)
            return functional.mse_loss(self(batch.context), x)
        assert batch.label is not None
        return functional.cross_entropy(self(batch.context), batch.label)
