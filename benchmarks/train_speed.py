"""Processor time of a training step of an ensemble of ``alzheimer.csv``: ``train_speed.py [--rounds N]``.

Forward and backward pass of all members with the batches that the training draws, and their preparation:
- "one by one": each member alone, over padded sequences with the GRU of torch, as before members trained together,
- "together": stacked weights and packed sequences (`crow.training.stack`).

Every round times both, so a ratio compares measurements that were made together. Also the fit of the mixed model.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from tables import PUBLIC
from timing import write

from crow.bijections.soft_bounds import Bounds
from crow.cohort import read_cohort
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.representation.regions import RegionTable
from crow.training.batches import drop_visits
from crow.training.stack import Batch, FlowStack

BATCH, HIDDEN, BLOCKS, DROPOUT = 90, 32, 3, 0.1  # what crow train chooses for this table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    cohort = read_cohort(PUBLIC)
    table = RegionTable.fit(cohort)
    data = table.encode(cohort.visits)
    start = CRowFlow(data.x.shape[2], data.context.shape[2], blocks=BLOCKS, hidden=HIDDEN, dropout=DROPOUT)
    fit = statistics.median(_seconds(lambda: start.initialise(data, table.bounds)) for _ in range(3))
    rows: list[dict[str, Any]] = [{"what": "fit of the mixed model", "together, ms": round(1000 * fit)}]
    rows += [_steps(data, table.bounds, start, members, rounds) for members in (1, 2, 8)]
    write("train_speed", "A training step of an ensemble, processor time", rows)


def _steps(data: Sequences, bounds: Bounds, start: CRowFlow, members: int, rounds: int) -> dict[str, Any]:
    flows = []
    for k in range(members):
        torch.manual_seed(k)
        kind = "standard" if k % 2 else "mixed_model"
        flow = CRowFlow(start.features, data.context.shape[2], kind, BLOCKS, HIDDEN, DROPOUT)  # type: ignore[arg-type]
        flow.start_at(start)
        flows.append(flow.train())
    stack, device = FlowStack(flows, torch.device("cpu")), torch.device("cpu")
    generators = [torch.Generator().manual_seed(k) for k in range(members)]

    def drawn() -> list[Sequences]:
        rows = [torch.randperm(len(data), generator=g)[:BATCH] for g in generators]
        return [drop_visits(data[own], 1.0, g) for own, g in zip(rows, generators, strict=True)]

    def one_by_one() -> None:
        for flow, batch in zip(flows, drawn(), strict=True):
            flow.loss(batch).backward()  # type: ignore[no-untyped-call]

    def together() -> None:
        batch = Batch.of(drawn(), device)
        dropout = stack.draw_dropout(batch, generators)
        total, visits = batch.total(stack.log_prob(stack.trained, batch, *stack.prepared([batch]), dropout))
        (-total / visits).sum().backward()  # type: ignore[no-untyped-call]

    one_by_one()
    together()
    pairs = [(_seconds(one_by_one), _seconds(together)) for _ in range(rounds)]
    low, middle, high = statistics.quantiles([before / now for before, now in pairs], n=4)
    before, now = (1000 * statistics.median(each) for each in zip(*pairs, strict=True))
    return {
        "what": f"step of {members} members", "one by one, ms": round(before), "together, ms": round(now),
        "ratio": round(middle, 2), "quartiles": f"{low:.2f} to {high:.2f}",
    }  # fmt: skip


def _seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
