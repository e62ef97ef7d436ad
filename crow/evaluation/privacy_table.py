"""Privacy audit of a synthetic table: whole records, with covariates and visit times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from crow.cohort.cohort import Cohort
from crow.evaluation.privacy_distances import COVARIATES, compare_distances
from crow.evaluation.privacy_inference import attribute_inference, membership, quasi_identifiers
from crow.evaluation.privacy_result import PrivacyAudit, Records, Values, merged

MAX_VISITS = 8  # whose times are compared
MAX_LEVELS = 50  # of a covariate


def audit_table(
    synthetic: pd.DataFrame, training: Cohort, test: Cohort, regions: list[str], seed: int = 0
) -> PrivacyAudit:
    """Audit the subjects of a synthetic table beside training and test subjects.

    Compared are whole visits (regions, age, covariates, time), and the covariates and visit times of whole subjects.
    Besides the distances there are k-anonymity, and inference of membership and of attributes. Relatives count as one
    subject. The rules are those of `crow.evaluation.privacy_result`.

    Parameters
    ----------
    synthetic : DataFrame
        Visits in the columns of `Cohort.visits`.
    training, test : Cohort
        Training and test subjects; test subjects were not used to make the table.
    regions : list of str
        The regions to compare.
    seed : int
        Seed of subsets, permutations and intervals.
    """
    encoder = RecordEncoder.fit(training, regions)
    families = [dict(zip(c.subjects, c.split_names(c.subjects), strict=True)) for c in (training, test)]
    tables: list[tuple[pd.DataFrame, dict[str, str]]] = [
        (synthetic, {}), (training.visits, families[0]), (test.visits, families[1])
    ]  # fmt: skip
    whole = [_renamed(encoder.whole(visits), family) for visits, family in tables]
    covariates = [_renamed(encoder.covariates(visits), family) for visits, family in tables]
    attributes = [encoder.attributes(visits) for visits, _ in tables]
    firsts = [encoder.first(visits) for visits, _ in tables]
    near = [_nearest(real, whole[0]) for real in whole[1:]]
    reason = "Distances to synthetic visits reveal which subjects were trained on"
    return merged([
        compare_distances(whole[0], whole[1], whole[2], "whole visits", "record_", seed),
        compare_distances(covariates[0], covariates[1], covariates[2], COVARIATES, "covariate_", seed),
        membership(near[0], near[1], "record_membership", reason, seed),
        attribute_inference(attributes[0], attributes[1], attributes[2], seed),
        quasi_identifiers(firsts[0], firsts[1], firsts[2], seed),
    ])  # fmt: skip


@dataclass(frozen=True)
class RecordEncoder:
    """Numbers in sds of the training visits, levels as indicators, and marks of what is missing."""

    regions: list[str]
    numbers: dict[str, tuple[float, float]]
    levels: dict[str, list[str]]

    @classmethod
    def fit(cls, training: Cohort, regions: list[str]) -> RecordEncoder:
        """Scales and levels of a cohort."""
        visits = training.visits
        kinds = {**training.schema.covariates, **dict.fromkeys(training.schema.sites, "categorical")}
        known = {name: kind for name, kind in kinds.items() if name in visits and visits[name].notna().any()}
        numeric = [name for name, kind in known.items() if kind == "numeric"]
        age = ["age"] if visits["age"].notna().any() and "age" not in known else []
        numbers = {}
        for name in ["time", *age, *numeric, *regions]:
            values = visits[name].astype(float)
            numbers[name] = float(values.mean()), float(values.std()) or 1.0
        words = [name for name, kind in known.items() if kind == "categorical"]
        levels = {name: sorted(visits[name].dropna().astype(str).unique()) for name in words}
        levels = {name: each for name, each in levels.items() if len(each) <= MAX_LEVELS}
        return cls(regions, numbers, levels)

    def whole(self, visits: pd.DataFrame) -> Records:
        """One record per visit with all regions."""
        complete = visits[visits[self.regions].notna().all(axis=1)]
        parts = [self._encode(complete, name) for name in [*self.numbers, *self.levels]]
        return Records(np.concatenate(parts, 1), complete["subject"].to_numpy(object))

    def covariates(self, visits: pd.DataFrame) -> Records:
        """One record per subject: number and times of its visits, first and last values of age and covariates."""
        visits = visits.sort_values(["subject", "time"], kind="stable")
        by_subject = visits.groupby("subject", sort=False)
        ends = [by_subject.head(1), by_subject.tail(1)]
        names = [name for name in [*self.numbers, *self.levels] if name not in ("time", *self.regions)]
        parts = [self._encode(end, name) for end in ends for name in names]
        position = by_subject.cumcount()
        early = visits.assign(position=position)[position < MAX_VISITS]
        wide = early.set_index(["subject", "position"])["time"].unstack()  # noqa: PD010
        times = wide.reindex(ends[0]["subject"]).reindex(columns=range(1, MAX_VISITS)).to_numpy(float)
        count = by_subject.size().reindex(ends[0]["subject"]).to_numpy(float)
        scale = self.numbers["time"][1]
        parts += [np.nan_to_num(times / scale), np.minimum(count, MAX_VISITS)[:, None]]
        return Records(np.concatenate(parts, 1), ends[0]["subject"].to_numpy(object))

    def attributes(self, visits: pd.DataFrame) -> dict[str, Values]:
        """Age, covariates and regions of each subject's first complete visit; the regions as one attribute."""
        complete = visits[visits[self.regions].notna().all(axis=1)].sort_values(["subject", "time"], kind="stable")
        first = complete.groupby("subject", sort=False).head(1)
        names = [name for name in [*self.numbers, *self.levels] if name not in ("time", *self.regions)]
        found = {name: self._encode(first, name) for name in names}
        return {**found, "the regions": np.concatenate([self._encode(first, name) for name in self.regions], 1)}

    def first(self, visits: pd.DataFrame) -> pd.DataFrame:
        """Age and levels of each subject's first visit."""
        columns = [*(["age"] if "age" in self.numbers else []), *self.levels]
        return visits.sort_values(["subject", "time"], kind="stable").groupby("subject", sort=False).head(1)[columns]

    def _encode(self, visits: pd.DataFrame, name: str) -> Values:
        if name in self.levels:
            text = visits[name].astype("string")
            shown = [(text == level).fillna(False).to_numpy(float) / 2**0.5 for level in self.levels[name]]
            return np.stack([*shown, text.isna().to_numpy(float)], 1)
        mean, sd = self.numbers[name]
        values = (visits[name].astype(float).to_numpy() - mean) / sd
        return np.stack([np.nan_to_num(values), np.isnan(values).astype(float)], 1)


def _renamed(records: Records, family: dict[str, str]) -> Records:
    names = [family.get(str(name), str(name)) for name in records.subject]
    return Records(records.values, np.array(names, dtype=object))


def _nearest(real: Records, synthetic: Records) -> NDArray[Any]:
    """Minus the distance of each subject's nearest record to a synthetic one."""
    distance = pd.Series(cdist(real.values, synthetic.values).min(1))
    return -distance.groupby(real.subject.astype(str)).min().to_numpy(float)
