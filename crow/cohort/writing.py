"""Visits back in the table's own columns: the reverse of reading."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from crow.cohort.schema import SCAN, Schema
from crow.cohort.times import AGES_PER_YEAR, PER_YEAR, SOME_DAY, date_text, whole_days, years_later
from crow.tables import without_formulas


def to_table(visits: pd.DataFrame, schema: Schema, start: pd.Series | None = None) -> pd.DataFrame:
    """Visits (as in `Cohort`) in the columns that ``schema`` read, one row per visit, or per subject for a wide table.

    ``start`` is each subject's first visit in the table's own time; if it is not known, the age at the first visit,
    1 January 2000, or 0. `table_text` turns the result into a file that reads back as the same visits.
    """
    visits = visits.sort_values(["subject", "time"], kind="stable").reset_index(drop=True)
    columns: dict[str, pd.Series] = {schema.subject: visits["subject"]}
    if schema.session is not None and schema.session != schema.time:
        columns[schema.session] = _sessions(visits, schema)
    columns[schema.time] = _times(visits, schema, start)
    if schema.age is not None and schema.age != schema.time:
        ages = _first_age(visits) if schema.age_is_baseline else visits["age"]
        columns[schema.age] = (ages * AGES_PER_YEAR[schema.age_unit]).round(6)
    if schema.since_baseline is not None:
        columns[schema.since_baseline] = visits["time"]
    columns |= {name: visits[name] for name in (*schema.covariates, *schema.regions)}
    if schema.scan is not None and SCAN in visits:
        columns[schema.scan] = visits[SCAN]
    table = pd.DataFrame(columns)
    return _to_wide(table, schema) if schema.layout == "wide" else table


def table_text(table: pd.DataFrame, schema: Schema) -> str:
    """A table as text, with the separator and the decimal sign of the one that was read."""
    safe = without_formulas(table)
    return safe.to_csv(index=False, sep=schema.separator, decimal=schema.decimal, lineterminator="\n")


def conventions(schema: Schema) -> dict[str, str]:
    """The separator and the decimal sign for a table of results beside the one that was read; a tab stays in .tsv."""
    separator = schema.separator if schema.separator in (",", ";") else "," if schema.decimal == "." else ";"
    return {"separator": separator, "decimal": schema.decimal}


def _first_age(visits: pd.DataFrame) -> pd.Series:
    return (visits["age"] - visits["time"]).groupby(visits["subject"]).transform("first")


def _times(visits: pd.DataFrame, schema: Schema, start: pd.Series | None) -> pd.Series:
    began = visits["subject"].map(start) if start is not None else pd.Series(np.nan, visits.index)
    if schema.time_kind == "date":
        began = pd.to_datetime(began).fillna(SOME_DAY)
        times = years_later(began, visits["time"], schema.time_kind)
        return date_text(whole_days(times, visits["subject"], began), schema.date_order, schema.date_mark)
    first = _first_age(visits) if schema.time_kind == "age" else 0.0
    own = began.astype(float).fillna(first) + visits["time"] * PER_YEAR[schema.time_kind]
    own = own * AGES_PER_YEAR[schema.age_unit] if schema.time_kind == "age" else own
    return _codes(own) if schema.time_kind == "visit" else own.round(6)


def _sessions(visits: pd.DataFrame, schema: Schema) -> pd.Series:
    if schema.adni:
        return _codes(visits["time"] * PER_YEAR["visit"])
    if schema.layout == "wide":
        return pd.Series([_wave(schema.waves, k) for k in visits.groupby("subject").cumcount()], visits.index)
    return visits["session"]


def _codes(months: pd.Series) -> pd.Series:
    return months.round().map(lambda month: "bl" if month == 0 else f"m{int(month):02d}")


def _wave(waves: list[str], number: int) -> str:
    """The label of a wave; beyond the last one, counted on."""
    if number < len(waves):
        return waves[number]
    counted = re.sub(r"\d+$", "", waves[-1])
    return f"{counted}{int(waves[-1].removeprefix(counted) or 0) + number - len(waves) + 1}"


def _to_wide(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    assert schema.session is not None and schema.template is not None
    repeated = [name for name in table.columns if name in schema.repeated]
    fixed = [name for name in table.columns if name not in (*repeated, schema.session)]
    wide = table.pivot_table(index=schema.subject, columns=schema.session, values=repeated, aggfunc="first", sort=False)
    labels = [(name, wave) for wave in table[schema.session].unique() for name in repeated]
    wide = wide.reindex(columns=pd.MultiIndex.from_tuples(labels))
    wide.columns = pd.Index([schema.template.format(name=name, wave=wave) for name, wave in labels])
    return table[fixed].drop_duplicates(schema.subject).merge(wide.reset_index(), on=schema.subject)
