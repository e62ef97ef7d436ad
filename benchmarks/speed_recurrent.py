"""Speed of the recurrent couplings: ``speed_recurrent.py [--compiled]``.

A training step (forward, backward, fused Adam) over 5 visits of 82 features with 4 of context, 8 blocks of two
couplings, GRU width 128, compared with
- the same couplings as a loop over time with separate networks for scale and shift,
- the published network with its second pass for the log-determinant: 82 values per visit, and 150 with its pads,
- the bare subnets: their forward, backward and optimiser on inputs of the same shapes.
"CRow" is the whole flow with gates, mixed model and rotations, also compared with its bare subnets.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from time_loops import LoopCoupling, PublishedFlow
from timing import interleave, shares, write
from torch import Tensor, nn

from crow.bijections.recurrent import RecurrentCoupling
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.networks.recurrent import RecurrentSubnet

FEATURES, CONTEXT, TIME, HIDDEN, BLOCKS = 82, 4, 5, 128, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiled", action="store_true", help="compile every variant instead of running it eagerly")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20, help="time spent on each batch size")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = []
    for batch in (128, 32):
        torch.manual_seed(0)
        x, context = torch.randn(batch, TIME, FEATURES), torch.randn(batch, TIME, CONTEXT)
        for name, steps in {"couplings": coupling_steps, "CRow": crow_steps}.items():
            timing = interleave(steps(x, context, options.compiled), options.seconds)
            table += shares(timing, name, batch=batch)
    mode = "compiled" if options.compiled else "eager"
    write(f"speed_recurrent_{mode}", f"Training step of the recurrent couplings, {mode}", table)


def coupling_steps(x: Tensor, context: Tensor, compiled: bool) -> dict[str, Callable[[], object]]:
    swaps = [False, True] * BLOCKS
    couplings = Stack(RecurrentCoupling(FEATURES, CONTEXT, HIDDEN, swap) for swap in swaps)
    flows = {
        "couplings": couplings,
        "loop over time": Stack(LoopCoupling(FEATURES, CONTEXT, HIDDEN, swap) for swap in swaps),
        "published, 82 values": PublishedFlow(FEATURES, BLOCKS),
        "published, 150 values": PublishedFlow(150, BLOCKS),
        "bare subnets": BareSubnets(couplings, lambda: couplings(x, context)),
    }
    if compiled:
        for flow in flows.values():
            flow.compile()
    return {name: training(flow, partial(_nll, flow, x, context)) for name, flow in flows.items()}


def crow_steps(x: Tensor, context: Tensor, compiled: bool) -> dict[str, Callable[[], object]]:
    flow = CRowFlow(FEATURES, CONTEXT, blocks=BLOCKS, hidden=HIDDEN)
    time = torch.arange(float(TIME)).expand(x.shape[:2])
    data = Sequences(x, context, time, torch.ones(x.shape[:2], dtype=torch.bool))
    flow.initialise(data)
    bare = BareSubnets(flow, lambda: flow.log_prob(data))
    loss = flow.loss
    if compiled:
        loss = torch.compile(flow.loss)
        bare.compile()
    return {
        "CRow": training(flow, lambda: loss(data)),
        "bare subnets": training(bare, partial(_nll, bare, x, context)),
    }


class Stack(nn.Module):
    """A composition of layers, with the sum of their log-determinants."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        log_dets = []
        for layer in self.layers:
            x, log_det, *_ = layer(x, context)
            log_dets.append(log_det)
        return x, torch.stack(log_dets).sum(0)


class BareSubnets(nn.Module):
    """Only the networks of a flow, on inputs of the same shapes."""

    def __init__(self, flow: nn.Module, run: Callable[[], object]) -> None:
        super().__init__()
        seen: list[tuple[nn.Module, Tensor]] = []
        hooks = [
            network.register_forward_hook(lambda network, inputs, _: seen.append((network, inputs[0])))
            for network in _networks(flow)
        ]
        run()
        for hook in hooks:
            hook.remove()
        self.subnets = nn.ModuleList(copy.deepcopy(network) for network, _ in seen)
        self.inputs = [torch.randn(x.shape, requires_grad=x.requires_grad) for _, x in seen]

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        outputs = [subnet(x) for subnet, x in zip(self.subnets, self.inputs, strict=True)]
        return x, torch.stack([(y[0] if isinstance(y, tuple) else y).sum(-1) for y in outputs]).sum(0)


def _networks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, RecurrentSubnet | nn.GRU | nn.Linear):
            yield child
        else:
            yield from _networks(child)


def training(flow: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], object]:
    optimiser = torch.optim.Adam(flow.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return step


def _nll(flow: nn.Module, x: Tensor, context: Tensor) -> Tensor:
    z, log_det = flow(x, context)
    return (0.5 * z.square().sum(-1) - log_det).mean()


if __name__ == "__main__":
    main()
