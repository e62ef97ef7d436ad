"""Who the cohort is, and what was found when it was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crow.cohort.cohort import Cohort
from crow.report.blocks import Block, Cell, Facts, More, Note, Section, Table
from crow.report.embed import drawn
from crow.report.figures import BLUE, style
from crow.report.names import common_ending
from crow.report.numbers import percent, short

TITLE = "Cohort and findings"
FEW = 40


def cohort_section(
    schema: Mapping[str, Any], findings: Sequence[Mapping[str, Any]], cohort: Cohort | None, missing: str = "",
    subjects: bool = True,
) -> Section:  # fmt: skip
    """``findings`` are those of the run (code, severity, column, rows); ``cohort`` is the table read again, where it is
    still there (else ``missing`` says why it is not). Without ``subjects``, no message that may name one."""
    blocks: list[Block] = []
    if cohort is None:
        blocks += [*([Note(missing)] if missing else []), Facts(_columns(schema))]
    else:
        blocks += [Facts((*_people(cohort), *_columns(schema))), drawn(_pictured(cohort), *_said(cohort))]
    blocks.append(_findings(findings, cohort if subjects else None))
    if cohort is not None and any(cohort.missing.values()):
        rows = tuple((name, percent(share)) for name, share in cohort.missing.items() if share)
        table = Table("Share of the table's visits that lack a value", ("column", "missing"), rows)
        blocks.append(More(f"Values missing in {len(rows)} columns", (table,)))
    if cohort is not None and cohort.left_out:
        table = Table("Columns without a part in the model", ("column", "reason"), tuple(cohort.left_out.items()))
        blocks.append(More(f"{len(cohort.left_out)} columns were left out", (table,)))
    return Section("cohort", TITLE, tuple(blocks))


def _people(cohort: Cohort) -> tuple[tuple[str, Cell], ...]:
    visits = cohort.visits
    by_subject = visits.groupby("subject")
    counts, years = by_subject.size(), by_subject["time"].max()
    ages = visits.groupby("subject")["age"].first().dropna()
    gaps = by_subject["time"].diff().dropna()
    rows: list[tuple[str, Cell]] = [
        ("Subjects", len(counts)),
        ("Visits", f"{len(visits):,} ({counts.min()} to {counts.max()} a subject)"),
        ("Years followed", f"{short(float(years.median()))} (median), at most {short(float(years.max()))}"),
    ]
    if len(gaps):
        rows.append(("Years between visits", f"{short(float(gaps.median()))} (median)"))
    if len(ages):
        rows.append(("Age at the first visit", f"{ages.min():.0f} to {ages.max():.0f} years, mean {ages.mean():.1f}"))
    return tuple(rows)


def _columns(schema: Mapping[str, Any]) -> tuple[tuple[str, Cell], ...]:
    covariates = [f"{name} ({kind})" for name, kind in schema.get("covariates", {}).items()]
    regions = [str(name) for name in schema.get("regions", [])]
    shown = ", ".join(regions[:FEW]) + (f", and {len(regions) - FEW} more" if len(regions) > FEW else "")
    if ending := common_ending(regions):
        shown += f" (pictures leave out their ending {ending})"
    return (
        ("Read as", f"{schema.get('layout', 'a')} table"),
        ("Time", f"{schema.get('time')} ({schema.get('time_kind')})"),
        ("Covariates", ", ".join(covariates) or "none"),
        (f"Regions ({len(regions)})", shown or "none"),
    )


def _findings(findings: Sequence[Mapping[str, Any]], cohort: Cohort | None) -> Block:
    header = ("finding", "severity", "column", "rows")
    if cohort is not None and [f.code for f in cohort.findings] == [one.get("code") for one in findings]:
        rows = tuple(
            (f.code, f.severity, f.column or "", len(f.rows) or "", str(f))
            for f in sorted(cohort.findings, key=_weight)
        )
        return Table("What the reader found", (*header, "what it means"), rows)
    if not findings:
        return Table("What the reader found: nothing", header, ())
    plain = tuple(
        (str(one.get("code")), str(one.get("severity")), str(one.get("column") or ""), int(one.get("rows") or 0) or "")
        for one in findings
    )
    return Table("What the reader found", header, plain)


def _weight(finding: Any) -> int:
    return ("error", "warning", "info").index(finding.severity)


def _pictured(cohort: Cohort) -> Figure:
    visits = cohort.visits
    counts = visits.groupby("subject").size().value_counts().sort_index()
    years = visits.groupby("subject")["time"].max()
    ages = visits.groupby("subject")["age"].first().dropna()
    with style():
        figure = Figure(figsize=(9, 2.5), layout="constrained")
        panels = figure.subplots(1, 3 if len(ages) else 2)
        panels[0].bar(counts.index, counts.to_numpy(), color=BLUE, alpha=0.7)
        panels[0].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panels[0].set(xlabel="visits", ylabel="subjects")
        panels[0].set_title("Visits a subject")
        panels[1].hist(years, bins=24, color=BLUE, alpha=0.7)
        panels[1].set(xlabel="years", ylabel="subjects")
        panels[1].set_title("From first to last visit")
        if len(ages):
            panels[2].hist(ages, bins=24, color=BLUE, alpha=0.7)
            panels[2].set(xlabel="years", ylabel="subjects")
            panels[2].set_title("Age at the first visit")
    return figure


def _said(cohort: Cohort) -> tuple[str, str]:
    counts = cohort.visits.groupby("subject").size()
    alt = (
        f"Three histograms over {len(counts)} subjects: visits a subject ({counts.min()} to {counts.max()}), years "
        "from the first to the last visit, and age at the first visit."
    )
    return alt, "Visits, years followed and age of the subjects."
