"""Wall-clock and processor seconds of `crow evaluate --folds 5` on a cohort of 500 subjects.

    python benchmarks/evaluate_time.py [--subjects 500] [--folds 5] [--jobs 2] [--baselines simple] [--revision REV]

The cohort is a simulated ADNI-like one with up to 8 visits, 10 regions and six covariates. The run is trained with the
defaults first, which does not count. In each fold crow and every baseline are trained anew; synthetic subjects, group
effects, usefulness and privacy are those of the first fold's model. On a busy machine the wall clock is too long;
"processor / jobs" is a lower bound for an idle one. ``--revision`` does the same with an earlier revision of the
repository; the ratios are its times by ours.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from commands import cost_of, package_of
from timing import write

from crow.simulate import simulate_adni

MINUTES = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=500)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--baselines", nargs="+", default=["simple"])
    parser.add_argument("--revision")
    arguments = parser.parse_args()
    rows: list[dict[str, str | int | float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        simulation = simulate_adni(arguments.subjects, 8, regions=10, seed=0)
        simulation.table.to_csv(folder / "cohort.csv", index=False)
        regions = ",".join(simulation.parameters["regions"])
        packages: dict[str, Path | None] = {"this version": None}
        if arguments.revision:
            packages[arguments.revision] = package_of(arguments.revision, folder / "earlier")
        for which, package in packages.items():
            run = folder / f"run-{which.replace(' ', '-')}"
            cost_of("train", "--cohort", folder / "cohort.csv", "--regions", regions, "--out", run, package=package)
            for baselines in arguments.baselines:
                out = folder / f"{run.name}-{baselines}"
                cost = cost_of(
                    "evaluate", "--run", run, "--folds", arguments.folds, "--baselines", baselines,
                    "--jobs", arguments.jobs, "--out", out, package=package,
                )  # fmt: skip
                forecast = json.loads((out / "metrics.json").read_text())["forecast"]
                rows.append({
                    "of": which, "baselines": baselines, "models": len(forecast), "wall-clock s": round(cost.wall),
                    "processor s": round(cost.processor), "processor / jobs": round(cost.processor / arguments.jobs),
                    f"under {MINUTES} min": "yes" if cost.wall < 60 * MINUTES else "NO",
                    **{f"{name} s": round(one["seconds"]) for name, one in forecast.items() if one["seconds"] > 1},
                })  # fmt: skip
                ours = next(row for row in rows if row["baselines"] == baselines)
                for time in ("wall-clock", "processor"):
                    rows[-1][f"{time} / ours"] = round(float(rows[-1][f"{time} s"]) / float(ours[f"{time} s"]), 2)
                print(rows[-1], flush=True)
    title = f"crow evaluate --folds {arguments.folds} --jobs {arguments.jobs}, {arguments.subjects} subjects"
    write("evaluate_time", f"{title}, {len(simulation.table)} visits, 10 regions", rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
