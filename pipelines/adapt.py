"""Adapt a run to sites or scanners that its training did not have, and write it as another run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crow.files import write_text, writing
from crow.models.adapted import adapted
from crow.models.crow import CRow
from crow.pipelines.history import Missing, read_history
from crow.run.folder import check_place

EFFECTS = "site_effects.csv"


@dataclass(frozen=True)
class Adapted:
    """The new run folder, and the effects that were estimated: one row per new level and region."""

    folder: Path
    effects: pd.DataFrame


def adapt(run: Path, cohort: Path, out: Path, *, missing: Missing | None = None, overwrite: bool = False) -> Adapted:
    """Estimate the effects of the sites of ``cohort`` that ``run`` does not have; all else stays as it is.

    Raises RunError, CohortError, ConfigError, and OutputError if ``out`` exists.
    """
    check_place(out, overwrite)
    model = CRow.load(run)
    other, effects = adapted(model, read_history(model, cohort, missing))
    other.save(out, overwrite)
    for name in ("mapping.yaml", "training.png"):
        if (run / name).is_file():
            with writing(out / name, overwrite=True) as temporary:
                shutil.copy2(run / name, temporary)
    write_site_effects(other, out)
    return Adapted(out, effects)


def write_site_effects(model: CRow, folder: Path) -> None:
    """Write the effects of all sites of a run into its folder, if it has any."""
    sites = model.table.sites
    if sites is not None:
        table = sites.table(model.table.regions, model.table.sd)
        text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
        write_text(folder / EFFECTS, text, overwrite=True)
