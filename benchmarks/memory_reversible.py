"""Memory and time of reversible back-propagation: ``memory_reversible.py``.

A training step of the plain coupling flow (82 features, 8 of context, subnets 256 x 2, batch 256) at 8, 16 and 32
blocks: bytes that autograd saves, growth of the process's peak memory over a step, and time, plain and reversible.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
from collections.abc import Callable
from functools import partial

import torch
from speed_coupling import training
from timing import interleave, write
from torch import Tensor, nn

from crow.flows.coupling import CouplingFlow
from crow.networks.mlp import MLP

FEATURES, CONTEXT, HIDDEN = 82, 8, 256
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, else in KiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15, help="time spent on each depth")
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table: list[dict[str, str | int | float]] = []
    for blocks in (8, 16, 32):
        x, context = _data(options.batch)
        steps = {name: training(_flow(blocks, name), x, context) for name in ("plain", "reversible")}
        timing = interleave(steps, options.seconds)
        for name in steps:
            low, high = timing.spread(name, "plain")
            table.append({
                "blocks": blocks, "back-propagation": name,
                "saved for backward, MB": round(saved_bytes(_flow(blocks, name), x, context) / 1e6, 2),
                "peak of a step, MB": round(_alone(_peak_bytes, blocks, name, 16 * options.batch) / 1e6, 1),
                "ms": round(timing.milliseconds(name), 1), "of plain": round(timing.ratio(name, "plain"), 3),
                "quartiles": f"{low:.2f}-{high:.2f}",
            })  # fmt: skip
    title = f"Reversible back-propagation, batch {options.batch} (peak memory: {16 * options.batch})"
    write("memory_reversible", title, table)


def saved_bytes(flow: nn.Module, x: Tensor, context: Tensor) -> int:
    """Bytes of the tensors that autograd stores between forward and backward, without parameters and inputs."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (x, context, *flow.parameters(), *flow.buffers())}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = -flow.log_prob(x, context).mean()
    assert loss.requires_grad
    return sum(sizes.values())


def _peak_bytes(blocks: int, name: str, batch: int) -> int:
    """The increase of peak memory by one step, in a new process after a step on a small batch."""
    torch.set_num_threads(1)
    flow = _flow(blocks, name)
    training(flow, *_data(2))()
    step = training(flow, *_data(batch))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * PEAK_UNIT


def _alone(function: Callable[..., int], *arguments: object) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _flow(blocks: int, name: str) -> CouplingFlow:
    torch.manual_seed(0)
    return CouplingFlow(FEATURES, CONTEXT, blocks, partial(MLP, hidden=HIDDEN), reversible=name == "reversible")


def _data(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, FEATURES, generator=generator), torch.randn(batch, CONTEXT, generator=generator)


if __name__ == "__main__":
    main()
