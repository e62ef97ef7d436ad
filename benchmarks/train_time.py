"""Time and peak memory of complete trainings: ``train_time.py [--only NAME]``.

The public table ``alzheimer.csv`` with the defaults, and a simulated cohort of 2,000 subjects, 6 visits and 82 regions
with a single ensemble member, each in its own process. The difference between processor and wall seconds shows how busy
the machine was.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tables import PUBLIC
from timing import write

from crow import Cohort, CRow
from crow.cohort import read_cohort
from crow.simulate import simulate_wide

PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, else in KiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(TRAININGS))
    options = parser.parse_args()
    table = []
    for name, training in TRAININGS.items():
        if options.only in (None, name):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                table.append({"training": name, **pool.apply(_measure, (training,))})
    write("train_time" if options.only is None else f"train_time_{options.only}", "Complete trainings", table)


def public() -> tuple[Cohort, CRow]:
    return read_cohort(PUBLIC), CRow()


def large() -> tuple[Cohort, CRow]:
    table = simulate_wide(2000, 6, 82).table
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.csv"
        table.to_csv(path, index=False)
        regions = [column for column in table if column.startswith("ROI")]
        return read_cohort(path, regions=regions, covariates=["CDRSB"]), CRow(model={"members": 1})


TRAININGS: dict[str, Callable[[], tuple[Cohort, CRow]]] = {"alzheimer": public, "large": large}


def _measure(build: Callable[[], tuple[Cohort, CRow]]) -> dict[str, int | float]:
    cohort, model = build()
    wall, processor = time.perf_counter(), time.process_time()
    model.fit(cohort)
    return {
        "subjects": len(cohort.subjects),
        "visits": len(cohort.visits),
        "wall, s": round(time.perf_counter() - wall),
        "processor, s": round(time.process_time() - processor),
        "peak, GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT / 2**30, 2),
    }


if __name__ == "__main__":
    main()
