"""Time and peak memory of ``crow train``: ``train_time.py [--only NAMES] [--revision REV] [--leaspy PYTHON]``.

The public table ``alzheimer.csv`` and an ADNI-like cohort of 500 subjects with 10 regions and six covariates with the
defaults, and a simulated cohort of 2,000 subjects, 6 visits and 82 regions with a single ensemble member. Each is a
whole command: start-up, reading and saving count. The difference between
processor and wall seconds shows how busy the machine was.

``--revision`` trains with an earlier revision of the repository in turn, and ``--leaspy`` fits leaspy's logistic model
with 2,000 iterations to the public table, by the Python of the environment that `make leaspy` makes. The ratio is
processor time of theirs by ours, the median over ``--rounds``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from commands import Cost, cost_of, package_of
from tables import PUBLIC
from timing import write

from crow.simulate import simulate_adni, simulate_wide

ITERATIONS = 2000
LEASPY = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from crow.cohort import read_cohort
from crow.evaluation.leaspy_baseline import LeaspyBaseline
LeaspyBaseline(int(sys.argv[2]), 2).fit(read_cohort(Path(sys.argv[1])))
"""
NAMES = ("alzheimer", "adni", "large")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--revision")
    parser.add_argument("--leaspy", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        packages: dict[str, Path | None] = {"this version": None}
        if arguments.revision:
            packages[arguments.revision] = package_of(arguments.revision, work / "earlier")
        for name in arguments.only:
            options = ["--cohort", PUBLIC] if name == "alzheimer" else {"adni": adni, "large": large}[name](work)
            costs: dict[str, list[Cost]] = {}
            for k in range(arguments.rounds):
                for which, package in packages.items():
                    out = work / f"{name}-{k}-{which.replace(' ', '-')}"
                    costs.setdefault(which, []).append(cost_of("train", *options, "--out", out, package=package))
                if name == "alzheimer" and arguments.leaspy:
                    fit = cost_of(PUBLIC, ITERATIONS, code=LEASPY, python=arguments.leaspy)
                    costs.setdefault(f"leaspy, {ITERATIONS:,} iterations", []).append(fit)
                print({which: each[-1].row() for which, each in costs.items()}, flush=True)
            table += rows(name, costs)
    write("train_time" if arguments.only == NAMES else f"train_time_{'_'.join(arguments.only)}", "crow train", table)


def adni(work: Path) -> list[object]:
    """The options that train on the cohort of evaluate_time.py."""
    simulation, path = simulate_adni(500, 8, regions=10, seed=0), work / "adni.csv"
    simulation.table.to_csv(path, index=False)
    return ["--cohort", path, "--regions", ",".join(simulation.parameters["regions"])]


def large(work: Path) -> list[object]:
    """The options that train on the simulated cohort."""
    simulated, path = simulate_wide(2000, 6, 82).table, work / "large.csv"
    simulated.to_csv(path, index=False)
    regions = ",".join(column for column in simulated if column.startswith("ROI"))
    return ["--cohort", path, "--regions", regions, "--covariates", "CDRSB", "--set", "model.members=1"]


def rows(name: str, costs: dict[str, list[Cost]]) -> list[dict[str, str | int | float]]:
    ours, *_ = costs.values()
    found: list[dict[str, str | int | float]] = []
    for which, each in costs.items():
        ratios = [theirs.processor / own.processor for theirs, own in zip(each, ours, strict=True)]
        medians = {key: statistics.median(cost.row()[key] for cost in each) for key in each[0].row()}
        found.append({"cohort": name, "of": which, **medians, "theirs / ours": round(statistics.median(ratios), 2)})
    return found


if __name__ == "__main__":
    main()
