"""What was forecast of some subjects, beside what came, and what would come under other courses of a covariate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crow.report import figures
from crow.report.blocks import Block, Heading, Note, Section, said
from crow.report.embed import drawn
from crow.report.figures import PANELS
from crow.report.names import without_ending
from crow.report.numbers import counted, short

WHAT_IF = (
    "The answer is what people with such a course look like in the cohort, not what an intervention would cause. "
    "Bands hold 90 % and 50 % of the draws."
)


@dataclass(frozen=True)
class Told:
    """A subject's ``forecast`` (a row a visit and region: time, age, region, median, q05, q25, q75, q95), the visits
    that it was given, the ``later`` ones that came (None where it lies in the future), and why it is shown."""

    subject: str
    given: pd.DataFrame
    forecast: pd.DataFrame
    later: pd.DataFrame | None
    why: str


@dataclass(frozen=True)
class WhatIf:
    """A subject's visits and its forecast under each course, by the name of the course."""

    subject: str
    given: pd.DataFrame
    paths: Mapping[str, pd.DataFrame]
    about: str


def forecasts_section(judged: Sequence[Told], coming: Sequence[Told], missing: Sequence[str], how: str) -> Section:
    """``judged`` were forecast from their first visits, and what came is drawn; ``coming`` lies in the future."""
    blocks: list[Block] = [Note(reason) for reason in missing]
    if judged:
        blocks += [Heading("Against what came"), said(how), *(_figure(told) for told in judged)]
    if coming:
        blocks += [Heading("Years to come"), *(_figure(told) for told in coming)]
    return Section("forecasts", "Forecasts of subjects", tuple(blocks))


def what_if_section(asked: Sequence[WhatIf], missing: str) -> Section:
    """Fans of a subject by the course of a covariate."""
    if not asked:
        return Section("what-if", "What if", (Note(missing),))
    blocks: list[Block] = [said(WHAT_IF)]
    for one in asked:
        short_of = without_ending(next(iter(one.paths.values()))["region"])
        paths = {name: _renamed(path, short_of) for name, path in one.paths.items()}
        figure = figures.trajectories(one.given.rename(columns=short_of), paths, title=f"Subject {one.subject}")
        alt = f"Forecast medians and 90 % bands of subject {one.subject} under the courses {'; '.join(one.paths)}."
        blocks.append(drawn(figure, alt, one.about))
    return Section("what-if", "What if", tuple(blocks))


def _figure(told: Told) -> Block:
    short_of = without_ending(told.forecast["region"])
    given, forecast = told.given.rename(columns=short_of), _renamed(told.forecast, short_of)
    later = None if told.later is None else told.later.rename(columns=short_of)
    regions = list(short_of.values())
    title = f"Subject {told.subject}"
    shown = regions if len(regions) <= PANELS else None
    if later is not None and shown is None:
        shown = _furthest(forecast, later)
        title += f" · the {PANELS} of {len(regions)} regions that are furthest from their forecast"
    figure = figures.trajectories(given, {"forecast": forecast}, shown, title=title, later=later)
    visits = told.forecast["time"].nunique()
    alt = f"Subject {told.subject}: {counted(len(told.given), 'visit')} given, {counted(visits, 'visit')} forecast"
    if later is not None:
        held = _inside(forecast, later)
        alt += f"; {held[0]} of {held[1]} values that came lie inside their 90 % band"
    ahead = told.forecast["time"].max() - told.given["time"].max() if len(told.given) else told.forecast["time"].max()
    return drawn(figure, f"{alt}.", f"{told.subject}: {told.why}; up to {short(float(ahead))} years ahead.")


def _renamed(forecast: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    return forecast.assign(region=forecast["region"].map(names))


def _with_truth(forecast: pd.DataFrame, later: pd.DataFrame) -> pd.DataFrame:
    regions = list(dict.fromkeys(forecast["region"]))
    truth = later.melt("time", regions, "region", "truth")
    return forecast.merge(truth, on=["time", "region"], how="inner").dropna(subset=["truth"])


def _inside(forecast: pd.DataFrame, later: pd.DataFrame) -> tuple[int, int]:
    both = _with_truth(forecast, later)
    return int(both["truth"].between(both["q05"], both["q95"]).sum()), len(both)


def _furthest(forecast: pd.DataFrame, later: pd.DataFrame) -> list[str]:
    both = _with_truth(forecast, later)
    width = np.maximum(both["q95"] - both["q05"], 1e-12)
    off: pd.Series = ((both["truth"] - both["median"]).abs() / width).groupby(both["region"]).max()
    chosen = set(off.sort_values(ascending=False).index[:PANELS])
    return [region for region in dict.fromkeys(forecast["region"]) if region in chosen]
