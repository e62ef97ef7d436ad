"""Fill the missing regions of a table with draws given what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crow.cohort import Cohort
from crow.cohort.writing import conventions, table_text, to_table
from crow.data.filled import Filled
from crow.errors import ConfigError, OutputError
from crow.files import writing
from crow.models.crow import CRow
from crow.pipelines.history import read_history, unseen_sites
from crow.tables import save_table


@dataclass(frozen=True)
class FilledTable:
    """The draws, the cohort that was read, the files made, and a warning about sites that the training lacked."""

    filled: Filled
    cohort: Cohort
    written: tuple[Path, ...]
    warning: str = ""


def fill(
    run: Path,
    cohort: Path,
    out: Path,
    *,
    tables: int | None = None,
    smooth: bool = False,
    draws: int = 500,
    seed: int = 0,
    overwrite: bool = False,
) -> FilledTable:
    """Write ``out``, the table with medians in place of missing regions, and ``<out>_intervals`` next to it.

    With ``tables`` write a folder ``out`` of that many completed tables instead, for multiple imputation: each holds
    one draw of every subject's trajectory given all of its visits. Measured values stay as they are. Raises RunError,
    CohortError if the columns are not those of the run, and OutputError if a file exists.
    """
    if tables is None and out.suffix.lower() not in (".csv", ".tsv"):
        raise OutputError(f"{out}: a filled table is written as .csv or .tsv; found {out.suffix or 'no ending'}.")
    if tables is not None and out.suffix:
        raise OutputError(f"{out}: {tables} tables are written into a folder; name one without an ending.")
    if tables is not None and tables > draws:
        raise ConfigError(f"--tables {tables}: {draws} draws give at most as many tables. Raise --draws.")
    model = CRow.load(run)
    history = read_history(model, cohort, "model")
    warning = unseen_sites(model, history.visits)
    filled = model.fill(history, draws, smooth or tables is not None, seed)
    if tables is not None:
        with writing(out, overwrite, "set of filled tables") as folder:
            folder.mkdir()
            digits = max(3, len(str(tables)))
            for k, visits in enumerate(filled.completed(tables, seed)):
                _write(folder / f"table_{k + 1:0{digits}d}.csv", visits, history)
        return FilledTable(filled, history, (out,), warning)
    intervals = out.with_name(f"{out.stem}_intervals{out.suffix}")
    with writing(out, overwrite) as table, writing(intervals, overwrite) as beside:
        _write(table, filled.table, history)
        save_table(filled.intervals, beside, out.suffix, conventions=conventions(history.schema))
    return FilledTable(filled, history, (out, intervals), warning)


def _write(path: Path, visits: pd.DataFrame, cohort: Cohort) -> None:
    """In the columns of the table that was read."""
    text = table_text(to_table(visits, cohort.schema, cohort.start), cohort.schema)
    path.write_text(text, encoding="utf-8", newline="")
