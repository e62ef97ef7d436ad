"""What the reader notices, collected in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType
from typing import Any, Literal

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Kind:
    """A kind of finding: its code, its severity, what it means, and the message, whose braces name facts."""

    code: str
    severity: Severity
    title: str
    template: str


@dataclass(frozen=True)
class Finding:
    """One thing the reader noticed.

    ``rows`` are line numbers of the file (the header is line 1). ``message`` tells how many rows, which ones, and what
    was done or must be done. An ``error`` makes the cohort unusable.
    """

    code: str
    severity: Severity
    message: str
    column: str | None = None
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.column}: {self.message}" if self.column and self.column not in self.message else self.message


class Findings(list[Finding]):
    """Findings in the order in which they were made; `add` puts counts and rows into the message.

    ``places`` names the rows of a cohort that is no file with lines: the visits of a BIDS tree.
    """

    places: Mapping[int, str] = MappingProxyType({})

    def add(self, kind: Kind, column: str | None = None, rows: Iterable[int] = (), **facts: Any) -> None:
        """Record a finding; ``facts`` fill the braces of the kind's template."""
        message = kind.template.format(**facts)
        if column and column in message and not any(column in str(fact) for fact in facts.values()):
            message = f"{column}: {message}"  # its name is there as a word only, such as scanner
        lines = tuple(sorted({int(row) for row in rows}))
        where = f"{at_lines(lines, self.places)}: " if lines else ""
        self.append(Finding(kind.code, kind.severity, where + message, column, lines))


def merged(parts: Iterable[Iterable[Finding]]) -> list[Finding]:
    """One finding per code and column of the parts of a table, with the rows of all; other facts are the first's.

    The findings of one part only stay as they are.
    """
    alike: dict[tuple[str, str | None], dict[int, list[Finding]]] = {}
    for number, part in enumerate(parts):
        for finding in part:
            alike.setdefault((finding.code, finding.column), {}).setdefault(number, []).append(finding)
    found = []
    for by_part in alike.values():
        same = list(chain.from_iterable(by_part.values()))
        if len(by_part) == 1:
            found += same
            continue
        first, rows = same[0], tuple(sorted({row for finding in same for row in finding.rows}))
        message = first.message.removeprefix(f"{at_lines(first.rows)}: ") if first.rows else first.message
        found.append(replace(first, message=f"{at_lines(rows)}: {message}" if rows else message, rows=rows))
    return found


def at_lines(lines: Iterable[int], places: Mapping[int, str] | None = None, most: int = 8) -> str:
    """``3 rows (lines 4, 9, 12)``, or ``2 visits (sub-01 ses-02, sub-07 ses-01)``, with the list cut after ``most``."""
    numbers = sorted(set(lines))
    shown = ", ".join(str((places or {}).get(line, line)) for line in numbers[:most])
    shown += ", ..." if len(numbers) > most else ""
    if places:
        return f"{len(numbers):,} visit{'s' if len(numbers) > 1 else ''} ({shown})"
    if len(numbers) == 1:
        return f"1 row (line {shown})"
    return f"{len(numbers):,} rows (lines {shown})"
