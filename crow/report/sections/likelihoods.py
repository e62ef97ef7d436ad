"""How likely every visit is given those before it, and which are unusual."""

from __future__ import annotations

import pandas as pd

from crow.report import figures
from crow.report.blocks import Block, Cell, More, Note, Section, Table, said
from crow.report.embed import drawn
from crow.report.numbers import counted

SHOWN = 20


def likelihoods_section(scores: pd.DataFrame | None, whose: str, missing: str = "") -> Section:
    """``scores`` has subject, session, time, log_prob, outlier_score, unusual, and may have region and z, the region that
    lies furthest from what the subject's past predicts."""
    name, title = "likelihoods", "Likelihood of every visit"
    if scores is None or scores["log_prob"].notna().sum() == 0:
        return Section(name, title, (Note(missing or "No visit has a likelihood."),))
    scores = scores[scores["log_prob"].notna()].assign(unusual=lambda table: table["unusual"].astype(bool))
    unusual = scores[scores["unusual"]].sort_values("outlier_score", ascending=False)
    alt = (
        f"Log-likelihood of {len(scores)} visits against the years since the first visit, with their histogram; "
        f"{len(unusual)} are marked as unusual."
    )
    blocks: list[Block] = [
        said(
            f"The exact log-likelihood in nats, in the table's own units, of {whose}. A visit is unusual where it lies "
            "more than four robust standard deviations below the other first (or later) visits."
        ),
        drawn(figures.likelihoods(scores.assign(session=scores["session"].fillna(""))), alt),
    ]
    if len(unusual):
        caption = f"Unusual visits, {counted(len(unusual), 'visit')} of {len(scores):,}"
        blocks.append(_table(unusual.head(SHOWN), caption))
        if len(unusual) > SHOWN:
            blocks.append(More("The other unusual visits", (_table(unusual.iloc[SHOWN:], "Less surprising"),)))
    else:
        blocks.append(said("No visit is unusual."))
    return Section(name, title, tuple(blocks))


def _table(visits: pd.DataFrame, caption: str) -> Table:
    """``outlier_score`` is in robust standard deviations."""
    named = "region" in visits
    more = ("furthest region", "its z") if named else ()
    header = ("subject", "session", "years", "log-likelihood", "outlier_score", *more)
    rows = tuple(
        (
            str(visit["subject"]), str(visit["session"]),
            *_rounded(visit["time"], visit["log_prob"], visit["outlier_score"]),
            *((str(visit["region"]), *_rounded(visit["z"])) if named else ()),
        )
        for visit in visits.to_dict("records")
    )  # fmt: skip
    return Table(caption, header, rows)


def _rounded(*values: float) -> tuple[Cell, ...]:
    return tuple(float(value) for value in values)
