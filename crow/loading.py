"""Runs, brought back as the model that they are."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from crow.artifact import read_config, read_description
from crow.estimator import load_crow
from crow.scan_model import is_scan_run, load_scans
from crow.visit_config import VisitConfig


def load(folder: str | Path) -> Any:
    """The fitted model of a run folder: CRow of regions or of scans, or one of the models of single visits.

    Raises RunError where the folder is not whole. Runs no code from it.
    """
    read_description(folder)
    config = read_config(Path(folder))
    if isinstance(config, VisitConfig):
        module, _, name = config.model.rpartition(".")
        return getattr(import_module(module), name).load(folder)
    return load_scans(folder) if is_scan_run(folder) else load_crow(folder)
