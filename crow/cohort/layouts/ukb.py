"""UK Biobank: one row per subject, one column per field, instance and array.

A field is written ``25019-2.0`` (showcase), ``f.25019.2.0`` (R), ``x25019_2_0``, ``p25019_i2`` (research analysis
platform, also ``participant.p25019_i2``), ``hippocampus_f25019_2_0`` or ``Volume of hippocampus (left) | Instance 2``.
An instance is a visit.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from crow.cohort.catalogue import INSTANCES, NO_INSTANCE
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, mostly
from crow.cohort.names import is_age, is_date, normal
from crow.cohort.options import listed
from crow.cohort.table import Table
from crow.cohort.values import is_blank

COLUMN = re.compile(
    r"(?:[fFxX]?[._]?(?P<show>\d+)[-._](?P<showi>\d+)[._](?P<showa>\d+)"
    r"|(?:participant\.)?p(?P<rap>\d+)(?:_i(?P<rapi>\d+))?(?:_a(?P<rapa>\d+))?"
    r"|(?P<words>\w+)_f(?P<tool>\d+)_(?P<tooli>\d+)_(?P<toola>\d+)"
    r"|(?P<title>.+?) \| Instance (?P<titlei>\d+)(?: \| Array (?P<titlea>\d+))?)"
)
SUBJECTS = {"eid", "participant_eid", "f_eid", "participant_id", "n_eid"}
NUMBER = re.compile(r"\d{6,8}")
AGE, DATE, SITE = 21003, 53, 54
WHEN = {AGE, DATE, SITE, 55, 21022, 34, 52}
"""Fields that tell when and where a visit was, and no measure."""
REFUSED = {"-1", "-3", "-818", "-121", "-11", "-13"}
"""Do not know, prefer not to answer."""
QUALITY = (*range(25734, 25743), *range(25756, 25760), 25921, 25922, 25923, 25924, 12139, 12188, 12187)
TITLES = {
    31: "sex", 34: "year_of_birth", 52: "month_of_birth", AGE: "age", DATE: "date", SITE: "site",
    21022: "age_at_recruitment", 21000: "ethnicity", 21001: "bmi", 22001: "genetic_sex", 845: "education_age",
    20116: "smoking_status", 20016: "fluid_intelligence",
    25000: "head_scaling", 25001: "cortical_grey_matter_normalised", 25002: "cortical_grey_matter",
    25003: "ventricular_csf_normalised", 25004: "ventricular_csf", 25005: "grey_matter_normalised",
    25006: "grey_matter",
    25007: "white_matter_normalised", 25008: "white_matter", 25009: "brain_normalised", 25010: "brain",
    25011: "thalamus_left", 25012: "thalamus_right", 25013: "caudate_left", 25014: "caudate_right",
    25015: "putamen_left", 25016: "putamen_right", 25017: "pallidum_left", 25018: "pallidum_right",
    25019: "hippocampus_left", 25020: "hippocampus_right", 25021: "amygdala_left", 25022: "amygdala_right",
    25023: "accumbens_left",
    25024: "accumbens_right", 25025: "brainstem", 25781: "white_matter_hyperintensities",
    26521: "intracranial_volume", 26562: "hippocampus_left_aseg", 26593: "hippocampus_right_aseg",
}  # fmt: skip
SESSION = "instance"
RECRUITMENT = "an age at recruitment, years before the scans"


class Field(NamedTuple):
    """A column taken apart: its measure, field number (None if the name has a title only), instance and array."""

    name: str
    number: int | None
    instance: int | None


def recognise(table: Table) -> bool:
    subject = _subject(table)
    if subject is None or not mostly(table, subject, NUMBER):
        return False
    fields = [field for name in table.header if name != subject and (field := parse(name))]
    return len(fields) >= 2 and any(field.instance is not None for field in fields)


def parse(column: str) -> Field | None:
    """A column's field and instance; None for a column that is no field."""
    match = COLUMN.fullmatch(column)
    if match is None:
        return None
    groups = match.groupdict()
    for kind in ("show", "rap", "tool", "title"):
        if groups[kind] is None:
            continue
        instance, array = groups[f"{kind}i"], int(groups[f"{kind}a"] or 0)
        number = None if kind == "title" else int(groups[kind])
        name = groups["title"] if number is None else _title(number, groups["words"] if kind == "tool" else None)
        return Field(f"{name}_a{array}" if array else name, number, None if instance is None else int(instance))
    return None


