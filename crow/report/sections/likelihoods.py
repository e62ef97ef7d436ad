"""Likelihood of every visit given the earlier visits, and the outliers."""

from __future__ import annotations

import pandas as pd

from crow.report.blocks import Block, Cell, Details, Note, Section, Table, paragraph
from crow.report.embed import drawn
from crow.report.numbers import counted
from crow.report.outlier_figure import outlier_scores

MAX_OUTLIERS = 20  # that are not folded


def likelihoods_section(scores: pd.DataFrame | None, source: str, missing: str = "") -> Section:
    """Log-likelihoods over time, and a table of outliers.

    ``scores`` has subject, session, time, log_prob, outlier_score and outlier, and optionally region and z: the region
    that lies furthest from its prediction. ``source`` describes the visits.
    """
    name, title = "likelihoods", "Likelihoods and outliers"
    if scores is None or scores["log_prob"].notna().sum() == 0:
        return Section(name, title, (Note(missing or "No visit has a likelihood."),))
    scores = scores[scores["log_prob"].notna()].assign(outlier=lambda table: table["outlier"].astype(bool))
    outliers = scores[scores["outlier"]].sort_values("outlier_score", ascending=False)
    alt = (
        f"Outlier score of {len(scores)} visits over the years since the first visit, with a histogram; "
        f"{len(outliers)} outliers are marked."
    )
    blocks: list[Block] = [
        paragraph(
            f"Exact log-likelihood of {source}, given the subject's earlier visits (nats, original units). The outlier "
            "score is the distance below the median in robust standard deviations, computed separately for first and "
            "for later visits. A visit with a score above 4 is an outlier."
        ),
        drawn(outlier_scores(scores.assign(session=scores["session"].fillna(""))), alt),
    ]
    if len(outliers):
        caption = f"Outliers: {counted(len(outliers), 'visit')} of {len(scores):,}"
        blocks.append(_table(outliers.head(MAX_OUTLIERS), caption))
        if len(outliers) > MAX_OUTLIERS:
            rest = _table(outliers.iloc[MAX_OUTLIERS:], "Outliers with lower scores")
            blocks.append(Details("All other outliers", (rest,)))
    else:
        blocks.append(paragraph("There are no outliers."))
    return Section(name, title, tuple(blocks))


def _table(visits: pd.DataFrame, caption: str) -> Table:
    has_region = "region" in visits
    more = ("most deviant region", "its z-score") if has_region else ()
    header = ("subject", "session", "years", "log-likelihood", "outlier score", *more)
    rows = tuple(
        (
            str(visit["subject"]), str(visit["session"]),
            *_floats(visit["time"], visit["log_prob"], visit["outlier_score"]),
            *((str(visit["region"]), *_floats(visit["z"])) if has_region else ()),
        )
        for visit in visits.to_dict("records")
    )  # fmt: skip
    return Table(caption, header, rows)


def _floats(*values: float) -> tuple[Cell, ...]:
    return tuple(float(value) for value in values)
