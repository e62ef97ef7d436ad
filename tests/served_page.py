"""A cohort with hostile names, a run trained on it, and a real `crow explore` that serves them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crow.cohort import read_cohort
from crow.models.crow import CRow
from crow.simulate import simulate_wide

EVIL_SUBJECT = "<img src=x onerror=alert(1)>"
EVIL_REGION = "</script><script>alert(2)</script>"
REGIONS = ["Left-Hippocampus", "lh_entorhinal", EVIL_REGION]
COMMAND = [sys.executable, "-c", "from crow.cli.main import main; main()", "explore"]


@dataclass(frozen=True)
class Served:
    """The folder with cohort.csv and run, a process of crow explore, and the address that it printed."""

    folder: Path
    process: subprocess.Popen[str]
    url: str


def train(folder: Path) -> None:
    """Write cohort.csv and run: 30 subjects, of whom the first has a hostile name."""
    table = simulate_wide(30, 4, 3, seed=1).table
    own = [name for name in table if name.startswith("ROI")]
    table = table.rename(columns=dict(zip(own, REGIONS, strict=True)))
    table = table.replace({"subject": {table["subject"].iloc[0]: EVIL_SUBJECT}})
    table["sex"] = table.groupby("subject", sort=False).ngroup().map(lambda n: "FM"[n % 2])
    table["DX"] = ["CN" if score < 1 else "MCI" for score in table["CDRSB"]]
    table.to_csv(folder / "cohort.csv", index=False)
    cohort = read_cohort(folder / "cohort.csv", covariates=["sex", "CDRSB", "DX"], regions=REGIONS)
    CRow(model={"members": 2}, training={"max_epochs": 1, "steps_per_epoch": 2}).fit(cohort, folder / "run")


@contextmanager
def serving(folder: Path, *words: str, cohort: str = "cohort.csv") -> Iterator[Served]:
    """Serve the run of a folder until the block ends."""
    options = ["--run", "run", "--cohort", cohort, "--draws", "40", "--no-browser", *words]
    process = subprocess.Popen(
        [*COMMAND, *options], cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert first.startswith("Open http://127.0.0.1:"), first + process.stdout.read()
        process.stdout.readline()
        yield Served(folder, process, first.split()[1])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)
