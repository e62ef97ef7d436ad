"""Calibration: whether prediction intervals contain as many observed values as they claim."""

from __future__ import annotations

import math

import pandas as pd

from crow.report import charts, figures
from crow.report.blocks import Block, Cell, Metric, Note, Picture, PictureRow, Section, Table, interval, paragraph
from crow.report.charts import OURS
from crow.report.embed import drawn
from crow.report.evaluated import Evaluation

SHARES = (50, 80, 90, 95)
INTRODUCTION = (
    "The 90 % prediction interval of a calibrated forecast contains 90 % of the observed values. Lower coverage means "
    "that the intervals are too narrow, higher coverage that they are too wide. The histogram of the probability "
    "integral transform (PIT, the share of draws below the observed value) is flat for a calibrated forecast, U-shaped "
    "if the intervals are too narrow, and hump-shaped if they are too wide."
)


def calibration_section(evaluation: Evaluation | None, missing: str) -> Section:
    """Coverage of the central intervals beside that of other models, and the PIT."""
    name, title = "calibration", "Calibration"
    if evaluation is None or not _models(evaluation):
        return Section(name, title, (Note(missing),))
    blocks: list[Block] = [paragraph(INTRODUCTION)]
    if pictures := [*_coverage_figure(evaluation), *_pit_figure(evaluation)]:
        blocks.append(PictureRow(tuple(pictures)))
    blocks.append(_coverage_table(evaluation))
    if (ks := evaluation.number("calibration", "ks")) is not None:
        blocks.append(paragraph(
            "The largest difference between the cumulative distribution of the PIT and the uniform distribution is ",
            ks, " (Kolmogorov-Smirnov statistic).",
        ))  # fmt: skip
    return Section(name, title, tuple(blocks))


def _models(evaluation: Evaluation) -> list[str]:
    return list(evaluation.part("forecast"))


def _coverage_figure(evaluation: Evaluation) -> list[Picture]:
    rows = []
    for share in SHARES:
        observed = evaluation.number("forecast", OURS, f"coverage {share} %", share=True)
        if observed is not None and observed.value is not None:
            bounds = (math.nan if end is None or end.value is None else end.value for end in _bounds(evaluation, share))
            rows.append((share / 100, observed.value, *bounds))
    if not rows:
        return []
    coverage = pd.DataFrame(rows, columns=["nominal", "observed", "low", "high"])
    numbers = ", ".join(f"{observed:.1%} at a nominal {nominal:.0%}" for nominal, observed, *_ in rows)
    return [drawn(figures.calibration(coverage), f"Observed against nominal coverage: {numbers}.")]


def _pit_figure(evaluation: Evaluation) -> list[Picture]:
    shares = evaluation.part("calibration").get("pit")
    if not isinstance(shares, list) or len(shares) < 2 or not all(isinstance(s, int | float) for s in shares):
        return []
    alt = (
        f"Histogram of the probability integral transform in {len(shares)} bins with shares from {min(shares):.3f} to "
        f"{max(shares):.3f}; a flat one would have {1 / len(shares):.3f} in each."
    )
    return [drawn(charts.pit(shares), alt)]


def _coverage_table(evaluation: Evaluation) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for model in _models(evaluation):
        cells = [evaluation.number("forecast", model, f"coverage {share} %", share=True) for share in SHARES]
        if not any(cells):
            continue
        each = [(cell, *_bounds(evaluation, share)) for cell, share in zip(cells, SHARES, strict=True)]
        rows.append((model, *(interval(*one) if model == OURS else _rounded(*one) for one in each)))
    ours = next((k for k, row in enumerate(rows) if row[0] == OURS), None)
    header = ("model", *(f"{share} % interval" for share in SHARES))
    caption = (
        "Coverage: share of observed values inside the central prediction intervals (of crow with its 95 % "
        "interval over subjects)"
    )
    return Table(caption, header, tuple(rows), ours=ours)


def _rounded(coverage: Metric | None, low: Metric | None, high: Metric | None) -> Metric | None:
    """The coverage of another model with the precision of crow's."""
    return coverage if coverage is None or low is None or high is None else coverage.beside(low, high)[0]


def _bounds(evaluation: Evaluation, share: int) -> tuple[Metric | None, Metric | None]:
    """The 95 % bootstrap interval of crow's coverage, over subjects."""
    low, high = (
        evaluation.number("calibration", f"coverage_{end}", f"{share} %", share=True) for end in ("low", "high")
    )
    return low, high
