"""Scans for a model of single visits: prepared already, or prepared on the way as those that it was trained on."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from crow.cohort import read_cohort
from crow.errors import CohortError
from crow.models.base import Echo
from crow.pipelines.scan_history import holds
from crow.representation.cross_sectional import ScanInputs
from crow.scans.store import ScanStore

NIFTI = (".nii", ".nii.gz")


def open_source(given: ScanInputs, source: Path, work: Path, echo: Echo, overwrite: bool = False) -> ScanStore:
    """A store as it is; a table, BIDS tree or NIfTI file is prepared into ``work`` as the scans of a run were.

    Raises CohortError for scans of another modality or grid than ``given``'s, and for what was masked by hand;
    OutputError where ``work`` holds other scans and may not be replaced.
    """
    if ScanStore.is_store(source):
        store = ScanStore.open(source)
    else:
        from crow.pipelines.prepare import prepare  # what registers scans takes seconds to import

        settings = {name: value for name, value in given.facts["settings"].items() if value is not None}
        if mask := settings.pop("mask", None):
            raise CohortError(
                f"{source}: the run's scans were prepared with their own mask ({mask}). Run crow prepare with that "
                "--mask and give its store in place of the scans."
            )
        echo(f"Preparing {source} into {work}, as the {given.facts['modality']} scans that the run was trained on.")
        with _as_cohort(source) as (cohort, flags):
            again = overwrite and not holds(work, read_cohort(cohort, strict=False, **flags))
            store = prepare(cohort, work, overwrite=again, echo=echo, **settings, **flags).store
    given.check(store)
    return store


@contextmanager
def _as_cohort(source: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """What crow prepare reads: the path itself, or for a single NIfTI file a table of that one scan."""
    if not source.name.endswith(NIFTI):
        yield source, {}
        return
    if not source.is_file():
        raise CohortError(f"{source}: there is no such file. Give a scan, a table, a BIDS tree or a store.")
    found = {key: re.search(rf"(?:^|_){key}-([A-Za-z0-9]+)", source.name) for key in ("sub", "ses")}
    name = found["sub"].group(1) if found["sub"] else source.name.split(".")[0]
    session = found["ses"].group(1) if found["ses"] else "1"
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "scan.csv"
        row = {"subject": name, "session": session, "years": 0.0, "scan": str(source.resolve())}
        pd.DataFrame([row]).to_csv(table, index=False)
        yield table, {"subject": "subject", "session": "session", "time": "years", "time_kind": "years"}
