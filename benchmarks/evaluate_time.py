"""Wall-clock and processor seconds of `crow evaluate --folds 5` on a cohort of 500 subjects.

    python benchmarks/evaluate_time.py [--subjects 500] [--folds 5] [--jobs 2] [--baselines simple]

The cohort is a simulated ADNI-like one with up to 8 visits, 10 regions and six covariates. The run is trained with the
defaults first, which does not count. In each fold crow and every baseline are trained anew; synthetic subjects, group
effects, usefulness and privacy are those of the first fold's model. On a busy machine the wall clock is too long;
"processor / jobs" is a lower bound for an idle one.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from timing import write

from crow.simulate import simulate_adni

MINUTES = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=500)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--baselines", nargs="+", default=["simple"])
    arguments = parser.parse_args()
    rows: list[dict[str, str | int | float]] = []
    with tempfile.TemporaryDirectory() as folder:
        table, run = Path(folder) / "cohort.csv", Path(folder) / "run"
        simulation = simulate_adni(arguments.subjects, 8, regions=10, seed=0)
        simulation.table.to_csv(table, index=False)
        regions = ",".join(simulation.parameters["regions"])
        _crow("train", "--cohort", table, "--regions", regions, "--out", run)
        for baselines in arguments.baselines:
            out = Path(folder) / baselines
            wall, processor = _crow(
                "evaluate", "--run", run, "--folds", arguments.folds, "--baselines", baselines,
                "--jobs", arguments.jobs, "--out", out,
            )  # fmt: skip
            forecast = json.loads((out / "metrics.json").read_text())["forecast"]
            rows.append({
                "baselines": baselines, "models": len(forecast), "wall-clock s": round(wall),
                "processor s": round(processor), "processor / jobs": round(processor / arguments.jobs),
                f"under {MINUTES} min": "yes" if wall < 60 * MINUTES else "NO",
                **{f"{name} s": round(one["seconds"]) for name, one in forecast.items() if one["seconds"] > 1},
            })  # fmt: skip
            print(rows[-1], flush=True)
    title = f"crow evaluate --folds {arguments.folds} --jobs {arguments.jobs}, {arguments.subjects} subjects"
    write("evaluate_time", f"{title}, {len(simulation.table)} visits, 10 regions", rows)


def _crow(*arguments: object) -> tuple[float, float]:
    """Wall-clock and processor seconds of a command and all its processes."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([Path(sys.executable).with_name("crow"), *map(str, arguments)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
