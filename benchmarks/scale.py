"""Time and memory of synthetic cohorts as they grow: ``scale.py [--run RUN] [--subjects 1000,10000,100000]``.

`crow generate --new-subjects` draws and writes some subjects at a time, so that its time is linear and its memory flat.
Each size runs in a process of its own. The result is in ``benchmarks/results/scale.csv``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

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
            found = measure(["generate", "--run", str(run), "--new-subjects", str(count), "--out", str(out)])
            rows.append({"subjects": count, "table_mib": out.stat().st_size / 2**20, **found})
            out.unlink()
            print(pd.DataFrame(rows).round(1).to_string(index=False), flush=True)
    pd.DataFrame(rows).round(1).to_csv(RESULTS / "scale.csv", index=False)


if __name__ == "__main__":
    main()
