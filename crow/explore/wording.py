"""What was asked, in words, and as the command that gives the same numbers."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from crow.explore.question import Course
from crow.pipelines.covariate_paths import MEANING, changes_text

RULES = {
    "carry": "are carried forward and change as in other subjects", "linear": "continue the subject's own trend"
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """The options with which the page was started."""

    run: Path
    cohort: tuple[Path, ...]
    draws: int
    seed: int
    unit: str = ""
    subject: str | None = None


def words(subject: str, visits: int, horizon: float, course: Course) -> str:
    """One or two sentences."""
    asked = f"{subject}, {visits} visit{'s' * (visits != 1)}, {years(horizon)} ahead. "
    changes = course.changes
    if not changes:
        return f"{asked}All covariates {RULES[course.future]}."
    return f"{asked}From the last visit on: {changes_text(changes)}. All others {RULES[course.future]}. {MEANING}"


def command(source: Source, subject: str, times: list[float], course: Course, table: str | None = None) -> str:
    """The command of `crow generate` with the same draws; ``table`` is the file of a new subject."""
    return shlex.join([*_question(source, subject, times, course, table), *_random(source)])


def scan_command(source: Source, subject: str, time: float, course: Course) -> str:
    """The command of `crow generate` that writes a follow-up scan with the same draws; none for the last scan."""
    if time == 0:
        return ""
    return shlex.join([*_question(source, subject, [time], course), *_random(source), "--space", "template"])


def _question(
    source: Source, subject: str, times: list[float], course: Course, table: str | None = None
) -> list[str]:  # fmt: skip
    parts = ["crow", "generate", "--run", str(source.run)]
    for path in [table] if table is not None else source.cohort:
        parts += ["--cohort", str(path)]
    parts += _option("--subject", subject)
    parts += ["--at", ",".join(f"{time:g}" for time in times)]
    for one in course.changes:
        parts += _option("--set-covariate", f"{one.name}={one.value}" + ("" if one.at is None else f"@{one.at:g}"))
    if course.future != "carry":
        parts += ["--future-covariates", course.future]
    return parts


def _random(source: Source) -> list[str]:
    return ["--draws", str(source.draws), "--seed", str(source.seed)]


def years(value: float) -> str:
    """``1 year``, ``2.5 years``."""
    return f"{value:g} year{'' if value == 1 else 's'}"


def _option(name: str, value: str) -> list[str]:
    """An option; a value that begins with a hyphen is joined to it."""
    return [f"{name}={value}"] if value.startswith("-") else [name, value]
