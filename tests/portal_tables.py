# ruff: noqa: E501  # rows as the portals write them
"""Tables as portals and programs hand them out, with simulated subjects; all cells are text."""

from __future__ import annotations

import numpy as np
import pandas as pd

SUBJECTS = 14


def ukb(style: str = "{field}-{instance}.0", subject: str = "eid", seed: int = 0) -> pd.DataFrame:
    """Sex (31), age (21003) and date (53), hippocampus (25019) and grey matter (25005); every fourth subject came once."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(SUBJECTS):
        day = pd.Timestamp(2016, 1, 1) + pd.Timedelta(days=int(rng.integers(0, 900)))
        later = day + pd.Timedelta(days=800 + 10 * s)
        age, volume = 55 + s, rng.normal(3800, 300)
        row = {subject: str(1000000 + 37 * s), _field(style, 31, 0): str(s % 2), _field(style, 21003, 0): str(age - 8)}
        for instance, when in ((2, day), (3, later)):
            away = instance == 3 and s % 4 == 3
            values = {
                21003: age + (when - day).days // 365, 53: f"{when:%Y-%m-%d}",
                25019: f"{volume - 20 * instance:.1f}", 25005: f"{rng.normal(600000, 3000):.0f}",
            }  # fmt: skip
            row |= {_field(style, field, instance): "" if away else str(value) for field, value in values.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _field(style: str, field: int, instance: int) -> str:
    fixed = "{instance}" not in style or (field == 31 and style.startswith("p"))
    return f"p{field}" if fixed else style.format(field=field, instance=instance)


def nda(dates: bool = True, seed: int = 0) -> pd.DataFrame:
    """ABCD before release 6: age in months, twins, one volume and the intracranial volume."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(SUBJECTS):
        day = pd.Timestamp(2017, 6, 1) + pd.Timedelta(days=int(rng.integers(0, 500)))
        months = 108 + int(rng.integers(0, 24))
        for event, year in (("baseline_year_1_arm_1", 0), ("2_year_follow_up_y_arm_1", 2), ("4_year_follow_up_y_arm_1", 4)):
            when = day + pd.Timedelta(days=round(365.25 * year + rng.integers(-60, 60) * (year > 0)))
            rows.append({
                "subjectkey": f"NDAR_INV{s:04d}", "src_subject_id": f"NDAR_INV{s:04d}",
                "interview_date": f"{when:%m/%d/%Y}", "interview_age": str(months + round((when - day).days / 30.4375)),
                "sex": "MF"[s % 2], "eventname": event, "site_id_l": f"site{s % 3:02d}", "rel_family_id": str(200 + s // 2),
                "smri_vol_scs_hpuslh": f"{rng.normal(4000, 200):.1f}", "smri_vol_scs_intracranialv": f"{1.2e6 + 1000 * s:.1f}",
            })  # fmt: skip
    table = pd.DataFrame(rows)
    return table if dates else table.drop(columns=["interview_date", "eventname"])


NDA_DESCRIPTIONS = {
    "subjectkey": "The NDAR Global Unique Identifier (GUID) for research subject", "src_subject_id": "Subject ID",
    "interview_date": "Date on which the interview was completed. MM/DD/YYYY",
    "interview_age": "Age in months at the time of the interview", "sex": "Sex of subject at birth", "eventname": "Event",
    "site_id_l": "Site ID at each event", "rel_family_id": "Family ID", "smri_vol_scs_hpuslh": "Volume in mm^3",
    "smri_vol_scs_intracranialv": "Intracranial volume",
}  # fmt: skip


def abcd(letters: str = "AM", named: bool = False, seed: int = 0) -> pd.DataFrame:
    """ABCD since release 6: sessions ``ses-00A``, ``ses-02M``; ``named`` has its column names."""
    rng = np.random.default_rng(seed)
    volume, thickness = ("mr_y_smri__vol__aseg__hc__lh_sum", "mr_y_smri__thk__dsk_mean") if named else ("hippocampus", "thickness")
    rows = [
        {
            "participant_id": f"sub-{s:08d}", "session_id": f"ses-{year:02d}{letters[k % len(letters)]}",
            volume: f"{rng.normal(4300, 100):.1f}", thickness: f"{rng.normal(2.8, 0.1):.4f}",
        }
        for s in range(SUBJECTS) for k, year in enumerate((0, 2, 4))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def asegstats(measure: str = "Measure:volume", mixed: bool = False, style: str = "sub-{s:02d}_ses-{v}", seed: int = 0) -> pd.DataFrame:
    """Longitudinal rows ``tp.long.base``; ``mixed`` with cross-sectional ones and the bases beside."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(1, SUBJECTS + 1):
        base = style.format(s=s, v=0).rsplit("_", 1)[0]
        for v in (1, 2, 3):
            name = style.format(s=s, v=v)
            names = [f"{name}.long.{base}", *([name, *([base] if v == 1 else [])] if mixed else [])]
            for each in names:
                rows.append({
                    measure: each, "Left-Hippocampus": f"{rng.normal(3700, 100) * (1 if 'long' in each else 1.035):.1f}",
                    "Left-Caudate": f"{rng.normal(3400, 100):.1f}", "lhSurfaceHoles": str(rng.integers(5, 40)),
                    "MaskVol-to-eTIV": f"{rng.normal(1.1, 0.01):.4f}", "EstimatedTotalIntraCranialVol": "1450000.0",
                })  # fmt: skip
    return pd.DataFrame(rows)


def ages(style: str = "sub-{s:02d}", session: str = "ses-{v}") -> pd.DataFrame:
    """subject, session, age and sex of `asegstats`, and a subject without scans."""
    rows = [
        {"participant_id": style.format(s=s), "session_id": session.format(v=v), "age": f"{60 + s + 1.3 * v:.2f}", "sex": "MF"[s % 2]}
        for s in range(1, SUBJECTS + 2) for v in (1, 2, 3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def redcap(labels: bool = False, seed: int = 0) -> pd.DataFrame:
    """An enrolment without a date, visits, and rows of a repeating instrument."""
    rng = np.random.default_rng(seed)
    blank = dict.fromkeys(
        ("redcap_repeat_instrument", "redcap_repeat_instance", "sex", "age_enrol", "mri_date", "hippocampus", "ventricles"), ""
    )
    rows = []
    for s in range(1, SUBJECTS + 1):
        who = {"record_id": str(s)}
        day = pd.Timestamp(2018, 2, 1) + pd.Timedelta(days=7 * s)
        rows.append(who | {"redcap_event_name": "enrollment_arm_1"} | blank | {"sex": "FM"[s % 2], "age_enrol": str(60 + s)})
        for v in range(1, 4):
            when = day + pd.Timedelta(days=360 * (v - 1) + s)
            visit = who | {"redcap_event_name": f"visit_{v}_arm_1"} | blank
            rows.append(visit | {
                "mri_date": f"{when:%Y-%m-%d}", "hippocampus": f"{rng.normal(7000, 100):.1f}",
                "ventricles": f"{rng.normal(30000, 900):.1f}",
            })  # fmt: skip
            if v == 2:
                rows += [visit | {"redcap_repeat_instrument": "adverse_event", "redcap_repeat_instance": str(k)} for k in (1, 2)]
    table = pd.DataFrame(rows)
    table.insert(len(table.columns), "mri_complete", "2")
    named = {"record_id": "Record ID", "redcap_event_name": "Event Name", "redcap_repeat_instrument": "Repeat Instrument",
             "redcap_repeat_instance": "Repeat Instance"}  # fmt: skip
    return table.rename(columns=named) if labels else table


def redcap_repeats(seed: int = 0) -> pd.DataFrame:
    """No events: a row per subject with its birth, then a row per scan and per medication as repeating instruments."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(1, SUBJECTS + 1):
        rows.append({"record_id": str(s), "dob": f"{1945 + s % 10}-03-{s:02d}", "sex": "FM"[s % 2]})
        for v in range(1, 4):
            rows.append({
                "record_id": str(s), "redcap_repeat_instrument": "mri", "redcap_repeat_instance": str(v),
                "mri_date": f"{2015 + v}-05-{s:02d}", "hippocampus": f"{rng.normal(7000, 100):.1f}",
                "ventricles": f"{rng.normal(30000, 900):.1f}",
            })  # fmt: skip
        rows.append({"record_id": str(s), "redcap_repeat_instrument": "medication", "redcap_repeat_instance": "1", "dose": "5"})
    return pd.DataFrame(rows).fillna("")


def nacc(seed: int = 0) -> pd.DataFrame:
    """Dates in three columns; 88 and 8888.888 mean not available."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(SUBJECTS):
        for v in range(3):
            rows.append({
                "NACCID": f"NACC{100000 + s}", "NACCVNUM": str(v + 1), "VISITMO": str(1 + (s + 2 * v) % 12),
                "VISITDAY": str(1 + s), "VISITYR": str(2008 + v + (s + 2 * v) // 12), "SEX": str(1 + s % 2), "BIRTHYR": "1940",
                "BIRTHMO": "5", "EDUC": "99" if s == 0 else str(10 + s % 8), "NACCAGE": str(68 + v + (s + 2 * v) // 12),
                "NACCMMSE": "88" if (s + v) % 5 == 0 else str(25 + (s + v) % 5),
                "HIPPOVOL": "88.8888" if (s, v) == (1, 1) else f"{rng.normal(6, 0.5):.4f}",
                "NACCICV": "9999.999" if (s, v) == (2, 2) else f"{1400 + s:.3f}", "CSFVOL": f"{rng.normal(300, 20):.3f}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def ppmi(seed: int = 0) -> pd.DataFrame:
    """Visit codes, and dates of month and year."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(SUBJECTS):
        for code, months in (("BL", 0), ("V04", 12), ("V06", 24), ("V10", 48)):
            when = pd.Timestamp(2011, 1 + s % 12, 15) + pd.DateOffset(months=months)
            rows.append({
                "REC_ID": f"IA{s}{months}", "PATNO": str(3000 + s), "EVENT_ID": code, "INFODT": f"{when:%m/%Y}",
                "AGE_AT_VISIT": f"{60 + s + months / 12:.1f}", "SEX": str(s % 2), "COHORT": "1",
                "CAUDATE_R": f"{rng.normal(2.5, 0.3):.3f}", "PUTAMEN_L": f"{rng.normal(1.5, 0.3):.3f}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def ucsffsx(seed: int = 0) -> pd.DataFrame:
    """ADNI's FreeSurfer table: volumes, areas, thickness and its deviation by structure."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(SUBJECTS):
        day = pd.Timestamp(2012, 3, 1) + pd.Timedelta(days=20 * s)
        for code, months in (("scmri", 0), ("m12", 12), ("m24", 24)):
            when = day + pd.Timedelta(days=round(30.44 * months) + s)
            rows.append({
                "PHASE": "ADNI2", "PTID": f"011_S_{4000 + s}", "RID": str(4000 + s), "VISCODE": f"v{months + 2:02d}",
                "VISCODE2": code, "EXAMDATE": f"{when:%Y-%m-%d}", "VERSION": "2016-02-01", "LONIUID": f"I{s}{months}",
                "IMAGEUID": str(10 * s + months), "RUNDATE": "2013-07-01", "STATUS": "complete", "OVERALLQC": "Pass",
                "ST10CV": f"{1.5e6 + 1000 * s:.0f}", "ST29SV": f"{rng.normal(3500, 200):.0f}",
                "ST88SV": f"{rng.normal(3600, 200):.0f}", "ST24TA": f"{rng.normal(3.1, 0.2):.3f}",
                "ST24SA": f"{rng.normal(400, 20):.0f}", "ST24TS": f"{rng.normal(0.6, 0.02):.3f}",
                "ST24CV": f"{rng.normal(1800, 90):.0f}", "update_stamp": "2019-11-08 14:17:03.0",
            })  # fmt: skip
    return pd.DataFrame(rows)


def berkeley(seed: int = 0) -> pd.DataFrame:
    """ADNI's amyloid PET since October 2024: subject_id, image_date, an uptake ratio and a volume per region."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(SUBJECTS):
        for v in range(3):
            when = pd.Timestamp(2013, 5, 1) + pd.Timedelta(days=9 * s + 730 * v)
            rows.append({
                "subject_id": f"011_S_{4000 + s}", "image_id": str(300 + 3 * s + v), "image_date": f"{when:%Y-%m-%d}",
                "qc_flag": "2", "CTX_LH_PRECUNEUS_SUVR": f"{rng.normal(1.2, 0.2):.3f}",
                "CTX_LH_PRECUNEUS_VOLUME": f"{rng.normal(9000, 300):.0f}", "CTX_RH_PRECUNEUS_SUVR": f"{rng.normal(1.2, 0.2):.3f}",
                "CTX_RH_PRECUNEUS_VOLUME": f"{rng.normal(9000, 300):.0f}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def oasis3(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """FreeSurfer's volumes by MR session and clinical visits on other days, from entry."""
    rng = np.random.default_rng(seed)
    scans, visits = [], []
    for s in range(SUBJECTS):
        who, age = f"OAS3{s:04d}", 60 + s
        for v in range(3):
            day = 400 * v + 3 * s
            scans.append({
                "OASISID": who, "MR_session": f"{who}_MR_d{day:04d}", "days_to_visit": str(day),
                "TOTAL_HIPPOCAMPUS_VOLUME": f"{rng.normal(7400, 200):.1f}", "VENTRICLES": f"{rng.normal(26000, 900):.1f}",
            })  # fmt: skip
            seen = day + (20 + 7 * s) * (-1) ** v
            visits.append({
                "OASISID": who, "OASIS_session_label": f"{who}_UDSb4_d{max(seen, 0):04d}", "days_to_visit": str(max(seen, 0)),
                "age at visit": f"{age + max(seen, 0) / 365.25:.4f}", "CDRTOT": str(0.5 * (v > 1)), "MMSE": str(29 - v),
            })  # fmt: skip
    return pd.DataFrame(scans), pd.DataFrame(visits)


def german_lab(seed: int = 0) -> pd.DataFrame:
    """Semicolons, decimal commas, days first, German names."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(SUBJECTS):
        for v in range(3):
            when = pd.Timestamp(2015, 3, 5) + pd.Timedelta(days=11 * s + 370 * v)
            rows.append({
                "Probanden-ID": f"P{s:03d}", "Geschlecht": "wm"[s % 2], "Alter": f"{60 + s + 1.013 * v:.1f}".replace(".", ","),
                "Untersuchungsdatum": f"{when:%d.%m.%Y}", "Diagnose": ["gesund", "MCI"][s % 2],
                "Hippocampus li": f"{rng.normal(3500, 100):.1f}".replace(".", ","),
                "Hippocampus re": f"{rng.normal(3600, 100):.1f}".replace(".", ","),
            })  # fmt: skip
    return pd.DataFrame(rows)


def synthseg(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "subject": f"/data/derivatives/sub-{s:02d}_ses-M{12 * v:03d}_T1w.nii.gz", "total intracranial": f"{1.5e6 + s:.2f}",
            "left cerebral white matter": f"{rng.normal(2.2e5, 900):.2f}", "left lateral ventricle": f"{rng.normal(9000, 90):.2f}",
            "left hippocampus": f"{rng.normal(3700, 90):.2f}",
        }
        for s in range(SUBJECTS) for v in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def qdec(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "fsid": f"OAS2_{s:04d}_MR{v + 1}", "fsid-base": f"OAS2_{s:04d}", "years": f"{1.2 * v:.3f}", "gender": "MF"[s % 2],
            "Left-Hippocampus": f"{rng.normal(3700, 90):.1f}",
        }
        for s in range(SUBJECTS) for v in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)
