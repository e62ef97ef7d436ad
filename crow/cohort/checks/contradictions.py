"""Covariates that are constant in nearly all subjects and change in a few: a sex that is M and F."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crow.cohort import names
from crow.cohort.catalogue import CONTRADICTION
from crow.cohort.checks.rows_by_subject import RowsBySubject
from crow.cohort.parameters import MIN_CONSTANT_SHARE


def check_constants(rows: RowsBySubject) -> None:
    """A finding per contradicted covariate; ``fix`` writes the value that most of the subject's visits have."""
    for name in rows.schema.covariates:
        if not names.matches(names.CONSTANT, name):
            continue
        words = pd.Series(rows.words(name))
        codes, _ = pd.factorize(words)
        table = pd.DataFrame({"who": rows.who, "code": codes})[codes >= 0]
        span = table.groupby("who")["code"].agg(["min", "max", "size"])
        several, changing = span["size"] > 1, span["min"] != span["max"]
        if not changing.any() or changing[several].mean() > 1 - MIN_CONSTANT_SHARE:
            continue
        counts = table[table["who"].isin(span.index[changing])].value_counts(["who", "code"]).reset_index(name="count")
        best = counts.groupby("who")["count"].transform("max") == counts["count"]
        tied = counts[best].groupby("who")["code"].transform("size") > 1
        modes = counts[best][~tied].set_index("who")["code"]
        mode = pd.Series(rows.who).map(modes).to_numpy(float)
        minority = (codes >= 0) & np.isfinite(mode) & (codes != mode)
        undecided = np.isin(rows.who, counts[best]["who"][tied].unique()) & (codes >= 0)
        where = minority | undecided
        cells = rows.cells(name, where)
        if rows.fix and minority.any():
            first = {code: word for code, word in zip(codes, words, strict=True)}
            after = np.array([first.get(int(m)) if np.isfinite(m) else None for m in mode], dtype=object)
            rows.change(name, minority, after, CONTRADICTION.code)
        remedy = "--fix wrote" if rows.fix else "Correct the cells; --fix writes"
        rows.findings.add(
            CONTRADICTION,
            name,
            rows.lines[where],
            subjects=int(changing.sum()),
            cells=cells,
            remedy=f"{remedy} the value of most visits of the subject.",
        )
