"""Visit times: a planned schedule with jitter, missed visits and dropout."""

import numpy as np
import pandas as pd

SCHEDULE = (0, 6, 12, 24, 36)
JITTER_MONTHS = 1.0
YEARLY_JITTER = 1.5
MISSED = 0.06
DROPOUT_PER_YEAR = {"CN": 0.04, "MCI": 0.06, "AD": 0.15}


def draw_visits(rng: np.random.Generator, subjects: pd.DataFrame, visits: int) -> pd.DataFrame:
    """One row per attended visit: subject (row of ``subjects``), month (as planned), days since baseline.

    ``visits`` are planned at months 0, 6, 12, 24, then yearly. Their times vary by one month (sd), 6 % are missed, and
    a share of each group drops out per year. The first two visits are always attended.
    """
    months = np.array([*SCHEDULE, *range(48, 12 * visits, 12)][:visits])
    days = months * 365.25 / 12 + rng.normal(0.0, JITTER_MONTHS * 30.4, size=(len(subjects), len(months)))
    # Clipped so that a rare large delay does not swap two visits.
    days = np.round(np.clip(days, months * 30.44 - 60, months * 30.44 + 75)).astype(int)
    days[:, 0] = 0
    dropout = rng.exponential(1 / subjects["group"].map(DROPOUT_PER_YEAR).to_numpy())
    attended = (rng.random(days.shape) >= MISSED) & (days / 365.25 < dropout[:, None])
    attended[:, :2] = True
    subject, visit = np.nonzero(attended)
    return pd.DataFrame({"subject": subject, "month": months[visit], "days": days[subject, visit]})


def draw_yearly(rng: np.random.Generator, subjects: int, visits: int) -> pd.DataFrame:
    """Visits about a year apart, all attended: subject (row), month (as planned), days since the first visit."""
    planned = np.arange(visits) * 365.25
    late = np.clip(rng.normal(0.0, YEARLY_JITTER * 30.4, size=(subjects, visits)), -120, 120)
    days = np.round(planned + late).astype(int)
    days[:, 0] = 0
    subject, visit = np.indices(days.shape)
    return pd.DataFrame({"subject": subject.ravel(), "month": 12 * visit.ravel(), "days": days.ravel()})
