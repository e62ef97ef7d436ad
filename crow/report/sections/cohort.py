"""The cohort, and the findings of the reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crow.cohort.cohort import Cohort
from crow.extras import extra
from crow.report.blocks import Block, Cell, Details, Note, Properties, Section, Table
from crow.report.embed import drawn
from crow.report.figures import BLUE, style
from crow.report.names import common_ending
from crow.report.numbers import counted, percent, short
from crow.report.spaghetti import MAX_LINES, MAX_PANELS, group_of, spaghetti

with extra("report"):
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

TITLE = "Cohort and findings"
MAX_REGIONS = 40  # that are listed by name


def cohort_section(
    schema: Mapping[str, Any], findings: Sequence[Mapping[str, Any]], cohort: Cohort | None, missing: str = "",
    subjects: bool = True, measures: str = "Regions",
) -> Section:  # fmt: skip
    """Size, follow-up and columns of a cohort, and what the reader found.

    ``findings`` are those of the run (code, severity, column, rows). ``cohort`` is the table if it could be read again;
    otherwise ``missing`` is the reason. Without ``subjects``, messages that may name a subject are left out.
    ``measures`` says what the regions of the schema are.
    """
    blocks: list[Block] = []
    if cohort is None:
        blocks += [*([Note(missing)] if missing else []), Properties(_columns(schema, measures))]
    else:
        blocks.append(Properties((*_size(cohort), *_columns(schema, measures))))
        blocks.append(drawn(_figure(cohort), *_alt_and_caption(cohort)))
        if subjects and cohort.regions and (cohort.visits.groupby("subject").size() > 1).any():
            blocks.append(drawn(spaghetti(cohort), *_courses(cohort)))
    blocks.append(_findings(findings, cohort if subjects else None))
    if cohort is not None and any(cohort.missing.values()):
        rows = tuple((name, percent(share)) for name, share in cohort.missing.items() if share)
        table = Table("Share of the table's visits without a value", ("column", "missing"), rows)
        blocks.append(Details(f"Missing values ({counted(len(rows), 'column')})", (table,)))
    if cohort is not None and cohort.left_out:
        table = Table("Columns that the model does not use", ("column", "reason"), tuple(cohort.left_out.items()))
        blocks.append(Details(f"Columns left out ({len(cohort.left_out)})", (table,)))
    return Section("cohort", TITLE, tuple(blocks))


def _size(cohort: Cohort) -> tuple[tuple[str, Cell], ...]:
    visits = cohort.visits
    by_subject = visits.groupby("subject")
    counts, years = by_subject.size(), by_subject["time"].max()
    ages = by_subject["age"].first().dropna()
    gaps = by_subject["time"].diff().dropna()
    rows: list[tuple[str, Cell]] = [
        ("Subjects", len(counts)),
        ("Visits", f"{len(visits):,} ({counts.min()} to {counts.max()} per subject)"),
        ("Follow-up (years)", f"median {short(float(years.median()))}, maximum {short(float(years.max()))}"),
    ]
    if len(gaps):
        rows.append(("Interval between visits (years)", f"median {short(float(gaps.median()))}"))
    if len(ages):
        rows.append(("Age at the first visit (years)", f"mean {ages.mean():.1f}, {ages.min():.0f} to {ages.max():.0f}"))
    return tuple(rows)


def _columns(schema: Mapping[str, Any], measures: str) -> tuple[tuple[str, Cell], ...]:
    covariates = [f"{name} ({kind})" for name, kind in schema.get("covariates", {}).items()]
    regions = [str(name) for name in schema.get("regions", [])]
    names = ", ".join(regions[:MAX_REGIONS])
    names += f", and {len(regions) - MAX_REGIONS} more" if len(regions) > MAX_REGIONS else ""
    if ending := common_ending(regions):
        names += f" (figures omit the common ending {ending})"
    return (
        ("Layout", f"{schema.get('layout', 'unknown')} table"),
        ("Time column", f"{schema.get('time')} ({schema.get('time_kind')})"),
        ("Covariates", ", ".join(covariates) or "none"),
        (f"{measures} ({len(regions)})", names or "none"),
    )


def _findings(findings: Sequence[Mapping[str, Any]], cohort: Cohort | None) -> Block:
    header = ("finding", "severity", "column", "rows")
    if cohort is not None and [f.code for f in cohort.findings] == [one.get("code") for one in findings]:
        rows = tuple(
            (f.code, f.severity, f.column or "", len(f.rows) or "", str(f)) for f in sorted(cohort.findings, key=_rank)
        )
        return Table("Findings of the reader", (*header, "explanation"), rows)
    if not findings:
        return Table("Findings of the reader: none", header, ())
    plain = tuple(
        (str(one.get("code")), str(one.get("severity")), str(one.get("column") or ""), int(one.get("rows") or 0) or "")
        for one in findings
    )
    return Table("Findings of the reader", header, plain)


def _rank(finding: Any) -> int:
    return ("error", "warning", "info").index(finding.severity)


def _figure(cohort: Cohort) -> Figure:
    visits = cohort.visits
    counts = visits.groupby("subject").size().value_counts().sort_index()
    years = visits.groupby("subject")["time"].max()
    ages = visits.groupby("subject")["age"].first().dropna()
    with style():
        figure = Figure(figsize=(9, 2.5), layout="constrained")
        panels = figure.subplots(1, 3 if len(ages) else 2)
        panels[0].bar(counts.index, counts.to_numpy(), color=BLUE, alpha=0.7)
        panels[0].set_xlim(counts.index.min() - 1, counts.index.max() + 1)
        panels[0].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panels[0].set(xlabel="visits", ylabel="subjects")
        panels[0].set_title("Visits per subject")
        panels[1].hist(years, bins=24, color=BLUE, alpha=0.7)
        panels[1].set(xlabel="years", ylabel="subjects")
        panels[1].set_title("Follow-up")
        if len(ages):
            panels[2].hist(ages, bins=24, color=BLUE, alpha=0.7)
            panels[2].set(xlabel="years", ylabel="subjects")
            panels[2].set_title("Age at the first visit")
    return figure


def _courses(cohort: Cohort) -> tuple[str, str]:
    count = len(cohort.subjects)
    shown = f"{MAX_LINES} of {count:,}" if count > MAX_LINES else f"{count:,}"
    alt = f"One line per subject, {shown} subjects, of {min(len(cohort.regions), MAX_PANELS)} regions."
    return alt, f"Courses of {shown} subjects, each a line. Colours: {group_of(cohort)[1] or 'none'}."


def _alt_and_caption(cohort: Cohort) -> tuple[str, str]:
    counts = cohort.visits.groupby("subject").size()
    alt = (
        f"Histograms over {len(counts)} subjects: visits per subject ({counts.min()} to {counts.max()}), years from "
        "the first to the last visit, and age at the first visit."
    )
    return alt, "Number of visits, length of follow-up, and age at the first visit."
