"""Runs, loaded as the model that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crow.models.base import Model


def load(folder: str | Path) -> Any:
    """The fitted model of a run folder: CRow of a table or of scans, or one of the models of single visits.

    Parameters
    ----------
    folder
        A run folder, as ``crow train --out`` writes it.

    Returns
    -------
    Model
        An instance of the class that was saved. Loading a run from a stranger runs no code of theirs.

    Raises
    ------
    RunError
        If the folder is not whole.

    Examples
    --------
    >>> import crow
    >>> quick = {"max_epochs": 2, "steps_per_epoch": 2}  # the defaults train until nothing improves
    >>> model = crow.CRow(model={"members": 1}, training=quick).fit(crow.read_cohort("adni.csv"), "adni_run")
    >>> repr(crow.load("adni_run")) == repr(model)
    True
    """
    return Model.load(folder)
