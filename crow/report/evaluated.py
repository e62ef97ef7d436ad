"""An evaluation folder that crow evaluate wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crow.errors import RunError
from crow.report.blocks import Metric, Picture, metric_at, numbers_of
from crow.tables import with_formulas

FORMAT = 1
NAMES = ("subject", "session", "region", "model", "by", "group", "contrast", "stem", "which")


@dataclass(frozen=True)
class Evaluation:
    """An evaluation: ``metrics`` is the content of metrics.json; tables are read when they are needed."""

    folder: Path
    metrics: dict[str, Any]

    @property
    def file(self) -> str:
        return f"{self.folder.name}/metrics.json"

    def number(self, *names: str, share: bool = False) -> Metric | None:
        """The number at the path ``names`` of metrics.json; None if there is none."""
        return metric_at(self.metrics, self.file, *names, share=share)

    def numbers(self, *names: str) -> Iterator[tuple[str, Metric]]:
        """Every number below the path ``names``, with its remaining path in words."""
        return numbers_of(self.metrics, self.file, *names)

    def part(self, name: str) -> dict[str, Any]:
        """A group of metrics.json; empty if it was left out."""
        value = self.metrics.get(name)
        return value if isinstance(value, dict) else {}

    def table(self, name: str, *columns: str) -> pd.DataFrame | None:
        """``<name>.csv``; None if there is none. Raises RunError if it cannot be read or lacks a column."""
        path = self.folder / f"{name}.csv"
        if not path.is_file():
            return None
        try:
            text = dict.fromkeys(NAMES, str)
            table = with_formulas(pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""]))
        except (ValueError, OSError) as error:
            raise RunError(f"{path}: cannot be read: {error}. Run crow evaluate again with --overwrite.") from None
        if absent := [column for column in columns if column not in table]:
            raise RunError(f"{path}: has no column {', '.join(absent)}. Run crow evaluate again with --overwrite.")
        for column in table.columns.intersection(list(NAMES)):
            table[column] = table[column].fillna("")
        if "outlier" in table:
            table["outlier"] = table["outlier"].astype(str) == "True"
        return table

    def picture(self, name: str, alt: str, caption: str = "", dark: bool = False) -> Picture | None:
        """A PNG of the folder; None if there is none, or if it lies outside the folder."""
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            return None
        from crow.report.embed import png

        return png(path, alt, caption, dark)

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """What was not evaluated, and the reason."""
        found = self.metrics.get("left_out") or []
        return [(str(one.get("metric", "")), str(one.get("reason", ""))) for one in found if isinstance(one, dict)]

    @property
    def warnings(self) -> list[str]:
        return [str(one) for one in self.metrics.get("warnings") or []]


def read_evaluation(folder: Path) -> Evaluation | None:
    """The evaluation in a folder, None if there is none; raises RunError if it is damaged or too new."""
    path = folder / "metrics.json"
    if not path.is_file():
        return None
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read: {error}. Run crow evaluate again with --overwrite.") from None
    found = metrics.get("format") if isinstance(metrics, dict) else None
    if not isinstance(found, int):
        raise RunError(f"{path}: not a metrics.json of crow evaluate. Give the folder that crow evaluate wrote.")
    if found > FORMAT:
        raise RunError(
            f"{path}: format {found} is newer than {FORMAT}, the format that this version reads. Install a newer crow."
        )
    return Evaluation(folder, metrics)
