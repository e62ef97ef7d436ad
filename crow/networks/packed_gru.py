"""A GRU over packed sequences, for several sets of weights at once, with the gradient in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor


class Steps:
    """Visits in order of their number: ``sizes[t]`` sequences have a visit t.

    Parameters
    ----------
    sizes : sequence of int
        They never increase.
    device : torch.device
        Of the visits.

    Attributes
    ----------
    first : int
        How many sequences there are.
    before : Tensor
        ``[visit]``: where the visit before is, if ``sizes[0]`` starts come first and then all visits.
    parts : list of int
        ``sizes[t]`` as those with a visit t + 1 and those without, for each t in turn.
    """

    # No tuple: torch.func would look at every size in every call.
    def __init__(self, sizes: Sequence[int], device: torch.device) -> None:
        ends = list(accumulate(sizes))
        self.first, self.sizes = sizes[0], list(sizes)
        starts = [0, *(self.first + end - size for size, end in zip(sizes[:-1], ends, strict=False))]
        before = [torch.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)]
        self.before = torch.cat(before).to(device)
        later = [*self.sizes[1:], 0]
        self.parts = [count for size, left in zip(self.sizes, later, strict=True) for count in (left, size - left)]

    def each(self, v: Tensor) -> Sequence[Tensor]:
        """The visits t of ``v [model, visit, *]``, for each t."""
        return v.split(self.sizes, 1)

    def continued(self, v: Tensor) -> Sequence[Tensor]:
        """Those of them that a visit t + 1 follows."""
        return v.split(self.parts, 1)[::2]


tanh_backward = torch.ops.aten.tanh_backward.default
sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


class PackedGRU(torch.autograd.Function):
    """The GRU of torch over visits in order of their number (`crow.networks.packing.Packing`).

    With ``gi = W_i x + b_i`` and ``gh = W_h h + b_h`` in parts r, z and n,

        r = sigmoid(gi_r + gh_r),  z = sigmoid(gi_z + gh_z),  n = tanh(gi_n + r gh_n),  h' = n + z (h - n).

    Torch's own makes a node of the graph of each of these for every visit. Here the loops over time contain only what
    needs the state of the visit before (forward) or after it (backward).

    Shapes: ``x [model, visit, input]``, ``w_i [model, 3 hidden, input]``, ``w_h [model, 3 hidden, hidden]`` and the
    biases ``[model, 3 hidden]``. Returns the state before and after each visit,
    ``[model, visit, hidden]``.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_i: Tensor, w_h: Tensor, b_i: Tensor, b_h: Tensor, steps: Steps
    ) -> tuple[Tensor, Tensor]:
        hidden = w_h.shape[-1]
        parts = [2 * hidden, hidden]
        ctx.set_materialize_grads(False)
        # Two products, r and z in one, so that the visits of a step are one block of memory in each.
        (w_rz, w_n), (v_rz, v_n) = (w.mT.split(parts, -1) for w in (w_i, w_h))
        (b_rz, _), (_, b_n), (_, c_n) = (b.unsqueeze(1).split(parts, -1) for b in (b_i + b_h, b_i, b_h))
        rz, n, gh_n = torch.baddbmm(b_rz, x, w_rz), torch.baddbmm(b_n, x, w_n), []
        v_rz, v_n = v_rz.contiguous(), v_n.contiguous()
        states = n.new_zeros(n.shape[0], steps.first + n.shape[1], hidden)
        h, after = states[:, : steps.first], states[:, steps.first :]
        # The parts of all steps at once: a slice for each of them would take as long as the arithmetic.
        of_rz, of_n, out, later = *map(steps.each, (rz, n, after)), steps.continued(after)
        of_r, of_z = map(steps.each, rz.chunk(2, -1))
        for t in range(len(steps.sizes)):
            if t:
                torch.sigmoid(torch.baddbmm(of_rz[t], h, v_rz), out=of_rz[t])
                gh_n.append(torch.baddbmm(c_n, h, v_n))
            else:  # h is 0
                of_rz[t].sigmoid_()
                gh_n.append(c_n.expand(-1, steps.first, -1))
            of_n[t].addcmul_(of_r[t], gh_n[t]).tanh_()
            torch.lerp(of_n[t], h, of_z[t], out=out[t])
            h = later[t]
        before = states.index_select(1, steps.before)
        ctx.steps = steps
        ctx.save_for_backward(x, w_i, w_h, before, rz, n, torch.cat(gh_n, 1))
        return before, after

    @staticmethod
    def backward(ctx: Any, grad_before: Tensor | None, grad_after: Tensor | None) -> Any:
        x, w_i, w_h, before, rz, n, gh_n = ctx.saved_tensors
        steps, (r, z) = ctx.steps, rz.chunk(2, -1)
        slopes = n.new_empty(*n.shape[:-1], w_h.shape[1])  # of h' by gh
        of_r, of_z, of_gh_n = slopes.chunk(3, -1)
        of_n = tanh_backward(1 - z, n)
        sigmoid_backward(of_n * gh_n, r, grad_input=of_r)
        sigmoid_backward(before - n, z, grad_input=of_z)
        torch.mul(of_n, r, out=of_gh_n)
        dh = _of_states(before, steps, grad_before, grad_after)
        of_gates, dgh, keeps = map(steps.each, (slopes.unflatten(-1, (3, -1)), slopes, z))
        own, own_of_gates, earlier = steps.each(dh), steps.each(dh.unsqueeze(2)), steps.continued(dh)
        for t in range(len(steps.sizes) - 1, -1, -1):
            of_gates[t].mul_(own_of_gates[t])
            if t:
                earlier[t - 1].add_(torch.baddbmm(own[t] * keeps[t], dgh[t], w_h))
        dw_h, db_h = torch.bmm(slopes.mT, before), slopes.sum(1)
        dgi = slopes
        torch.mul(of_n, dh, out=of_gh_n)
        dx = torch.bmm(dgi, w_i) if ctx.needs_input_grad[0] else None
        return dx, torch.bmm(dgi.mT, x), dw_h, dgi.sum(1), db_h, None


def _of_states(states: Tensor, steps: Steps, before: Tensor | None, after: Tensor | None) -> Tensor:
    """The gradient of the state after each visit, from those of both results; ``[model, visit, hidden]``."""
    if before is None:
        return torch.zeros_like(states) if after is None else after.clone()
    whole = states.new_zeros(len(states), steps.first + states.shape[1], states.shape[2])
    found = whole.index_copy_(1, steps.before, before)[:, steps.first :]
    return found if after is None else found.add_(after)
