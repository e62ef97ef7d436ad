"""Simulated tables in the formats of data portals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from crow.cohort import Cohort

ADNI_REGIONS = ["Ventricles", "Hippocampus", "WholeBrain", "Entorhinal", "Fusiform", "MidTemp"]


def save(table: pd.DataFrame, path: Path, **settings: object) -> Path:
    table.to_csv(path, index=False, **settings)  # type: ignore[call-overload]
    return path


def plain(subjects: int = 12, visits: int = 3, seed: int = 0) -> pd.DataFrame:
    """Subject, age (fractional, at the visit), sex, education, two regions; all cells are text."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(subjects):
        age = rng.uniform(60, 80)
        for v in range(visits):
            rows.append({
                "subject": f"S{s:02d}", "age": f"{age + 1.1 * v:.2f}", "sex": "MF"[s % 2], "education": str(10 + s % 7),
                "Hippocampus": f"{rng.normal(3500, 300):.1f}", "Ventricles": f"{rng.normal(30000, 5000):.1f}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def adnimerge(subjects: int = 12, seed: int = 0) -> pd.DataFrame:
    """Four visits per subject, AGE at baseline on every row; all cells are text."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(subjects):
        start = pd.Timestamp(2008, 1, 1) + pd.Timedelta(days=int(rng.integers(0, 700)))
        for months in (0, 6, 12, 24):
            day = start + pd.Timedelta(days=round(months * 30.4375) + int(rng.integers(0, 20)) * (months > 0))
            years = (day - start).days / 365.25
            row = {
                "RID": str(100 + s), "PTID": f"011_S_{100 + s:04d}",
                "VISCODE": "bl" if months == 0 else f"m{months:02d}",
                "EXAMDATE": day.strftime("%Y-%m-%d"), "DX_bl": "LMCI", "DX": ["CN", "MCI", "Dementia"][s % 3],
                "AGE": f"{60 + s * 0.7:.1f}", "PTGENDER": ["Male", "Female"][s % 2], "PTEDUCAT": str(12 + s % 8),
                "APOE4": str(s % 3), "FDG": "", "AV45": "", "ABETA": ">1700", "CDRSB": str(s % 3 * 0.5),
                "MMSE": str(30 - s % 5), "ICV": f"{1.5e6 + 1000 * s:.0f}",
            }  # fmt: skip
            row |= {name: f"{rng.normal(5000, 500):.1f}" for name in ADNI_REGIONS}
            row |= {"Years_bl": f"{years:.6f}", "Month_bl": f"{years * 12:.5f}", "M": str(months)}
            rows.append(row)
    return pd.DataFrame(rows)


def tadpole(subjects: int = 12, seed: int = 0) -> pd.DataFrame:
    """ADNIMERGE's columns, D1 and D2, AV45 uptake and region sizes."""
    rng = np.random.default_rng(seed)
    table = adnimerge(subjects, seed).assign(D1="1", D2="0")
    for region in ("CTX_LH_PRECUNEUS", "CTX_RH_PRECUNEUS", "LEFT_HIPPOCAMPUS", "CTX_LH_UNKNOWN"):
        table[f"{region}_UCBERKELEYAV45_10_17_16"] = [f"{value:.4f}" for value in rng.normal(1.2, 0.2, len(table))]
        table[f"{region}_SIZE_UCBERKELEYAV45_10_17_16"] = [
            f"{value:.0f}" for value in rng.normal(9000, 900, len(table))
        ]
    return table


def oasis2(subjects: int = 12, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(subjects):
        for v in range(3):
            rows.append({
                "Subject ID": f"OAS2_{s:04d}", "MRI ID": f"OAS2_{s:04d}_MR{v + 1}",
                "Group": ["Nondemented", "Demented"][s % 2],
                "Visit": v + 1, "MR Delay": v * 500 + (v > 0) * s, "M/F": "MF"[s % 2], "Hand": "R",
                "Age": 70 + s + round(v * 500 / 365.25), "EDUC": 12 + s % 5, "SES": "" if s == 3 else 1 + s % 4,
                "MMSE": 30 - v, "CDR": 0.5 * (s % 2), "eTIV": 1500 + s,
                "nWBV": round(rng.normal(0.73, 0.02), 3), "ASF": 1.2,
            })  # fmt: skip
    return pd.DataFrame(rows)


def wide(subjects: int = 12, seed: int = 0) -> pd.DataFrame:
    """Three waves in wide format with whole ages at MRI, and the exact years between MRI scans."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(subjects):
        first, second = 3.6 + 0.1 * s, 5.0
        age = 50 + s
        rows.append({
            "participant_id": f"sub-{s:03d}", "Sex": "mf"[s % 2], "Edu": 10 + s % 6,
            "AgeMRI_W1": age, "AgeMRI_W2": round(age + first), "AgeMRI_W3": round(age + first + second),
            "MRIW1toW2": round(first, 2), "MRIW2toW3": second, "MRIW1toW3": round(first + second, 2),
            "Thickness_W1": round(rng.normal(2.5, 0.1), 3), "Thickness_W2": round(rng.normal(2.4, 0.1), 3),
            "Thickness_W3": round(rng.normal(2.3, 0.1), 3), "Volume_W1": 5000 + s,
            "Volume_W2": 4900 + 2 * s, "Volume_W3": 4800 + s, "MMSE_W1": 29, "MMSE_W2": 28 + s % 3, "MMSE_W3": 27,
        })  # fmt: skip
    return pd.DataFrame(rows)


def dated(subjects: int = 14, visits: int = 3, seed: int = 0) -> pd.DataFrame:
    """Subject, date (a Timestamp), age and two regions (numbers), before anyone has written them to a table."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(subjects):
        first = pd.Timestamp(2012, 1, 1) + pd.Timedelta(days=int(rng.integers(0, 900)))
        age, size = rng.uniform(60, 80), rng.normal(3500, 300)
        for v in range(visits):
            date = first + pd.Timedelta(days=int(400 * v + rng.integers(0, 60) * (v > 0)))
            years = (date - first).days / 365.25
            rows.append({
                "subject": f"S{s:02d}", "date": date, "age": round(age + years, 2), "sex": "MF"[int(s > 6)],
                "Hippocampus": round(size - 40 * years + rng.normal(0, 10), 1),
                "Ventricles": round(rng.normal(30000, 5000), 1),
            })  # fmt: skip
    return pd.DataFrame(rows)


def assert_read(cohort: Cohort, table: pd.DataFrame, within: float = 0.005) -> None:
    """The visits are the rows of `dated`: times at most ``within`` years apart, the same values of the hippocampus."""
    assert list(cohort.visits["subject"].value_counts()) == list(table["subject"].value_counts())
    first = table.groupby("subject")["date"].transform("min")
    years = (table["date"] - first).dt.days / 365.25
    np.testing.assert_allclose(np.sort(cohort.visits["time"]), np.sort(years), atol=within)
    name = next(name for name in cohort.regions if "pocam" in name or "pokam" in name)
    np.testing.assert_allclose(np.sort(cohort.visits[name]), np.sort(table["Hippocampus"]))
