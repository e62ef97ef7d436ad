"""Back-propagation without stored activations: inputs are recomputed from outputs in the backward pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from crow.bijections.base import Bijection, RecurrentBijection
from crow.bijections.chain import Chain
from crow.bijections.coupling import Coupling
from crow.bijections.recurrent import RecurrentCoupling


class ReversibleChain(Chain):
    """A Chain whose training memory does not grow with its length; values and gradients stay the same.

    Only the output is stored. In the backward pass each bijection recomputes its input by its inverse and is
    differentiated there; a coupling evaluates its subnet once for both. This takes more time, and second derivatives
    are not available.

    Parameters
    ----------
    bijections, conditioning
        See `Chain`.

    Raises
    ------
    ValueError
        If a subnet uses dropout, which would not repeat itself in the backward pass.

    References
    ----------
    Gomez et al., The reversible residual network, 2017, algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from crow.bijections.coupling import AffineCoupling
    >>> from crow.networks.mlp import MLP
    >>> chain = ReversibleChain(AffineCoupling(6, 0, partial(MLP, hidden=8)) for _ in range(4))
    >>> z, log_det = chain(torch.randn(5, 6))
    >>> (z.square().sum() - log_det.sum()).backward()
    """

    def __init__(
        self, bijections: Iterable[Bijection | RecurrentBijection], conditioning: nn.Module | None = None
    ) -> None:
        super().__init__(bijections, conditioning)
        for name, module in self.bijections.named_modules():
            rate = module.p if isinstance(module, nn.Dropout) else getattr(module, "dropout", 0.0)
            if isinstance(rate, float) and rate > 0:
                raise ValueError(f"ReversibleChain cannot repeat dropout, which {name} has at rate {rate}")

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        contexts = self._contexts(context)
        distinct = list({id(c): c for c in contexts if c is not None}.values())
        places = [next((k for k, other in enumerate(distinct) if other is c), None) for c in contexts]
        inputs = (*distinct, *self.bijections.parameters())
        found = _Reversible.apply(self.bijections, places, len(distinct), x, *inputs)  # type: ignore[no-untyped-call]
        return cast(tuple[Tensor, Tensor], found)


class _Reversible(torch.autograd.Function):
    """``(z, log_det)`` of a sequence of bijections; contexts and parameters are inputs for autograd.

    ``places`` holds the index of each bijection's context among the ``count`` distinct contexts.
    """

    @staticmethod
    def forward(
        ctx: Any, bijections: nn.ModuleList, places: list[int | None], count: int, x: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        log_dets = []
        for bijection, place in zip(bijections, places, strict=True):
            x, log_det = bijection(x, None if place is None else tensors[place])[:2]
            log_dets.append(log_det)
        ctx.bijections, ctx.places, ctx.count = bijections, places, count
        ctx.save_for_backward(x, *tensors)
        return x, torch.stack(log_dets).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor, d_log_det: Tensor) -> tuple[Tensor | None, ...]:
        z, *tensors = ctx.saved_tensors
        needed = ctx.needs_input_grad[4 : 4 + ctx.count]
        contexts = [c.detach().requires_grad_(need) for c, need in zip(tensors, needed, strict=False)]
        gradients = _Gradients([*contexts, *ctx.bijections.parameters()])
        for bijection, place in zip(reversed(ctx.bijections), reversed(ctx.places), strict=True):
            undo = _undo_coupling if isinstance(bijection, Coupling | RecurrentCoupling) else _undo
            z, dz = undo(bijection, z, None if place is None else contexts[place], dz, d_log_det, gradients)
        return None, None, None, dz, *gradients.sums


class _Gradients:
    """Sums of the gradients of tensors that several bijections share."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.place = {id(tensor): k for k, tensor in enumerate(tensors)}
        self.sums: list[Tensor | None] = [None] * len(tensors)

    def differentiate(
        self, outputs: list[Tensor], d_outputs: list[Tensor], inputs: list[Tensor], shared: Iterable[Tensor | None]
    ) -> list[Tensor]:
        """Gradients of the inputs; gradients of the shared tensors are added to the sums."""
        leaves = [tensor for tensor in shared if tensor is not None and tensor.requires_grad]
        pairs = [(y, dy) for y, dy in zip(outputs, d_outputs, strict=True) if y.requires_grad]
        found = torch.autograd.grad(
            [y for y, _ in pairs], [*inputs, *leaves], [dy for _, dy in pairs], allow_unused=True
        )
        for leaf, gradient in zip(leaves, found[len(inputs) :], strict=True):
            k = self.place[id(leaf)]
            if gradient is not None:
                before = self.sums[k]
                self.sums[k] = gradient if before is None else before + gradient
        return [torch.zeros_like(x) if dx is None else dx for x, dx in zip(inputs, found[: len(inputs)], strict=True)]


def _undo(
    bijection: Bijection | RecurrentBijection,
    z: Tensor,
    context: Tensor | None,
    dz: Tensor,
    d_log_det: Tensor,
    gradients: _Gradients,
) -> tuple[Tensor, Tensor]:
    """The input of a bijection, and its gradient."""
    x = bijection.inverse(z, context)[0].requires_grad_()
    with torch.enable_grad():
        outputs = bijection(x, context)[:2]
    (dx,) = gradients.differentiate([*outputs], [dz, d_log_det], [x], [context, *bijection.parameters()])
    return x.detach(), dx


def _undo_coupling(
    coupling: Coupling | RecurrentCoupling,
    z: Tensor,
    context: Tensor | None,
    dz: Tensor,
    d_log_det: Tensor,
    gradients: _Gradients,
) -> tuple[Tensor, Tensor]:
    """The same for a coupling, with one evaluation of each subnet for the inverse and the gradient."""
    halves, d_halves = list(z.split(coupling.sizes, coupling.axis)), list(dz.split(coupling.sizes, coupling.axis))
    for active, subnet in reversed(list(zip(coupling.actives, coupling.subnets, strict=True))):
        passive = halves[1 - active].detach().requires_grad_()
        with torch.enable_grad():
            theta = coupling.theta(subnet, passive, context)
        moving = coupling.transform(halves[active], theta.detach(), inverse=True)[0].requires_grad_()
        with torch.enable_grad():
            outputs = coupling.transform(moving, theta, inverse=False)
        d_moving, d_passive = gradients.differentiate(
            [*outputs], [d_halves[active], d_log_det], [moving, passive], [context, *subnet.parameters()]
        )
        halves[active], d_halves[active] = moving.detach(), d_moving
        d_halves[1 - active] = d_halves[1 - active] + d_passive
    return torch.cat(halves, coupling.axis), torch.cat(d_halves, coupling.axis)
