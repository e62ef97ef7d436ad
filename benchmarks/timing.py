"""Interleaved timing: every round times every variant once, so a ratio compares measurements made together."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Timing:
    """Seconds per call of each variant, one value per round."""

    seconds: dict[str, list[float]]

    def milliseconds(self, name: str) -> float:
        return 1000 * statistics.median(self.seconds[name])

    def ratio(self, name: str, reference: str) -> float:
        """The median over rounds of the ratio of two variants' times in the same round."""
        return statistics.median(a / b for a, b in zip(self.seconds[name], self.seconds[reference], strict=True))

    def spread(self, name: str, reference: str) -> tuple[float, float]:
        """Quartiles over rounds of the ratio."""
        ratios = [a / b for a, b in zip(self.seconds[name], self.seconds[reference], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        return low, high


def interleave(variants: dict[str, Callable[[], object]], budget: float, rounds: int = 7) -> Timing:
    """Time every variant in turn, forwards and backwards, for about ``budget`` seconds and at least ``rounds`` rounds.

    A variant runs twice untimed first (a compiled one compiles there), and as often within a round as makes 5 ms.
    """
    repeats = {}
    for name, run in variants.items():
        run()
        repeats[name] = max(1, round(0.005 / max(min(_time(run, 1), _time(run, 1)), 1e-6)))
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    end = time.perf_counter() + budget
    while time.perf_counter() < end or len(next(iter(seconds.values()))) < rounds:
        order = list(variants) if len(next(iter(seconds.values()))) % 2 == 0 else list(reversed(variants))
        for name in order:
            seconds[name].append(_time(variants[name], repeats[name]))
    return Timing(seconds)


def shares(timing: Timing, ours: str, **where: str | int) -> list[dict[str, str | int | float]]:
    """One row per variant: median milliseconds, and the ratio of our time to its, with quartiles."""
    table: list[dict[str, str | int | float]] = []
    for name in timing.seconds:
        low, high = timing.spread(ours, name)
        table.append({
            **where, "ours": ours, "variant": name, "ms": round(timing.milliseconds(name), 2),
            "ours / variant": round(timing.ratio(ours, name), 3), "quartiles": f"{low:.2f}-{high:.2f}",
        })  # fmt: skip
    return table


def write(name: str, title: str, table: list[dict[str, str | int | float]]) -> None:
    """Print the rows and write them to ``results/NAME.md`` and ``results/NAME.json``."""
    columns = list(dict.fromkeys(column for row in table for column in row))
    lines = [f"# {title}", "", f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), CPU.", ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in table]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)
    (RESULTS / f"{name}.json").write_text(json.dumps(table, indent=1) + "\n")


def _time(run: Callable[[], object], repeats: int) -> float:
    """Seconds per call; with one thread, processor time, which other processes hardly affect."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for _ in range(repeats):
        run()
    return (clock() - start) / repeats
