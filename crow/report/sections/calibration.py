"""Whether the intervals hold as often as they say."""

from __future__ import annotations

import math

import pandas as pd

from crow.report import charts, figures
from crow.report.blocks import Block, Cell, Metric, Note, Picture, Row, Section, Table, said
from crow.report.charts import OURS
from crow.report.embed import drawn
from crow.report.evaluated import Evaluation

SHARES = (50, 80, 90, 95)


def calibration_section(evaluation: Evaluation | None, missing: str) -> Section:
    """Coverage of the central intervals, beside the other models', and the PIT."""
    name, title = "calibration", "Calibration"
    if evaluation is None or not _models(evaluation):
        return Section(name, title, (Note(missing),))
    blocks: list[Block] = [
        said(
            "Of honest forecasts, 90 % intervals hold 90 % of what comes: less is overconfidence, more is timidity. "
            "The histogram is flat where every quantile is right, a valley where bands are too narrow, a hill where "
            "too wide."
        )
    ]
    ours = {share: evaluation.number("forecast", OURS, f"coverage {share} %", share=True) for share in SHARES}
    pictures: list[Picture] = []
    ends = {share: _ends(evaluation, share) for share in SHARES}
    known = [
        (share / 100, number.value, *(end.value if end and end.value is not None else math.nan for end in ends[share]))
        for share, number in ours.items() if number and number.value is not None
    ]  # fmt: skip
    if known:
        coverage = pd.DataFrame(known, columns=["nominal", "observed", "low", "high"])
        said_so = ", ".join(f"{n:.0%} intervals hold {o:.1%}" for n, o, *_ in known)
        pictures.append(drawn(figures.calibration(coverage), f"Observed against nominal coverage: {said_so}."))
    shares = evaluation.part("calibration").get("pit")
    if isinstance(shares, list) and len(shares) > 1 and all(isinstance(s, int | float) for s in shares):
        alt = f"Histogram of the probability integral transform in {len(shares)} bins, from {min(shares):.3f} to {max(shares):.3f} a bin; flat would be {1 / len(shares):.3f}."  # noqa: E501
        pictures.append(drawn(charts.pit(shares), alt))
    if pictures:
        blocks.append(Row(tuple(pictures)))
    blocks.append(_coverage(evaluation))
    if (ks := evaluation.number("calibration", "ks")) is not None:
        blocks.append(said("The PIT is at most ", ks, " away from a uniform one (Kolmogorov-Smirnov distance)."))
    return Section(name, title, tuple(blocks))


def _models(evaluation: Evaluation) -> list[str]:
    return list(evaluation.part("forecast"))


def _coverage(evaluation: Evaluation) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for model in _models(evaluation):
        cells = [evaluation.number("forecast", model, f"coverage {share} %", share=True) for share in SHARES]
        if any(cells):
            rows.append((model, *cells))
        ends = [_ends(evaluation, share) for share in SHARES]
        if model == OURS and all(low is not None and high is not None for low, high in ends):
            rows.append(("crow, 95 % over subjects", *((low, " to ", high) for low, high in ends)))
    ours = next((k for k, row in enumerate(rows) if row[0] == OURS), None)
    header = ("model", *(f"{share} % intervals" for share in SHARES))
    return Table("Share of values inside the central intervals", header, tuple(rows), ours=ours)


def _ends(evaluation: Evaluation, share: int) -> tuple[Metric | None, Metric | None]:
    """The 95 % interval of crow's coverage."""
    low, high = (evaluation.number("calibration", f"coverage_{end}", f"{share} %", share=True) for end in ("low", "high"))
    return low, high
