"""Time and memory of synthetic cohorts, and of scoring them, as they grow: ``scale.py [--run RUN] [--subjects ...]``.

`crow generate --new-subjects` draws and writes some subjects at a time, and `crow score` reads and scores a large table
some subjects at a time, so that their time is linear and their memory flat. Each command runs in a process of its own,
with one process for its tasks. The last row is computed: time grows as between the two largest sizes. The result is in
``benchmarks/results/scale.csv``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

ALONE = ("--jobs", "1")
DRAWS = "2"  # of a visit, for its z-scores
BYTES_PER_VISIT = 120  # of the columns of a visit that scoring keeps
RESULTS = Path(__file__).parent / "results"


def measure(words: list[str]) -> dict[str, float]:
    """Processor seconds, wall seconds and peak memory (MiB) of a command of crow."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", "from crow.cli.main import main; main()", *words],
                               stdout=subprocess.DEVNULL)  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, words
    return {
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "wall_seconds": time.perf_counter() - began,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="a run of a table; by default one of 200 simulated subjects")
    parser.add_argument("--subjects", default="1000,10000,100000")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = options.run or folder / "run"
        if options.run is None:
            measure(["simulate", "--out", str(folder / "demo"), "--subjects", "200"])
            words = ["train", "--cohort", str(folder / "demo/cohort.csv"), "--out", str(run)]
            measure([*words, "--set", "model.members=2", "--set", "training.max_epochs=5"])
        for count in map(int, options.subjects.split(",")):
            out = folder / f"{count}.csv"
            new = measure(["generate", "--run", str(run), "--new-subjects", str(count), "--out", str(out), *ALONE])
            scores = ["--cohort", str(out), "--out", str(folder / "scores.csv"), "--draws", DRAWS, "--overwrite"]
            scored = measure(["score", "--run", str(run), *scores, *ALONE])
            with out.open() as file:
                visits = sum(1 for _ in file) - 1
            rows.append({
                "subjects": count, "visits": visits, "table_mib": out.stat().st_size / 2**20,
                **{f"generate_{name}": value for name, value in new.items()},
                **{f"score_{name}": value for name, value in scored.items()}, "measured": True,
            })  # fmt: skip
            out.unlink()
            print(pd.DataFrame(rows).round(1).to_string(index=False), flush=True)
    rows.append(extrapolated(*rows[-2:], subjects=1_000_000))
    pd.DataFrame(rows).round(1).to_csv(RESULTS / "scale.csv", index=False)


def extrapolated(before: dict[str, Any], last: dict[str, Any], subjects: int) -> dict[str, Any]:
    """A larger size, by the growth between two that were measured.

    The memory is that of the last, and for scores the names and likelihoods of the other visits, which stay in memory.
    """
    steps = (subjects - last["subjects"]) / (last["subjects"] - before["subjects"])
    grown = {name: last[name] + steps * (last[name] - before[name]) for name in last if name != "measured"}
    grown |= {name: last[name] for name in last if name.endswith("peak_mib")}
    grown["score_peak_mib"] += (grown["visits"] - last["visits"]) * BYTES_PER_VISIT / 2**20
    return {**grown, "measured": False}


if __name__ == "__main__":
    main()
