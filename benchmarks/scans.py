"""Follow-up T1w scans: change of structures and voxels, beside baselines and the oracle that has the real target.

    python benchmarks/scans.py [--subjects 80] [--visits 4] [--resolution 2] [--test 20] [--seeds 1] [--work DIR]

Simulates and prepares a cohort, or uses ``DIR/cohort`` and ``DIR/store``. The last scan is forecast from all earlier
ones by the mixed model of changes, where the flow of structural scans begins, and by baselines.

Structures (`benchmarks/change_forecasts.py`): errors in percent of the volume, against the true change; every subject
is a test subject in one of the folds, of ``--test`` subjects each. "r": correlation over subjects of the forecast and
the true change, both minus the mean change (mean of structures). "of the mean change's": MAE as a share of that of the
mean change. "s.e.": standard error over subjects. Voxels (`benchmarks/voxel_change.py`) of the first ``--test``
subjects: "r" is the correlation of the whole change. "oracle": the change that registration measures between the last
two scans, with the noise of both, so that a forecast can be closer to the truth.

With ``--table``, "crow, with a table of regions" models the volumes of a table and those of the scans jointly.

"reached" is about crow: r of at least .6 and at most .8 of the MAE of the mean change for ventricles, hippocampus and
cortex, 44 to 56 % in intervals of 50 % and 86 to 94 % in those of 90 %, r of .85 for voxels and .9 for the group map. A
coverage within two standard errors of these limits is "not clear".
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd
import torch
from change_forecasts import GROUPS, cross_validated, measured, table, unexpected_error, with_table
from timing import write
from voxel_change import voxel_rows

from crow.evaluation.scan_truth import SimulatedTruth
from crow.pipelines.prepare import prepare
from crow.pipelines.simulate_scans import write_scans
from crow.representation.deformation import DEFAULT_COMPONENTS
from crow.scans.store import ScanStore

Row = dict[str, str | float]
COVERAGE = {50: (0.44, 0.56), 90: (0.86, 0.94)}
VOXELS = {"voxels of a subject": 0.85, "group map of voxels": 0.9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=80)
    parser.add_argument("--visits", type=int, default=4)
    parser.add_argument("--resolution", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", type=int, default=20, help="subjects of a fold")
    parser.add_argument("--seeds", type=int, default=1, help="how often the subjects are divided into folds")
    parser.add_argument("--modes", type=int, default=DEFAULT_COMPONENTS)
    parser.add_argument(
        "--table", type=float, metavar="ERROR",
        help="beside scans, volumes of ventricles and hippocampi that another method measures, with this error (0.02: "
        "2 %% of a volume); without the rows of voxels",
    )
    parser.add_argument("--name", default="", help="end of the names of the results")
    parser.add_argument("--work", type=Path, help="keeps cohort and store, and uses those that exist")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        store = prepared(arguments.work or Path(temporary), arguments)
        truth = SimulatedTruth.find(store)
        assert truth is not None, "the store is not of simulated scans"
        names, subjects, true = measured(store)
        folds = max(2, round(len(subjects) / arguments.test))
        resolution = float(store.info.settings["resolution"])
        table_of = [] if arguments.table is None else with_table(names, subjects, true, arguments.table)
        scores = cross_validated(names, subjects, true, resolution, folds, arguments.seeds, table_of)
        rows = [row for name in GROUPS for row in table(scores, name)]
        rows += [row for name in names if name not in GROUPS for row in table(scores, name) if row["model"] == "crow"]
        if arguments.table is None:
            rows += voxel_rows(store, truth, arguments.test, arguments.modes)
    for row in rows:
        row["reached"] = reached(row) if row["model"] == "crow" else ""
    print(pd.DataFrame(rows).to_string(index=False))
    print("\nMean error, and sd beyond that of the model, as shares of the root mean square of all changes:")
    print(unexpected_error(scores).round(2).to_string())
    visits = sum(len(own.times) for own in subjects) / len(subjects)
    size = f"{len(subjects)} subjects with {visits:.3g} scans at {resolution:g} mm"
    which = f"_{arguments.name}" if arguments.name else ""
    which += "" if arguments.table is None else "_table"
    write(
        f"scans_t1w_{len(subjects)}x{visits:.0f}_{resolution:g}mm{which}",
        f"Follow-up T1w scans: {size}, {folds} folds, {arguments.seeds} times; {arguments.modes} modes", rows,
    )  # fmt: skip


def prepared(work: Path, arguments: argparse.Namespace) -> ScanStore:
    """The store in the folder ``work``."""
    if not (work / "cohort").exists():
        size = arguments.subjects, arguments.visits, arguments.resolution
        write_scans(work / "cohort", *size, "T1w", arguments.seed, jobs=1)
    if not (work / "store").exists():
        prepare(work / "cohort", work / "store", resolution=arguments.resolution, jobs=1, echo=print)
    return ScanStore.open(work / "store")


def reached(row: Row) -> str:
    """What a row of crow reaches, and what it misses."""
    name = str(row["target"])
    if name in VOXELS:
        return "yes" if row["r"] != "" and float(row["r"]) >= VOXELS[name] else "NO: r"
    missed, unclear = [], []
    if GROUPS.get(name):
        missed += ["r"] if float(row["r"] or 0) < 0.6 else []
        missed += ["MAE"] if float(row["of the mean change's"]) > 0.8 else []
    for share, (low, high) in COVERAGE.items():
        found, error = (float(row[column]) for column in (f"coverage of {share} %", f"s.e. {share} %"))
        beyond = max(low - found, found - high)
        if beyond > 1e-9:
            (missed if beyond > 2 * error else unclear).append(f"{share} %")
    if missed:
        return "NO: " + ", ".join(missed + [f"{one} not clear" for one in unclear])
    return f"not clear: {', '.join(unclear)}" if unclear else "yes"


if __name__ == "__main__":
    main()
