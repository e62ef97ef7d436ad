"""The scans for a cross-sectional model: a store, or scans that are prepared like the training scans."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from crow.cohort import read_cohort
from crow.cohort.scan_paths import SCAN_FILES
from crow.errors import CohortError
from crow.models.base import Echo
from crow.pipelines.scan_history import has_scans_of, preparation_settings
from crow.places import is_store
from crow.representation.cross_sectional import ScanInputs
from crow.scans.store import ScanStore


def open_source(given: ScanInputs, source: Path, work: Path, echo: Echo, overwrite: bool = False) -> ScanStore:
    """Open a store; a table, BIDS tree or NIfTI file is prepared in ``work`` like the training scans.

    Raises CohortError for scans that do not fit ``given``, and if training scans were prepared with a user's mask;
    OutputError if ``work`` exists with other scans and may not be replaced.
    """
    if is_store(source):
        store = ScanStore.open(source)
    else:
        from crow.pipelines.prepare import prepare  # takes seconds to import

        settings = preparation_settings(given.facts, source)
        echo(f"Preparing {source} in {work}, like the {given.facts['modality']} training scans.")
        with _as_cohort(source) as (cohort, flags):
            again = overwrite and not has_scans_of(work, read_cohort(cohort, strict=False, **flags))
            store = prepare(cohort, work, overwrite=again, echo=echo, **settings, **flags).store
    given.check(store)
    return store


@contextmanager
def _as_cohort(source: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The path itself, or for a single scan file a table of that one scan, with its reading options."""
    if not source.name.endswith(SCAN_FILES):
        yield source, {}
        return
    if not source.is_file():
        raise CohortError(f"{source}: no such file. Use a scan, a table, a BIDS tree or a store.")
    found = {key: re.search(rf"(?:^|_){key}-([A-Za-z0-9]+)", source.name) for key in ("sub", "ses")}
    name = found["sub"].group(1) if found["sub"] else source.name.split(".")[0]
    session = found["ses"].group(1) if found["ses"] else "1"
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "scan.csv"
        row = {"subject": name, "session": session, "years": 0.0, "scan": str(source.resolve())}
        pd.DataFrame([row]).to_csv(table, index=False)
        yield table, {"subject": "subject", "session": "session", "time": "years", "time_kind": "years"}
