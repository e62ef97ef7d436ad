"""When people come: a schedule that nobody keeps exactly, visits missed, and people who stop coming."""

import numpy as np
import pandas as pd

SCHEDULE = (0, 6, 12, 24, 36)
JITTER_MONTHS = 1.0
YEARLY_JITTER = 1.5
MISSED = 0.06
DROPOUT_PER_YEAR = {"CN": 0.04, "MCI": 0.06, "AD": 0.15}


def draw_visits(rng: np.random.Generator, people: pd.DataFrame, visits: int) -> pd.DataFrame:
    """One row a visit that took place: subject (row of ``people``), month (as planned), days since baseline.

    Planned are months 0, 6, 12, 24, then every year, ``visits`` in all; a visit comes a month early or late (sd), 6 %
    are missed, and each year some of a group leave for good. The first two visits always take place.
    """
    months = np.array([*SCHEDULE, *range(48, 12 * visits, 12)][:visits])
    days = months * 365.25 / 12 + rng.normal(0.0, JITTER_MONTHS * 30.4, size=(len(people), len(months)))
    # Visits are planned half a year apart: a rare large delay must not swap two of them.
    days = np.round(np.clip(days, months * 30.44 - 60, months * 30.44 + 75)).astype(int)
    days[:, 0] = 0
    leaves = rng.exponential(1 / people["group"].map(DROPOUT_PER_YEAR).to_numpy())
    comes = (rng.random(days.shape) >= MISSED) & (days / 365.25 < leaves[:, None])
    comes[:, :2] = True
    subject, visit = np.nonzero(comes)
    return pd.DataFrame({"subject": subject, "month": months[visit], "days": days[subject, visit]})


def draw_yearly(rng: np.random.Generator, subjects: int, visits: int) -> pd.DataFrame:
    """Visits about a year apart that all take place: subject (row), month (as planned), days since the first."""
    planned = np.arange(visits) * 365.25
    late = np.clip(rng.normal(0.0, YEARLY_JITTER * 30.4, size=(subjects, visits)), -120, 120)
    days = np.round(planned + late).astype(int)
    days[:, 0] = 0
    subject, visit = np.indices(days.shape)
    return pd.DataFrame({"subject": subject.ravel(), "month": 12 * visit.ravel(), "days": days.ravel()})
