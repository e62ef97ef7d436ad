"""A linear layer that several models can share in one product."""

from torch import Tensor, nn
from torch.nn import functional


class Linear(nn.Linear):
    """``nn.Linear`` whose weight may be ``[model, out, in]`` (and bias ``[model, out]``), for ``[model, row, in]``."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x W' + b``, of one model or of several."""
    if weight.ndim == 2:
        return functional.linear(x, weight, bias)
    return x @ weight.mT if bias is None else bias.unsqueeze(1).baddbmm(x, weight.mT)
