"""Several flows as one: their weights stacked, and one forward and backward pass for all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from crow.bijections.patterns import patterns
from crow.data.sequences import Sequences
from crow.flows.crow import BeforeLayers, CRowFlow
from crow.networks.packed_gru import Steps
from crow.networks.packing import Packing, Patterns

FIELDS = ("x", "context", "time", "mask", "measured")
Weights = Mapping[str, Tensor]  # of a flow, or stacked with the flow as the first axis


@dataclass(frozen=True)
class Batch:
    """A batch of each flow, packed to the same shape (`crow.networks.packing.Packing`).

    ``tensors`` have the flow as their first axis: the fields of `Sequences`, and ``patterns`` and ``new_patterns`` with
    the pattern of each visit. ``visits [flow, visit]`` tells which are not padding, ``subject [flow, visit]`` of which
    row of the flow's batch they are.
    """

    tensors: dict[str, Tensor]
    visits: Tensor
    subject: Tensor
    at: Tensor
    steps: Steps

    @classmethod
    def of(cls, batches: Sequence[Sequences], device: torch.device) -> Batch:
        """From one batch per flow."""
        lengths = [batch.mask.sum(1) for batch in batches]
        orders = [length.argsort(descending=True, stable=True) for length in lengths]
        parts = [batch.rows(order) for batch, order in zip(batches, orders, strict=True)]
        shape = [max(part.mask.shape[axis] for part in parts) for axis in (0, 1)]
        tensors = {name: _stacked([getattr(part, name) for part in parts], shape) for name in ("x", "context", "time")}
        mask = _stacked([part.mask for part in parts], shape)
        longest = mask.any(0)  # of the k-th longest sequences
        steps = Steps(longest.sum(0).tolist(), device)
        step, row = longest.T.nonzero(as_tuple=True)
        at = row * shape[1] + step
        visits = mask.flatten(1)[:, at]
        if any(part.measured is not None for part in parts):
            measured = _stacked([part.values() for part in parts], shape)
            new = measured & (measured.cumsum(2) == 1)
            both = torch.cat([new, measured], -1).flatten(1, 2)[:, at]
            tensors |= {"measured": measured, **_patterns("new_patterns", both)}
            tensors |= _patterns("patterns", measured.flatten(1, 2)[:, at])
        moved = {name: tensor.to(device) for name, tensor in tensors.items()}
        subject = _stacked([order.unsqueeze(1) for order in orders], [shape[0], 1])[:, row, 0]
        moved |= {"mask": mask.to(device)}
        return cls(moved, visits.to(device), subject.to(device), at.to(device), steps)

    @property
    def time(self) -> int:
        return self.tensors["mask"].shape[2]

    def packing(self, dropout: Tensor | None = None) -> Packing:
        """With ``dropout [flow, layer, visit, unit]``."""
        shape = self.tensors["mask"].shape[1:]
        masks = None if dropout is None else iter(dropout.unbind(1))
        measured, new_and_measured = self._patterns("patterns"), self._patterns("new_patterns")
        return Packing(self.at, self.steps, (shape[0], shape[1]), measured, new_and_measured, masks)

    def _patterns(self, name: str) -> Patterns | None:
        return (self.tensors[name], self.tensors[f"{name}_of_visits"]) if name in self.tensors else None

    def total(self, log_prob: Tensor, some: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Sum of ``log_prob [flow, visit]`` over all visits or ``some``, and how many these are: ``[flow]``."""
        visits = self.visits if some is None else self.visits & some
        return torch.where(visits, log_prob, 0.0).sum(1), visits.sum(1)


