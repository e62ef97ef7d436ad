"""What a simulation gives: a table as a user would bring it, and the truth behind it."""

from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Simulation:
    """An invented cohort.

    ``table`` has one row a visit, as it would be downloaded. ``truth`` has a row for each row of ``table``, in the same
    order: who and when, disease time (years), rate (disease years per year) and the noise-free regions. ``parameters``
    are the population's (JSON values).
    """

    table: pd.DataFrame
    truth: pd.DataFrame
    parameters: dict[str, Any]
