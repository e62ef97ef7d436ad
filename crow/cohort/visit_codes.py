"""Labels of visits that tell a time: months since baseline."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

import pandas as pd

from crow.cohort.values import is_blank

VisitCodes = Literal["plain", "adni", "abcd", "ppmi"]
"""Whose codes they are: ADNI-2's ``v03``, ABCD's ``02M`` and PPMI's ``V04`` mean something there alone."""

NO_VISIT = frozenset({"nv", "no visit"})
SCREENING = frozenset({"sc", "scmri", "screening"})
BASELINE = frozenset({
    "bl", "baseline", "base", "t0_baseline", "t0", "j0", "inclusion", "entry", "enrolment", "enrollment", "basal",
    "basale", "nulmeting", "eingang", "ligne de base", "linea base", "linea de base", "linha de base",
})  # fmt: skip
ADNI2_MONTHS = {"v01": 0, "v02": 0, "v03": 0, "v04": 3, "v05": 6, "v11": 12, "v21": 24, "v31": 36, "v41": 48, "v51": 60}
PPMI_MONTHS = {
    "v01": 3, "v02": 6, "v03": 9, "v04": 12, "v05": 18, "v06": 24, "v07": 30, "v08": 36, "v09": 42, "v10": 48,
    "v11": 54, "v12": 60, "v13": 72, "v14": 84, "v15": 96, "v16": 108, "v17": 120, "v18": 132, "v19": 144, "v20": 156,
    "v21": 168, "v22": 180,
}  # fmt: skip
OWN_MONTHS: dict[VisitCodes, dict[str, int]] = {"plain": {}, "adni": ADNI2_MONTHS, "abcd": {}, "ppmi": PPMI_MONTHS}
ABCD = re.compile(r"(?:ses-)?(\d\d)([AMS])")
"""ABCD since release 6: ``02A`` is year 2, ``02M`` the middle of the year that follows it, ``00S`` the screening."""
LAST_ABCD_YEAR = 11

NUMBER = r"(\d+(?:[.,]\d+)?)"
MONTH = r"(?:m|mo|mos|mth|mths|months?|monate?|mois|mes|meses|mese|mesi|maand|maanden)"
YEAR = r"(?:y|yr|yrs|years?|jahre?|ans?|annees?|anos?|anno|anni|jaar|jaren)"
WEEK = r"(?:weeks?|wks?|wochen?|semaines?|semanas?|settimana|settimane|weken)"
DAY = r"(?:days?|tage?|jours?|dias?|giorno|giorni|dag|dagen)"
BEFORE = r"(?:.*[_\-\s])?"
AFTER = r"(?:[\s_-]*(?:y|fu|f/u|follow[\s_-]?up|visit|scan|assessment))*"
COUNTED = (
    (re.compile(rf"{BEFORE}{MONTH}[\s_-]?{NUMBER}{AFTER}"), 1.0),
    (re.compile(rf"{NUMBER}[\s_-]?{MONTH}{AFTER}"), 1.0),
    (re.compile(rf"{BEFORE}{YEAR}[\s_-]?{NUMBER}{AFTER}"), 12.0),
    (re.compile(rf"{NUMBER}[\s_-]?{YEAR}{AFTER}"), 12.0),
    (re.compile(rf"{WEEK}[\s_-]?{NUMBER}{AFTER}"), 7 * 12 / 365.25),
    (re.compile(rf"{NUMBER}[\s_-]?{WEEK}{AFTER}"), 7 * 12 / 365.25),
    (re.compile(rf"{BEFORE}{DAY}[\s_-]?{NUMBER}{AFTER}"), 12 / 365.25),
    (re.compile(rf"{NUMBER}[\s_-]?{DAY}{AFTER}"), 12 / 365.25),
    (re.compile(rf"{BEFORE}d(\d{{4,5}})"), 12 / 365.25),
)
PHASE = re.compile(r"^\d_")
ARM = re.compile(r"_arm_\d+[a-z]?$|\s*\(arm \d+:.*\)$")
FIRST = re.compile(r"(?:bl|baseline)(?:[\s_-]*(?:year[\s_-]*1|visit|scan|assessment|mri))?")


def visit_months(code: str, codes: VisitCodes = "plain") -> float | None:
    """Months since baseline that a visit code tells; None for a code that tells no time (``nv``, ``uns1``, ``init``).

    ``bl``, ``sc``, ``scmri`` -> 0; ``m06``, ``M012``, ``6 months``, ``25mo``; ``y1``, ``year 1``; OASIS-3's ``d0757``
    (days); REDCap's ``month_12_arm_1`` and ABCD's ``2_year_follow_up_y_arm_1``; the codes that only a study uses if
    ``codes`` names it. A label like ``wave2`` or ``pre`` tells no time.
    """
    code = code.strip()
    if codes == "abcd" and (match := ABCD.fullmatch(code)):
        return None if match[2] == "S" else 12.0 * int(match[1]) + (6.0 if match[2] == "M" else 0.0)
    code = ARM.sub("", plain_code(code, codes))
    if code in SCREENING or code in BASELINE or FIRST.fullmatch(code):
        return 0.0
    if code in OWN_MONTHS[codes]:
        return float(OWN_MONTHS[codes][code])
    for pattern, months in COUNTED:
        if match := pattern.fullmatch(code):
            return float(match[1].replace(",", ".")) * months
    return None


def plain_code(code: str, codes: VisitCodes = "plain") -> str:
    """A code in lower case, without ``ses-``, accents and the phase that ADNI-4 writes first (``4_bl``)."""
    code = code.strip().lower().removeprefix("ses-")
    if not code.isascii():
        letters = unicodedata.normalize("NFKD", code)
        code = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return PHASE.sub("", code) if codes == "adni" else code


def whose_codes(cells: pd.Series) -> VisitCodes | None:
    """Whose codes the labels of a column are by their looks; None if they can be months as well as ABCD's years.

    ``02A`` is ABCD's; ``00M, 02M, 04M`` alone may be months 0, 2 and 4, or years 0.5, 2.5 and 4.5.
    """
    filled = cells[~is_blank(cells)]
    found = [ABCD.fullmatch(code) for code in filled.unique()]
    matches = [match for match in found if match]
    if not found or len(matches) < 0.9 * len(found):
        return "plain"
    if any(match[2] != "M" for match in matches):
        return "abcd"
    return None if max(int(match[1]) for match in matches) <= LAST_ABCD_YEAR else "plain"


def is_visit_codes(cells: pd.Series, codes: VisitCodes = "plain") -> bool:
    """Whether most filled cells are visit codes that tell a time, at more than one time."""
    filled = cells[~is_blank(cells)]
    months = code_months(filled, codes)
    return len(filled) > 0 and months.notna().mean() >= 0.5 and len(months.dropna().unique()) > 1


def code_months(cells: pd.Series, codes: VisitCodes = "plain") -> pd.Series:
    """Months since baseline, NaN for a code that tells no time."""
    return cells.map({code: visit_months(code, codes) for code in cells.dropna().unique()}).astype(float)
