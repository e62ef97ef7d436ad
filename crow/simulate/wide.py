"""A simulated cohort of many regions, few subjects and three visits, like that of the original publication."""

import numpy as np
import pandas as pd

from crow.simulate.regions import Regions, sigmoid
from crow.simulate.simulation import Simulation

RATE, RATE_SPREAD = 1.0, 0.5
GAP, GAP_SPREAD = 2.0, 0.15


def simulate_wide(subjects: int = 279, visits: int = 3, regions: int = 82, seed: int = 0) -> Simulation:
    """Simulate a plain table: subject, age, CDRSB and correlated uptake ratios ROI01, ROI02, ..., every two years.

    Disease time s = s_0 + rate t with s_0 ~ N(-5, 4^2), log rate ~ N(log 1, 0.5^2); CDR-SB 18 sigmoid((s - 5) / 2.6)
    plus noise, in steps of 0.5; regions follow `Regions`.

    Parameters
    ----------
    subjects, visits, regions : int
        Numbers of subjects, visits per subject, and regions.
    seed : int
        Seed of all draws. For a given seed, the regions and the first subjects do not depend on ``subjects``.

    Returns
    -------
    Simulation

    Examples
    --------
    >>> from crow.simulate import simulate_wide
    >>> simulate_wide(subjects=2, visits=3, regions=4).table.shape
    (6, 7)
    """
    model = Regions.uptake(np.random.default_rng([seed, 0]), regions)
    blocks = [_subject(np.random.default_rng([seed, 1, k]), model, visits) for k in range(subjects)]
    names = np.repeat([f"S{k + 1:04d}" for k in range(subjects)], visits)
    table, truth = (pd.concat(parts, ignore_index=True) for parts in zip(*blocks, strict=True))
    table.insert(0, "subject", names)
    truth.insert(0, "subject", names)
    arguments = {"subjects": subjects, "visits": visits, "seed": seed}
    parameters = {**arguments, "rate": RATE, "rate_sd": RATE_SPREAD, "regions": model.parameters()}
    return Simulation(table, truth, parameters)


def _subject(rng: np.random.Generator, model: Regions, visits: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    years = np.concatenate([[0.0], np.cumsum(np.maximum(0.5, rng.normal(GAP, GAP_SPREAD, size=visits - 1)))])
    age = rng.normal(73.0, 7.0) + years
    rate = RATE * np.exp(RATE_SPREAD * rng.normal())
    s = rng.normal(-5.0, 4.0) + rate * years
    cdr = 18 * sigmoid((s - 5) / 2.6)
    cdr = np.clip(np.round(2 * (cdr + (0.15 + 0.12 * cdr) * rng.normal(size=visits))) / 2, 0, 18) + 0.0
    true = model.values(s, age, np.repeat(model.deviations(rng, 1), visits, axis=0))
    values = pd.DataFrame(model.measured(rng, true).round(5), columns=list(model.names))
    table = pd.concat([pd.DataFrame({"age": age.round(3), "CDRSB": cdr}), values], axis=1)
    clock = pd.DataFrame({"age": age, "disease_time": s, "rate": rate})
    return table, pd.concat([clock, pd.DataFrame(true, columns=list(model.names))], axis=1)