class FlowStack:
    """Flows of one architecture: ``trained`` and ``fixed`` hold their weights and buffers, stacked.

    Flows that start at the mixed model and at the standard normal distribution can be together.

    Parameters
    ----------
    flows : sequence of CRowFlow
        The flows. They are not changed.
    device : torch.device
        Where the weights are.
    """

    def __init__(self, flows: Sequence[CRowFlow], device: torch.device) -> None:
        self._frame = _Frame(flows[0])
        states = [{**dict(flow.named_parameters()), **dict(flow.named_buffers())} for flow in flows]
        stacked = {name: torch.stack([state[name].detach() for state in states]).to(device) for name in states[0]}
        needed = {name for flow in flows for name, p in flow.named_parameters() if p.requires_grad}
        self.trained = {name: nn.Parameter(value) for name, value in stacked.items() if name in needed}
        self.fixed = {name: value for name, value in stacked.items() if name not in needed}
        self.dropouts = [module for module in flows[0].modules() if isinstance(module, nn.Dropout)]
        self.hidden = int(flows[0].layers[0].inner.out_features)  # type: ignore[union-attr, arg-type]

    def __len__(self) -> int:
        return len(next(iter(self.fixed.values())))

    def keep(self, rows: Tensor) -> None:
        """Only some of the flows. The parameters stay the objects that an optimiser knows."""
        for weight in self.trained.values():
            weight.data, weight.grad = weight.data[rows], None
        self.fixed = {name: value[rows] for name, value in self.fixed.items()}

    @torch.no_grad()
    def prepared(self, batches: Sequence[Batch]) -> list[BeforeLayers]:
        """Of packed batches what does not depend on the trained weights: of all of them in one call."""
        size, time = (max(batch.tensors["mask"].shape[axis] for batch in batches) for axis in (1, 2))
        known = {name: torch.cat([_padded(batch.tensors[name], (size, time)) for batch in batches], 1)
                 for name in FIELDS if name in batches[0].tensors}  # fmt: skip
        places = [batch.at // batch.time * time + batch.at % batch.time for batch in batches]
        some = torch.cat([at + k * size * time for k, at in enumerate(places)])
        if len(self) == 1:
            fixed, alone = ({name: v[0] for name, v in each.items()} for each in (self.fixed, known))
            found = [v.unsqueeze(0) for v in self._call(fixed, alone, some)]
        else:
            found = list(vmap(self._call, (0, 0, None))(self.fixed, known, some))
        parts = [v.split([len(at) for at in places], 1) for v in found]
        return [BeforeLayers(*own) for own in zip(*parts, strict=True)]

    def log_prob(self, weights: Weights, batch: Batch, before: BeforeLayers, dropout: Tensor | None = None) -> Tensor:
        """Log-density of each visit by the flow whose batch it is in, ``[flow, visit]``; arbitrary where it is padding.

        ``weights`` replace those of ``trained``; ``dropout`` tells which hidden units stay (`draw_dropout`).
        """
        state = {name: v for name, v in {**self.fixed, **weights}.items() if not name.startswith("bounds.")}
        if len(self) == 1:  # the layers may look at values, as the solver of a differential equation does
            state = {name: value[0] for name, value in state.items()}
        if dropout is not None:
            dropout = dropout.to(before.x) / (1 - self.dropouts[0].p)
        packing = batch.packing(dropout)
        measured = packing.pack(batch.tensors["measured"]) if "measured" in batch.tensors else None
        found: Tensor = self._call(state, before, measured, packing)
        return found

    def _call(self, state: Weights, *inputs: Any) -> Any:
        return functional_call(self._frame, {f"flow.{name}": value for name, value in state.items()}, inputs)

    def draw_dropout(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor | None:
        """Which units stay, ``[flow, layer, visit, unit]``: each flow's from its own generator, for its own visits."""
        if not self.dropouts or not (rate := self.dropouts[0].p):
            return None
        visits = batch.visits.cpu()
        kept = torch.zeros(len(self), len(self.dropouts), visits.shape[1], self.hidden, dtype=torch.bool)
        for own, there, generator in zip(kept, visits, generators, strict=True):
            own[:, there] = _kept((len(self.dropouts), int(there.sum()), self.hidden), rate, generator)
        return kept


class _Frame(nn.Module):
    """Both parts of a flow as the call of a module, for `functional_call`."""

    def __init__(self, flow: CRowFlow) -> None:
        super().__init__()
        self.flow = flow

    def forward(
        self, data: dict[str, Tensor] | BeforeLayers, some: Tensor | None = None, packing: Packing | None = None
    ) -> tuple[Tensor, ...] | Tensor:
        """``some``: the measured values of packed visits, or the places of those to prepare."""
        if isinstance(data, BeforeLayers):
            assert packing is not None
            return self.flow.packed_log_prob(data, some, packing)
        return tuple(self.flow.before_layers(Sequences(**data), None, some)[0])


def _kept(shape: tuple[int, ...], rate: float, generator: torch.Generator) -> Tensor:
    """False for a share ``rate`` of all units: from 16 bits for each unit."""
    count = math.prod(shape)
    bits = torch.empty(-(-count // 4), dtype=torch.long).random_(-(2**63), None, generator=generator)
    return bits.view(torch.int16)[:count].view(shape) >= round(2**16 * rate) - 2**15


def _padded(v: Tensor, shape: tuple[int, int]) -> Tensor:
    """``[flow, batch, time, *]`` of so many rows and columns, 0 in the new ones."""
    if v.shape[1:3] == shape:
        return v
    whole = v.new_zeros(len(v), *shape, *v.shape[3:])
    whole[:, : v.shape[1], : v.shape[2]] = v
    return whole


def _stacked(parts: list[Tensor], shape: list[int]) -> Tensor:
    """``[flow, batch, time, *]`` of ``[batch, time, *]`` of different sizes, 0 elsewhere."""
    whole = parts[0].new_zeros(len(parts), *shape, *parts[0].shape[2:])
    for own, part in zip(whole, parts, strict=True):
        own[: part.shape[0], : part.shape[1]] = part
    return whole


def _patterns(name: str, present: Tensor) -> dict[str, Tensor]:
    """Patterns of ``present [flow, visit, value]``, as many for each flow: the first may be there several times."""
    each, index = zip(*(patterns(own) for own in present), strict=True)
    most = max(map(len, each))
    filled = [torch.cat([own, own[:1].expand(most - len(own), -1)]) for own in each]
    return {name: torch.stack(filled), f"{name}_of_visits": torch.stack(index)}
