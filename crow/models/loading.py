"""Runs, brought back as the model that they are."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from crow.models.crow import load_crow
from crow.models.scans import is_scan_run, load_scans
from crow.run.cross_sectional_config import CrossSectionalConfig
from crow.run.folder import read_config, read_description


def load(folder: str | Path) -> Any:
    """The fitted model of a run folder: CRow of regions or of scans, or one of the models of single visits.

    Raises RunError where the folder is not whole. Runs no code from it.
    """
    read_description(folder)
    config = read_config(Path(folder))
    if isinstance(config, CrossSectionalConfig):
        module, _, name = config.model.rpartition(".")
        return getattr(import_module(module), name).load(folder)
    return load_scans(folder) if is_scan_run(folder) else load_crow(folder)
