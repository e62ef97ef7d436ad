"""A simulated cohort in the format of ADNIMERGE."""

import numpy as np
import pandas as pd

from crow.simulate.regions import Array, Regions, sigmoid
from crow.simulate.schedule import DROPOUT_PER_YEAR, JITTER_MONTHS, MISSED, draw_visits
from crow.simulate.simulation import Simulation
from crow.simulate.subjects import GROUPS, RATE_APOE, RATE_SPREAD, diagnosis, draw_subjects

ICV = 1_525_000.0
HEAD_SIZE = 0.8
FIRST_DAY = pd.Timestamp("2006-01-01")
YEARS_OF_ENTRY = 5


def simulate_adni(subjects: int = 200, visits: int = 5, regions: int = 6, seed: int = 0) -> Simulation:
    """Simulate a cohort in ADNIMERGE's columns: volumes in mm3, scores, and ``AGE`` at baseline on every row.

    A subject enters at a disease time s_0 (0 is the onset of dementia) and progresses at its own rate:
    s = s_0 + rate t, log rate = log rate of its diagnosis + 0.25 APOE4 + N(0, 0.3^2). Regions follow `Regions` at s and
    age; 80 % of the log head size (ICV) is part of u. Scores follow s. Visits are drawn by `draw_visits`.

    Parameters
    ----------
    subjects : int
        Number of subjects.
    visits : int
        Planned visits per subject: months 0, 6, 12, 24, then yearly. Some are missed, and subjects drop out.
    regions : int
        Number of regions: ADNIMERGE's six volumes, then ``Region07`` and so on.
    seed : int
        Seed of all draws.

    Returns
    -------
    Simulation
        The table, the noise-free truth, and the parameters.

    Examples
    --------
    >>> from crow.simulate import simulate_adni
    >>> simulation = simulate_adni(subjects=3, visits=2, seed=1)
    >>> simulation.table.shape
    (6, 23)
    >>> list(simulation.truth.columns[:5])
    ['RID', 'VISCODE', 'Years_bl', 'disease_time', 'rate']
    """
    rng = np.random.default_rng(seed)
    model = Regions.volumes(rng, regions)
    drawn = draw_subjects(rng, subjects)
    deviation = model.deviations(rng, subjects) + HEAD_SIZE * np.log(drawn["icv"].to_numpy() / ICV)[:, None]
    rows = draw_visits(rng, drawn, visits)
    who = drawn.loc[rows["subject"]].reset_index(drop=True)
    years = rows["days"] / 365.25
    course = who["disease_time"] + who["rate"] * years
    true = model.values(course.to_numpy(), (who["age"] + years).to_numpy(), deviation[rows["subject"]])
    values = pd.DataFrame(np.round(model.measured(rng, true), 1), columns=list(model.names))
    scores = draw_scores(rng, course.to_numpy())
    entry = FIRST_DAY + pd.to_timedelta(rng.integers(0, 365 * YEARS_OF_ENTRY, size=subjects), unit="D")
    who["entry"] = entry[rows["subject"]]
    table = _adnimerge(who, rows, course, scores, values)
    truth = table[["RID", "VISCODE", "Years_bl"]].assign(disease_time=course, rate=who["rate"])
    truth = pd.concat([truth, pd.DataFrame(true, columns=list(model.names))], axis=1)
    return Simulation(table, truth, _parameters(model, {"subjects": subjects, "visits": visits, "seed": seed}))


def draw_scores(rng: np.random.Generator, s: Array) -> pd.DataFrame:
    """CDR sum of boxes, ADAS13 and MMSE at disease times s, rounded to their steps and clipped to their ranges."""

    def noisy(true: Array, sd: Array | float, step: float, maximum: float) -> Array:
        return np.clip(np.round((true + sd * rng.normal(size=len(s))) / step) * step, 0, maximum) + 0.0

    cdr = 18 * sigmoid((s - 5) / 2.6)
    return pd.DataFrame(
        {
            "CDRSB": noisy(cdr, 0.15 + 0.12 * cdr, 0.5, 18),
            "ADAS13": np.round(noisy(8 + 50 * sigmoid((s - 4) / 4), 3.0, 1 / 3, 85), 2),
            "MMSE": noisy(29.5 - 22 * sigmoid((s - 5) / 3.5), 1.0, 1, 30).astype(int),
        }
    )


def _adnimerge(
    who: pd.DataFrame, rows: pd.DataFrame, course: pd.Series, scores: pd.DataFrame, values: pd.DataFrame
) -> pd.DataFrame:
    number = rows["subject"] + 1
    date = who["entry"] + pd.to_timedelta(rows["days"], unit="D")
    late = (who["group"] == "MCI") & (who["disease_time"] >= -3)
    table = pd.DataFrame(
        {
            "RID": 9000 + number,
            "PTID": [f"900_S_{9000 + n}" for n in number],
            "VISCODE": ["bl" if month == 0 else f"m{month:02d}" for month in rows["month"]],
            "EXAMDATE": date.dt.strftime("%Y-%m-%d"),
            "DX_bl": who["group"].mask(who["group"] == "MCI", "EMCI").mask(late, "LMCI"),
            "DX": diagnosis(course),
            "AGE": who["age"].round(1),
            "PTGENDER": who["sex"],
            "PTEDUCAT": who["education"],
            "APOE4": who["apoe4"],
        }
    )
    clock = pd.DataFrame(
        {
            "ICV": who["icv"].round(0),
            "Years_bl": (rows["days"] / 365.25).round(6),
            "Month_bl": (rows["days"] / 30.5).round(5),
            "M": rows["month"],
        }
    )
    core, more = values.iloc[:, :6], values.iloc[:, 6:]
    return pd.concat([table, scores, core, clock, more], axis=1)


def _parameters(model: Regions, arguments: dict[str, int]) -> dict[str, object]:
    return {
        "model": "s = s_0 + rate t; log rate = log rate of the group + rate_apoe4 APOE4 + N(0, rate_sd^2); "
        "log y = log level + ageing (age - 73) + amplitude sigmoid((s - midpoint) / width) "
        "+ head_size log(ICV / icv) + u; u ~ N(0, loadings loadings^T + diag(spread^2)); "
        "measured: y (1 + noise N(0, 1))",
        **arguments,
        "groups": GROUPS,
        "rate_apoe4": RATE_APOE,
        "rate_sd": RATE_SPREAD,
        "head_size": HEAD_SIZE,
        "icv": ICV,
        "visits_missed": MISSED,
        "visit_jitter_months": JITTER_MONTHS,
        "dropout_per_year": DROPOUT_PER_YEAR,
        "regions": model.parameters(),
    }
