"""The table of scores, written some visits at a time: an outlier score compares a visit with all others."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from crow.cohort import Cohort, Finding
from crow.evaluation.outlier_score import with_outlier_scores
from crow.tables import Conventions, save_table


@dataclass(frozen=True)
class PartScores:
    """The scores of some subjects: all columns of a visit but its z-scores, these, and what else was noticed.

    ``sites`` has the sites and scanners of these visits, each once.
    """

    number: int
    visits: pd.DataFrame
    z: pd.DataFrame
    findings: list[Finding]
    gross_errors: pd.DataFrame = field(default_factory=pd.DataFrame)
    sites: pd.DataFrame = field(default_factory=pd.DataFrame)

    @classmethod
    def of(cls, number: int, scored: pd.DataFrame, cohort: Cohort, *noticed: pd.DataFrame) -> Self:
        """From all columns of the scores; ``noticed`` are ``gross_errors`` and ``sites``."""
        z = scored.filter(regex="_z$")
        return cls(number, with_largest(scored.drop(columns=z.columns), z), z, cohort.findings, *noticed)


def with_largest(visits: pd.DataFrame, z: pd.DataFrame) -> pd.DataFrame:
    """The visits with the ``region`` whose z-score is largest, and its ``z``."""
    if z.empty:
        return visits.assign(region="", z=0.0)
    known = z.fillna(0.0).to_numpy()
    largest = np.argmax(np.abs(known), axis=1)
    regions = pd.Categorical.from_codes(largest, pd.Index([str(name).removesuffix("_z") for name in z.columns]))
    return visits.assign(region=regions, z=known[np.arange(len(z)), largest])


class ScoreTable:
    """Scores as they arrive, their z-scores in files beside ``out`` until all visits are known."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._parts: dict[int, pd.DataFrame] = {}
        self._names: list[str] = []

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix=".crow-scores-", dir=self._out.absolute().parent)
        return self

    def __exit__(self, *error: Any) -> None:
        self._folder.cleanup()

    def keep(self, part: PartScores) -> PartScores:
        """Receive a part; returns it without its scores."""
        self._parts[part.number], self._names = part.visits, list(map(str, part.z.columns))
        self._file(part.number).write_bytes(part.z.to_numpy(float).tobytes())  # np.save passes over a full disk
        return replace(part, visits=pd.DataFrame(), z=pd.DataFrame())

    def write(self, path: Path, conventions: Conventions) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Write the table of all visits into ``path``; returns the visits without z-scores, and the subjects."""
        numbers = sorted(self._parts)
        sizes = [len(self._parts[number]) for number in numbers]
        visits = with_outlier_scores(pd.concat([self._parts.pop(number) for number in numbers], ignore_index=True))
        start = 0
        for number, size in zip(numbers, sizes, strict=True):
            some = visits.iloc[start : start + size].drop(columns=["region", "z"])
            values = np.fromfile(self._file(number)).reshape(size, len(self._names))
            z = pd.DataFrame(values, some.index, self._names)
            save_table(
                pd.concat([some, z], axis=1), path, self._out.suffix, digits=None, append=start > 0,
                conventions=conventions,
            )  # fmt: skip
            start += size
        return visits, _by_subject(visits)

    def _file(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number}.bin"


def _by_subject(visits: pd.DataFrame) -> pd.DataFrame:
    """One row per subject: visits, log-likelihood of the whole sequence, and per visit."""
    by_subject = visits.groupby("subject", sort=False)["log_prob"]
    subjects = pd.DataFrame(
        {"visits": by_subject.count(), "log_prob": by_subject.sum(min_count=1), "log_prob_per_visit": by_subject.mean()}
    )
    return subjects.reset_index()
