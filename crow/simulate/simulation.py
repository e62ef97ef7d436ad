"""The result of a simulation: a table as a user would have it, and its truth."""

from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Simulation:
    """A simulated cohort.

    Attributes
    ----------
    table : DataFrame
        One row per visit, as it would be downloaded.
    truth : DataFrame
        One row per row of ``table``, in the same order: subject, visit, ``disease_time`` (years), ``rate`` (disease
        years per year) and the noise-free regions.
    parameters : dict
        Parameters of the population, as JSON values.

    Examples
    --------
    >>> from crow.simulate import simulate_adni
    >>> simulation = simulate_adni(subjects=3, visits=2, seed=1)
    >>> len(simulation.table) == len(simulation.truth)
    True
    """

    table: pd.DataFrame
    truth: pd.DataFrame
    parameters: dict[str, Any]
