"""A deterministic network on the trunk of a conditioning network: its first task, and what a flow is compared with."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from crow.data.examples import Examples
from crow.networks.convolutional import ConvNet


class Predictor(nn.Module):
    """``readout(trunk(c))``: of x by the mean squared error, or of the class by the cross-entropy (with ``classes``).

    Training it through `crow.training.fit.train` trains the trunk, in place. Source: Ardizzone et al. 2019, cINN,
    section 3.2.

    Args:
        trunk: gives ``[batch, hidden]`` or ``[batch, hidden, *space]``.
        shape: of x, ``(channels, *space)`` or ``(features,)``.
        before: what x goes through before it is predicted, which does not learn: bijections, or a dequantiser.
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
        """x ``[batch, *shape]``, or the logits ``[batch, classes]``."""
        features = self.trunk(context)
        return self.readout(features.flatten(2).mean(2) if self.classes and features.dim() > 2 else features)

    def loss(self, batch: Examples) -> Tensor:
        assert batch.context is not None
        if not self.classes:
            x = batch.x
            for step in self.before:
                x, _ = step(x, batch.context)
            return functional.mse_loss(self(batch.context), x)
        assert batch.label is not None
        return functional.cross_entropy(self(batch.context), batch.label)
