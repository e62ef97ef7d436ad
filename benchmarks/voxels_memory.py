"""Memory and time of training the voxel flow: ``voxels_memory.py``.

A training step on 32^3 voxels (one level, hidden 16, two subjects with two visits) with 8, 16 and 32 couplings, with
plain, checkpointed and reversible activations: memory saved by autograd for backward, growth of the process's peak
memory during a step, and time.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from timing import interleave, write
from torch import Tensor

from crow.data.sequences import Sequences
from crow.flows.voxels import CHAINS, Memory, VoxelFlow

DEPTHS = (8, 16, 32)
MODES: tuple[Memory, ...] = ("plain", "checkpoint", "reversible")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15, help="time per depth, at least 3 rounds")
    parser.add_argument("--size", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    assert set(MODES) == set(CHAINS)
    table: list[dict[str, str | int | float]] = []
    for depth in DEPTHS:
        timing = interleave({name: _step(depth, name, options.size) for name in MODES}, options.seconds, rounds=3)
        for name in MODES:
            table.append({
                "couplings": depth, "memory": name,
                "saved for backward, MB": round(saved_bytes(depth, name, options.size) / 1e6, 1),
                "peak of a step, MB": round(_in_new_process(_peak_bytes, depth, name, options.size) / 1e6, 1),
                "ms": round(timing.milliseconds(name), 1), "relative to plain": round(timing.ratio(name, "plain"), 2),
            })  # fmt: skip
    write("voxels_memory", f"Training the flow on {options.size}^3 voxels, 4 visits per step", table)


def saved_bytes(depth: int, name: Memory, size: int) -> int:
    """Bytes of the distinct tensors stored between forward and backward, by autograd or a checkpoint."""
    flow, data = _flow(depth, name, size), _data(size)
    known = {tensor.untyped_storage().data_ptr() for tensor in _live_tensors()}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = flow.loss(data)
    assert loss.requires_grad
    for tensor in _live_tensors():
        pack(tensor)
    return sum(sizes.values())


def _live_tensors() -> list[Tensor]:
    return [item for item in gc.get_objects() if type(item) in (Tensor, torch.nn.Parameter)]


def _peak_bytes(depth: int, name: Memory, size: int) -> int:
    """Increase of the peak memory of a new process by one step, after a step on a small volume."""
    torch.set_num_threads(1)
    _step(depth, name, 4)()
    step = _step(depth, name, size)
    before = _peak()
    step()
    return _peak() - before


def _peak() -> int:
    """Peak memory in bytes (Linux); getrusage would include the memory of the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _in_new_process(function: Callable[..., int], *arguments: object) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _step(depth: int, name: Memory, size: int) -> Callable[[], object]:
    flow, data = _flow(depth, name, size).train(), _data(size)
    return partial(_train, flow, torch.optim.AdamW(flow.parameters(), fused=True), data)


def _train(flow: VoxelFlow, optimizer: torch.optim.Optimizer, data: Sequences) -> None:
    optimizer.zero_grad()
    flow.loss(data).backward()
    optimizer.step()


def _flow(depth: int, name: Memory, size: int) -> VoxelFlow:
    torch.manual_seed(0)
    return VoxelFlow(torch.ones(size, size, size, dtype=torch.bool), 2, levels=1, depth=depth, memory=name)


def _data(size: int) -> Sequences:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 2, 1, size, size, size, generator=generator)
    time = torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    return Sequences(x, torch.randn(2, 2, 2, generator=generator), time, torch.ones(2, 2, dtype=torch.bool))


if __name__ == "__main__":
    main()
