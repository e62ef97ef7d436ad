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
    """

    # No tuple: torch.func would look at every size in every call.
    def __init__(self, sizes: Sequence[int], device: torch.device) -> None:
        ends = list(accumulate(sizes))
        self.first, self.sizes = sizes[0], list(sizes)
        starts = [0, *(self.first + end - size for size, end in zip(sizes[:-1], ends, strict=False))]
        before = [torch.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)]
        self.before = torch.cat(before).to(device)


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
        ctx.set_materialize_grads(False)
        gates = torch.baddbmm(b_i.unsqueeze(1), x, w_i.mT)  # gi, then r, z, n
        states = gates.new_zeros(gates.shape[0], steps.first + gates.shape[1], hidden)
        weight, bias = w_h.mT.contiguous(), b_h.unsqueeze(1)
        h, after = states[:, : steps.first], states[:, steps.first :]
        # The parts of all steps at once: a slice for each of them would take as long as the arithmetic.
        of_rz, of_n = (v.split(steps.sizes, 1) for v in gates.split([2 * hidden, hidden], -1))
        of_r, of_z = (v.split(steps.sizes, 1) for v in gates[..., : 2 * hidden].chunk(2, -1))
        out, gh_n = after.split(steps.sizes, 1), []
        for t, size in enumerate(steps.sizes):
            h = h[:, :size]
            own_rz, own_n = torch.baddbmm(bias, h, weight).split([2 * hidden, hidden], -1)  # gh
            of_rz[t].add_(own_rz).sigmoid_()
            of_n[t].addcmul_(of_r[t], own_n).tanh_()
            gh_n.append(own_n)
            h = torch.lerp(of_n[t], h, of_z[t], out=out[t])
        before = states.index_select(1, steps.before)
        ctx.steps = steps
        ctx.save_for_backward(x, w_i, w_h, before, gates, torch.cat(gh_n, 1))
        return before, after

    @staticmethod
    def backward(ctx: Any, grad_before: Tensor | None, grad_after: Tensor | None) -> Any:
        x, w_i, w_h, before, gates, gh_n = ctx.saved_tensors
        r, z, n = gates.chunk(3, -1)
        slopes, rest = torch.empty_like(gates), 1 - z  # of h' by gh
        of_n = torch.addcmul(rest, n * n, rest, value=-1)
        of_r, of_z, of_gh_n = slopes.chunk(3, -1)
        torch.mul(of_n, r, out=of_gh_n)
        torch.mul(of_gh_n, gh_n, out=of_r).mul_(1 - r)
        torch.sub(before, n, out=of_z).mul_(z).mul_(rest)
        dh = torch.zeros_like(before) if grad_after is None else grad_after.clone()
        sizes, later = ctx.steps.sizes, None
        of_after, of_gates, keeps = (v.split(sizes, 1) for v in (dh, slopes.unflatten(-1, (3, -1)), z))
        flat = slopes.split(sizes, 1)
        of_before = None if grad_before is None else grad_before.split(sizes, 1)
        for t in range(len(sizes) - 1, -1, -1):
            own = of_after[t]
            if later is not None:
                own[:, : later.shape[1]] += later
            of_gates[t].mul_(own.unsqueeze(2))
            later = torch.baddbmm(own * keeps[t], flat[t], w_h)
            if of_before is not None:
                later += of_before[t]
        dgh = slopes
        dw_h, db_h = torch.bmm(dgh.mT, before), dgh.sum(1)
        dgi = dgh
        torch.mul(of_n, dh, out=dgi.chunk(3, -1)[2])
        dx = torch.bmm(dgi, w_i) if ctx.needs_input_grad[0] else None
        return dx, torch.bmm(dgi.mT, x), dw_h, dgi.sum(1), db_h, None
