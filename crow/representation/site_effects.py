"""Effects of sites and scanners on the level and scale of regions: what is added to and multiplied with every visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from crow.bijections.site_effects import SiteEstimate

Values = NDArray[np.float64]
Table = list[list[float]]
UNSEEN = -1
EFFECTS = ("level", "level_sd", "log_scale", "log_scale_sd")
Z90 = 1.6448536269514722


class SiteFactor(BaseModel):
    """One column with sites or scanners, or the combination of several: its levels, and the subjects of each."""

    columns: list[str]
    levels: list[str]
    subjects: list[int]

    @property
    def name(self) -> str:
        return " x ".join(self.columns)

    def words(self, visits: pd.DataFrame) -> pd.Series:
        """The level of each visit; NA if a column is empty."""
        return level_words(visits, self.columns)


class SiteEffects(BaseModel):
    """Random effects of sites, ``value = mean + sd (level + exp(log_scale) x)``: x is what the flow models.

    Every factor has one effect per level and region, in units of the region's sd; those of several factors add up.
    ``level`` and ``log_scale`` are ``[level, region]``, with the levels of all factors one after the other;
    ``level_sd`` and ``log_scale_sd`` are the posterior standard deviations. ``level_spread`` and ``log_scale_spread
    [factor, region]`` are the standard deviations between levels: the prior of a level that training did not have.
    """

    factors: list[SiteFactor]
    level: Table = []
    level_sd: Table = []
    log_scale: Table = []
    log_scale_sd: Table = []
    level_spread: Table = []
    log_scale_spread: Table = []
    trained: list[int] = []
    """Levels of each factor that the spreads were estimated from; others were added later."""

    @classmethod
    def of(cls, visits: pd.DataFrame, columns: Sequence[str]) -> SiteEffects | None:
        """The factors of some visits, without effects; None without a column that has two levels.

        Several columns have one more factor for their combination, unless a column has as many levels: two scanners of
        one kind at two sites differ.
        """
        factors = [_factor(visits, [name]) for name in columns]
        factors = [factor for factor in factors if len(factor.levels) > 1]
        if len(factors) > 1:
            both = _factor(visits, [name for factor in factors for name in factor.columns])
            if len(both.levels) > max(len(factor.levels) for factor in factors):
                factors.append(both)
        return cls(factors=factors) if factors else None

    def without_effects(self, regions: int) -> SiteEffects:
        """The same factors with effects of 0."""
        zero = np.zeros((sum(self.counts), regions)).tolist()
        return self.model_copy(update={"level": zero, "log_scale": zero})

    def with_effects(self, found: SiteEstimate) -> SiteEffects:
        """The same factors with the effects of an estimate."""
        update = {name: getattr(found, name).tolist() for name in (*EFFECTS, "level_spread", "log_scale_spread")}
        return self.model_copy(update=update | {"trained": self.counts})

    def with_levels_of(self, visits: pd.DataFrame) -> tuple[SiteEffects, list[list[int]]]:
        """With the levels of some visits that are new, without effects, and which rows of each factor they have."""
        parts = {name: np.split(np.array(getattr(self, name)), np.cumsum(self.counts)[:-1]) for name in EFFECTS}
        factors, rows, first = [], [], 0
        for k, factor in enumerate(self.factors):
            own = _factor(visits, factor.columns)
            new = [j for j, level in enumerate(own.levels) if level not in set(factor.levels)]
            levels = [*factor.levels, *(own.levels[j] for j in new)]
            subjects = [*factor.subjects, *(own.subjects[j] for j in new)]
            factors.append(SiteFactor(columns=factor.columns, levels=levels, subjects=subjects))
            for part in parts.values():
                part[k] = np.concatenate([part[k], np.zeros((len(new), part[k].shape[1]))])
            rows.append([*range(first + len(factor.levels), first + len(levels))])
            first += len(levels)
        effects = {name: np.concatenate(part).tolist() for name, part in parts.items()}
        return self.model_copy(update={"factors": factors, **effects}), rows

    def with_rows(self, rows: list[int], found: SiteEstimate) -> SiteEffects:
        """The same, with the effects of some levels replaced by an estimate of these."""
        update = {}
        for name in EFFECTS:
            values = np.array(getattr(self, name))
            values[rows] = getattr(found, name).numpy()
            update[name] = values.tolist()
        return self.model_copy(update=update)

    def prior(self, counts: list[int]) -> SiteEstimate:
        """That of new levels, ``counts`` of each factor: as far from the average as another level of the training.

        The average of J levels is itself uncertain, so the variance of their difference is ``1 + 1 / J`` times that
        between levels.
        """
        none = SiteEstimate.none(counts, len(self.level_spread[0]))
        spreads = torch.tensor(self.new_spread), torch.tensor(self.log_scale_spread, dtype=torch.double)
        return replace(none, level_spread=spreads[0], log_scale_spread=spreads[1])

    @property
    def new_spread(self) -> Values:
        """Prior sd of the level of an unseen site, ``[factor, region]``."""
        return np.array(self.level_spread) * np.sqrt(1 + 1 / np.array(self.trained))[:, None]

    def summary(self) -> str:
        """``site effects: SITE (57 levels, sd between levels 0.31), FLDSTRENG (2, 0.52)``."""
        spread = np.sqrt(np.square(self.level_spread).mean(1))
        parts = [
            f"{factor.name} ({len(factor.levels)} levels, their sd {each:.2f})"
            for factor, each in zip(self.factors, spread, strict=True)
        ]
        return f"site effects, in sd of a region: {', '.join(parts)}"

    def new_levels(self, visits: pd.DataFrame) -> list[str]:
        """``SITE: 099, no value``: what some visits have that training lacked, by column."""
        found = []
        for factor in self.factors:
            words = factor.words(visits)
            new = sorted(set(words.dropna()) - set(factor.levels))
            if names := [*new, *(["no value"] if words.isna().any() else [])]:
                found.append(f"{factor.name}: {', '.join(names)}")
        return found

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(name for factor in self.factors for name in factor.columns))

    @property
    def counts(self) -> list[int]:
        """Levels of each factor."""
        return [len(factor.levels) for factor in self.factors]

    def codes(self, visits: pd.DataFrame) -> NDArray[np.int64]:
        """Row of ``level`` of each visit and factor, ``[visit, factor]``; `UNSEEN` for one that training lacked."""
        codes = np.full((len(visits), len(self.factors)), UNSEEN, dtype=np.int64)
        first = 0
        for k, factor in enumerate(self.factors):
            found = pd.Index(factor.levels).get_indexer(pd.Index(factor.words(visits).astype(object)))
            codes[:, k] = np.where(found >= 0, found + first, UNSEEN)
            first += len(factor.levels)
        return codes

    def effects(self, visits: pd.DataFrame) -> tuple[Values, Values]:
        """Level and log-scale of each visit, ``[visit, region]``; an unseen level has none."""
        codes = self.codes(visits)
        return _summed(self.level, codes), _summed(self.log_scale, codes)

    def unseen(self, visits: pd.DataFrame) -> NDArray[np.bool_]:
        """Whether a visit has a level that training lacked, or none."""
        return np.asarray((self.codes(visits) == UNSEEN).any(axis=1))

    def table(self, regions: list[str], sd: list[float], levels: Sequence[int] | None = None) -> pd.DataFrame:
        """The effects, one row per level and region: shift in sd and in the table's unit, scale, and 90 % intervals."""
        of = [(factor, level, n) for factor in self.factors for level, n in zip(factor.levels, factor.subjects)]  # noqa: B905
        rows = [
            {
                "column": factor.name, "level": level, "subjects": n, "region": region,
                "shift_sd": self.level[j][d], "shift_sd_q05": self.level[j][d] - Z90 * self.level_sd[j][d],
                "shift_sd_q95": self.level[j][d] + Z90 * self.level_sd[j][d], "shift": self.level[j][d] * sd[d],
                "scale": float(np.exp(self.log_scale[j][d])),
                "scale_q05": float(np.exp(self.log_scale[j][d] - Z90 * self.log_scale_sd[j][d])),
                "scale_q95": float(np.exp(self.log_scale[j][d] + Z90 * self.log_scale_sd[j][d])),
            }
            for j, (factor, level, n) in enumerate(of)
            if levels is None or j in set(levels)
            for d, region in enumerate(regions)
        ]  # fmt: skip
        return pd.DataFrame(rows)


def level_words(visits: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """The level of each visit in one column or the combination of several; NA if one of them is empty or absent."""
    parts = [(visits[name] if name in visits else pd.Series(pd.NA, visits.index)).astype("string") for name in columns]
    words = parts[0]
    for part in parts[1:]:
        words = words + " / " + part
    return words


def _factor(visits: pd.DataFrame, columns: list[str]) -> SiteFactor:
    subjects = visits["subject"].groupby(level_words(visits, columns)).nunique()
    return SiteFactor(columns=columns, levels=[str(level) for level in subjects.index], subjects=subjects.tolist())


def _summed(effects: Table, codes: NDArray[np.int64]) -> Any:
    """The sum of each visit's effects; row -1, that of unseen levels, is 0."""
    rows = np.array(effects, dtype=float)
    rows = np.concatenate([rows, np.zeros((1, rows.shape[1]))])
    return rows[codes].sum(1)
