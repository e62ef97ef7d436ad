"""Forecasts of individual subjects: beside later observations, of the future, and for paths of a covariate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crow.report import figures
from crow.report.blocks import Block, Heading, Note, Section, paragraph
from crow.report.embed import drawn
from crow.report.figures import PANELS
from crow.report.names import without_ending
from crow.report.numbers import counted, short

WHAT_IF = (
    "These forecasts describe subjects in the cohort whose covariate follows the path. They do not predict the effect "
    "of an intervention. Shaded areas are 50 and 90 % prediction intervals."
)


@dataclass(frozen=True)
class SubjectForecast:
    """A forecast of one subject.

    Attributes
    ----------
    subject : str
        The subject.
    given : DataFrame
        The visits that the model received.
    forecast : DataFrame
        One row per visit and region: time, age, region, median, q05, q25, q75, q95.
    later : DataFrame or None
        Later observed visits; None for a forecast of the future.
    description : str
        Why the subject is shown.
    data_end : float or None
        The longest follow-up of the training, in years; None if it is not known.
    band : DataFrame or None
        The intervals at more times, from the last given visit on.
    reference : tuple of str and DataFrame, or None
        Centiles of other subjects, and who these are.
    units : mapping of str to str
        The known units of regions.
    """

    subject: str
    given: pd.DataFrame
    forecast: pd.DataFrame
    later: pd.DataFrame | None
    description: str
    data_end: float | None = None
    band: pd.DataFrame | None = None
    reference: tuple[str, pd.DataFrame] | None = None
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WhatIf:
    """The visits of a subject, and its forecast for each path of a covariate, by the name of the path.

    ``bands`` are the intervals at more times; ``reference`` and ``units`` are those of `SubjectForecast`.
    """

    subject: str
    given: pd.DataFrame
    paths: Mapping[str, pd.DataFrame]
    description: str
    data_end: float | None = None
    bands: Mapping[str, pd.DataFrame] | None = None
    reference: tuple[str, pd.DataFrame] | None = None
    units: Mapping[str, str] = field(default_factory=dict)


def forecasts_section(
    observed: Sequence[SubjectForecast], future: Sequence[SubjectForecast], missing: Sequence[str], method: str
) -> Section:
    """``observed`` are forecasts of visits that were observed later, made by ``method``; ``future`` are the others."""
    blocks: list[Block] = [Note(reason) for reason in missing]
    if observed:
        blocks += [Heading("Forecasts and later observations"), paragraph(method), *(_figure(one) for one in observed)]
    if future:
        blocks += [Heading("Future"), *(_figure(one) for one in future)]
    return Section("forecasts", "Forecasts of individual subjects", tuple(blocks))


def what_if_section(what_ifs: Sequence[WhatIf], missing: str) -> Section:
    """Forecasts of a subject by path of a covariate."""
    title = "What-if forecasts"
    if not what_ifs:
        return Section("what-if", title, (Note(missing),))
    blocks: list[Block] = [paragraph(WHAT_IF)]
    for one in what_ifs:
        short_names = without_ending(next(iter(one.paths.values()))["region"])
        paths = {name: _renamed(path, short_names) for name, path in one.paths.items()}
        bands = None if one.bands is None else {name: _renamed(band, short_names) for name, band in one.bands.items()}
        figure = figures.trajectories(
            one.given.rename(columns=short_names), paths, unit=_short_units(one.units, short_names),
            title=f"Subject {one.subject}", data_end=one.data_end, bands=bands,
            reference=_short_reference(one.reference, short_names),
        )  # fmt: skip
        alt = f"Median forecasts and 90 % prediction intervals of subject {one.subject} for: {'; '.join(one.paths)}."
        blocks.append(drawn(figure, alt, one.description))
    return Section("what-if", title, tuple(blocks))


def _figure(one: SubjectForecast) -> Block:
    short_names = without_ending(one.forecast["region"])
    given, forecast = one.given.rename(columns=short_names), _renamed(one.forecast, short_names)
    later = None if one.later is None else one.later.rename(columns=short_names)
    regions = list(short_names.values())
    title = f"Subject {one.subject}"
    shown = regions if len(regions) <= PANELS else None
    if later is not None and shown is None:
        shown = _furthest(forecast, later)
        title += f" · the {PANELS} of {len(regions)} regions furthest from their forecast"
    figure = figures.trajectories(
        given, {"forecast": forecast}, shown, _short_units(one.units, short_names), title, later, one.data_end,
        None if one.band is None else {"forecast": _renamed(one.band, short_names)},
        _short_reference(one.reference, short_names),
    )  # fmt: skip
    visits = one.forecast["time"].nunique()
    alt = f"Subject {one.subject}: {counted(len(one.given), 'visit')} given, {counted(visits, 'visit')} forecast"
    inside = ""
    if later is not None:
        both = _with_truth(forecast, later)
        count = int(both["truth"].between(both["q05"], both["q95"]).sum())
        inside = f"; {count} of {len(both)} later values lie inside their 90 % prediction interval"
    ahead = one.forecast["time"].max() - one.given["time"].max() if len(one.given) else one.forecast["time"].max()
    caption = f"{one.subject}: {one.description}; up to {short(float(ahead), 2)} years ahead{inside}."
    return drawn(figure, f"{alt}{inside}.", caption)


def _renamed(forecast: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    return forecast.assign(region=forecast["region"].map(names))


def _with_truth(forecast: pd.DataFrame, later: pd.DataFrame) -> pd.DataFrame:
    regions = list(dict.fromkeys(forecast["region"]))
    truth = later.melt("time", regions, "region", "truth")
    return forecast.merge(truth, on=["time", "region"], how="inner").dropna(subset=["truth"])


def outside_intervals(forecast: pd.DataFrame, later: pd.DataFrame) -> set[str]:
    """The subjects with a later value outside its 90 % prediction interval."""
    found = set()
    for subject, own in forecast.groupby("subject"):
        both = _with_truth(own, later[later["subject"] == subject])
        if not both["truth"].between(both["q05"], both["q95"]).all():
            found.add(str(subject))
    return found


def _short_units(units: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {names[region]: unit for region, unit in units.items() if region in names}


def _short_reference(
    reference: tuple[str, pd.DataFrame] | None, names: Mapping[str, str]
) -> tuple[str, pd.DataFrame] | None:
    return None if reference is None else (reference[0], _renamed(reference[1], names))


def _furthest(forecast: pd.DataFrame, later: pd.DataFrame) -> list[str]:
    both = _with_truth(forecast, later)
    width = np.maximum(both["q95"] - both["q05"], 1e-12)
    distance: pd.Series = ((both["truth"] - both["median"]).abs() / width).groupby(both["region"]).max()
    chosen = set(distance.sort_values(ascending=False).index[:PANELS])
    return [region for region in dict.fromkeys(forecast["region"]) if region in chosen]
