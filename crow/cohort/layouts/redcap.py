"""An export of REDCap: a row per event, and rows of repeating instruments among them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from crow.cohort import names
from crow.cohort.catalogue import ENROLMENT, REPEAT_ROWS
from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.layouts.known import KnownTable, by_name, filled, present
from crow.cohort.options import listed
from crow.cohort.table import Table
from crow.cohort.values import is_blank

EVENTS = ("redcap_event_name", "Event Name")
REPEATS = ("redcap_repeat_instrument", "Repeat Instrument")
INSTANCES = ("redcap_repeat_instance", "Repeat Instance")
BOOKKEEPING = ("redcap_data_access_group", "redcap_survey_identifier", "Data Access Group", "Survey Identifier")


def recognise(table: Table) -> bool:
    columns = by_name(table)
    has = present((*EVENTS, *REPEATS), columns)
    marked = [name for name in has if names.normal(name).startswith("redcap")]
    return bool(marked) or (len(has) > 1 and bool(filled(table, has[0])))


def read(table: Table, findings: Findings) -> Table:
    columns = by_name(table)
    subject = columns.get("record_id") or table.header[0]
    event = next(iter(present(EVENTS, columns)), None)
    about = [*present((*REPEATS, *INSTANCES, *BOOKKEEPING), columns)]
    frame = table.frame()
    keys = {subject, event, *about}
    finished = [name for name in frame.columns if names.normal(name).endswith("_complete")]
    data = [name for name in frame.columns if name not in keys and name not in finished]
    frame = _without_repeats(frame, subject, present((*REPEATS, *INSTANCES), columns), data, findings)
    frame = _carried(frame, subject, data, findings)
    left_out = dict.fromkeys(about, "bookkeeping of REDCap") | dict.fromkeys(finished, "whether a form is complete")
    return replace(table.with_frame(frame), layout=Layout("redcap", subject=subject, session=event, left_out=left_out))


def _without_repeats(
    frame: pd.DataFrame, subject: str, repeats: tuple[str, ...], data: list[str], findings: Findings
) -> pd.DataFrame:
    """The rows but those of repeating instruments that hold no measure that rows of events hold."""
    if not repeats:
        return frame
    repeated = ~frame[list(repeats)].apply(is_blank).all(axis=1)
    blank = frame[data].apply(is_blank)
    if not frame.loc[~repeated, subject].duplicated().any():
        return _of_one_instrument(frame, repeats[0], repeated, blank, findings)
    own = [name for name in data if not blank.loc[~repeated, name].all()]
    dates = [name for name in data if names.is_date(name)]
    measured = [name for name in (own if not repeated.all() else data) if name not in dates]
    empty = repeated & (blank[measured].all(axis=1) if measured else True)
    if not empty.any() or empty.all():
        return frame
    findings.add(REPEAT_ROWS, rows=frame.index[empty])
    return frame[~empty]


def _of_one_instrument(
    frame: pd.DataFrame, instrument: str, repeated: pd.Series, blank: pd.DataFrame, findings: Findings
) -> pd.DataFrame:
    """The rows of the instrument with most numbers, whose repeats are the visits, and those that are no repeats."""
    numbers = frame[blank.columns].apply(pd.to_numeric, errors="coerce").notna().sum(axis=1)
    most = numbers[repeated].groupby(frame[instrument][repeated]).sum()
    other = repeated & (frame[instrument] != most.idxmax())
    if other.any():
        findings.add(REPEAT_ROWS, rows=frame.index[other])
    return frame[~other]


def _carried(frame: pd.DataFrame, subject: str, data: list[str], findings: Findings) -> pd.DataFrame:
    """Subject-level values of rows without a date (enrolment) at every row of the subject; those rows then go.

    Only columns that no row with a date fills are carried: they are asked once.
    """
    dates = [name for name in data if names.is_date(name)]
    if not dates:
        return frame
    blank = frame[data].apply(is_blank)
    undated = blank[dates].all(axis=1)
    once = [name for name in data if name not in dates and blank.loc[~undated, name].all() and not blank[name].all()]
    if not undated.any() or not once or undated.all():
        return frame
    known = frame[once].mask(blank[once]).groupby(frame[subject])
    same = (known.transform("first") == frame[once]) | blank[once]
    once = [name for name in once if same[name].all()]
    frame = frame.copy()
    frame[once] = known[once].transform("first").fillna("")
    alone = undated & blank.drop(columns=once).all(axis=1)
    findings.add(ENROLMENT, rows=frame.index[alone], names=listed(once))
    return frame[~alone]


TABLE = KnownTable("REDCap", recognise, read)
