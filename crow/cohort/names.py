"""What a column's name says about it, in the words that cohorts use."""

from __future__ import annotations

import re
from functools import cache

SUBJECTS = (
    "subject", "subject_id", "subjectid", "subj", "subj_id", "sub", "sub_id", "subject_label", "participant_id",
    "participant", "participantid", "participant_label", "ptid", "rid", "patient", "patient_id", "patientid", "patno",
    "individual", "individual_id", "oasisid", "oasis_id", "naccid", "eid", "person_id", "case_id", "mrn", "record_id",
    "id",
)  # fmt: skip
SESSION = re.compile(
    r"(viscode2?|visit(_?(code|name|id|label|no|num|number))?|session(_?(id|label|name))?|wave|time_?point|tp|event(_(name|id))?"
    r"|redcap_event_name|mri_id|mr_id)"
)
AGE = re.compile(r"(.*_)?(age|ageat\w*)(_.*)?|age(mri|pet|scan|visit|bl)")
NOT_AGE = re.compile(r"onset|death|diag|group|band|cat$|brain|predict|gap|delta|stage|percent|educ|retire")
DATE = re.compile(r".*(date|acq_time|datetime).*|(dos|dov|day_of_scan)")
NOT_DATE = re.compile(r"birth|dob|update|download|entry|entered|stamp|onset|death|creat|modif|(^|_)(bl|baseline)(_|$)")
YEARS = re.compile(
    r"t|time|times|years?|yrs?|follow_?up|(time|years?|yrs?)_(bl|from|since|in|to|after|of_follow|years?|yrs?).*"
    r"|(.*_)?(time|follow_?up|visit|since|delay)_(years?|yrs?)|years?_?bl"
)
MONTHS = re.compile(r"m|mo|months?(_(bl|from|since|to|after|of_follow).*)?|(.*_)?(time|follow_?up|visit|delay)_months?")
DAYS = re.compile(r"days?(_(bl|from|since|to|after|of_follow).*)?|(.*_)?(time|follow_?up|visit|delay)_days?|mr_delay")
COVARIATE = re.compile(
    r"(.*_)?(sex|gender|ptgender|m_f|educ\w*|pteducat|edu|edyrs|apoe\w*|dx\w*|diagnosis|diag|group|arm|treatment|site"
    r"|siteid|scanner|manufacturer|field_?strength|race|ptraccat|ethnic\w*|ptethcat|ptmarry|marital\w*|hand|handed\w*|ses|icv|etiv"
    r"|e_tiv|tiv|intra_?cranial\w*|smok\w*|amyloid_?status|carrier)(_.*)?"
)
CATEGORY = re.compile(
    r"(.*_)?(sex|gender|ptgender|m_f|race|ptraccat|ethnic\w*|ptethcat|ptmarry|marital\w*|site|siteid|scanner|manufacturer"
    r"|group|dx\w*|diagnosis|diag|hand|handedness|arm|treatment|apoe_?genotype)(_(id|code|bl|label|status|name))?"
)
SEX = re.compile(r"(.*_)?(sex|gender|ptgender|m_f)(_.*)?")
SITE = re.compile(r"(.*_)?(site|siteid|scanner|manufacturer)(_.*)?")
DIAGNOSIS = re.compile(r"(.*_)?(dx\w*|diagnosis|diag|group)(_.*)?")
CLINICAL = re.compile(
    r"(.*_)?(mmse|cdr\w*|adas\w*|ravlt\w*|faq\w*|moca|e_?cog\w*|gds\w*|npi\w*|updrs\w*|ldel\w*|trab\w*|trail\w*|digit\w*"
    r"|mpacc\w*|tmt\w*|bnt\w*|avlt\w*|memory|fluency|stroop|wais\w*|wms\w*|height|weight|bmi|bp|systolic|diastolic|pulse"
    r"|heart_?rate)(_.*)?"
)
LEFT_OUT = re.compile(
    r"(.*_)?(id|uid|guid|barcode|loniuid|imageuid|version|stamp|runno|path|file|filename|url|comments?|notes?|colprot"
    r"|origprot|fldstreng|fsversion|downloaded|description)(_.*)?|index|row|number|nr|column_\d+|unnamed.*"
)
SIZE = re.compile(r".*_SIZE(_.*|$)", re.IGNORECASE)


@cache
def normal(name: str) -> str:
    """``AgeMRI`` -> ``age_mri``, ``MRI ID`` -> ``mri_id``, ``M/F`` -> ``m_f``."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")


def is_age(name: str) -> bool:
    return bool(AGE.fullmatch(normal(name))) and not NOT_AGE.search(normal(name))


def is_date(name: str) -> bool:
    return bool(DATE.fullmatch(normal(name))) and not NOT_DATE.search(normal(name))


def matches(pattern: re.Pattern[str], name: str) -> bool:
    return bool(pattern.fullmatch(normal(name)))
