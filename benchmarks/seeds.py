"""The seeds of a benchmark as tasks of crow: in this process, in several, or on a cluster, with the same numbers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from crow.cluster import on_cluster
from crow.tasks import run_tasks

Row = dict[str, Any]


def add_seeds(parser: argparse.ArgumentParser, default: Sequence[int] = (0,)) -> None:
    """The arguments ``--seeds``, ``--jobs`` and ``--cluster``."""
    parser.add_argument("--seeds", type=int, nargs="+", default=list(default))
    parser.add_argument("--jobs", type=int, default=1, help="processes; with several, seconds are of a busy machine")
    parser.add_argument("--cluster", help="tcp://host:port or slurm; workers need this folder in PYTHONPATH")


def rows_of_seeds(of_seed: Callable[..., list[Row]], arguments: argparse.Namespace, *others: Any) -> list[Row]:
    """The rows of ``of_seed(seed, *others)`` for each seed, in the order of the seeds; printed as each seed ends."""
    found: dict[int, list[Row]] = {}
    with on_cluster(arguments.cluster, arguments.jobs):
        tasks = [(seed, *others) for seed in arguments.seeds]
        for number, rows in run_tasks(of_seed, tasks, arguments.jobs):
            found[number] = [{"seed": arguments.seeds[number], **row} for row in rows]
            print(pd.DataFrame(found[number]).to_string(index=False), flush=True)
    return [row for number in sorted(found) for row in found[number]]