def read(table: Table, findings: Findings) -> Table:
    subject = _subject(table)
    assert subject is not None
    frame = table.frame().rename(columns={subject: "eid"})
    places: dict[str, dict[int | None, str]] = defaultdict(dict)
    numbers: dict[str, int | None] = {}
    for column in frame.columns.drop("eid"):
        field = parse(column) or Field(column, None, None)
        places[field.name][field.instance] = column
        numbers[field.name] = field.number
    moving = {name for name, columns in places.items() if len(columns) > 1}
    moving |= {name for name, columns in places.items() if numbers[name] in (AGE, DATE, SITE) and None not in columns}
    measures = {name for name in moving if numbers[name] not in WHEN and not (is_age(name) or is_date(name))}
    if not measures:
        return _layout(table.with_frame(_named(frame, places)), numbers)
    instances = sorted({i for name in measures for i in places[name] if i is not None})
    long = _long(frame, places, moving, instances)
    attended = ~long[sorted(measures)].apply(is_blank).all(axis=1)
    findings.add(
        INSTANCES,
        count=len(measures),
        names=listed(sorted(measures)),
        instances=listed(map(str, instances)),
        absent=int((~attended).sum()),
    )
    left = sorted({i for name in moving for i in places[name] if i is not None} - set(instances))
    if left:
        findings.add(NO_INSTANCE, instances=listed(map(str, left)))
    return _layout(table.with_frame(_refused(long[attended])), numbers)


def _subject(table: Table) -> str | None:
    return next((name for name in table.header if normal(name) in SUBJECTS), None)


def _title(number: int, words: str | None) -> str:
    title = TITLES.get(number, words)
    return f"{title}_{number}" if title else str(number)


def _named(frame: pd.DataFrame, places: dict[str, dict[int | None, str]]) -> pd.DataFrame:
    return frame.rename(columns={column: name for name, columns in places.items() for column in columns.values()})


def _long(
    frame: pd.DataFrame, places: dict[str, dict[int | None, str]], moving: set[str], instances: list[int]
) -> pd.DataFrame:
    """A row per subject and instance; a field of one instance is the same at all."""
    parts = []
    for instance in instances:
        part = {"eid": frame["eid"], SESSION: pd.Series(str(instance), frame.index)}
        for name, columns in places.items():
            if name not in moving:
                part[name] = frame[next(iter(columns.values()))]
            else:
                part[name] = frame[columns[instance]] if instance in columns else pd.Series("", frame.index)
        parts.append(pd.DataFrame(part))
    return pd.concat(parts).sort_index(kind="stable")


def _refused(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the codes for a refused answer, in columns where no other number is negative."""
    for name in frame.columns.drop(["eid", SESSION]):
        negative = {cell for cell in frame[name].unique() if cell.startswith("-")}
        if negative and negative <= REFUSED:
            frame[name] = frame[name].mask(frame[name].isin(negative), "")
    return frame


def _layout(table: Table, numbers: dict[str, int | None]) -> Table:
    names = {number: name for name, number in numbers.items() if number is not None and name in table.header}
    titled = [name for name, number in numbers.items() if number is None and name in table.header]
    dates = [names[DATE]] if DATE in names else [name for name in titled if is_date(name)][:1]
    ages = [names[AGE]] if AGE in names else [name for name in titled if is_age(name)][:1]
    left_out = {name: RECRUITMENT for name, number in numbers.items() if number == 21022 and name in table.header}
    quality = [name for name, number in numbers.items() if number in QUALITY and name in table.header]
    layout = Layout(
        "ukb",
        subject="eid",
        session=SESSION if SESSION in table.header else None,
        age=next(iter(ages), None),
        times=(*dates, *ages),
        left_out=left_out | dict.fromkeys(quality, "quality or position of the scan"),
    )
    return replace(table, layout=layout)


TABLE = KnownTable("UK Biobank", recognise, read)
