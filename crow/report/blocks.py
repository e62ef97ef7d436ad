"""What a report is made of: sections of blocks. They hold plain text; the page escapes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal

from crow.report.numbers import percent, short


@dataclass(frozen=True)
class Metric:
    """A number of a metrics.json, shown rounded: ``place`` is the way to it (``forecast.crow.CRPS``) in ``file``."""

    value: float | None
    place: str
    file: str
    share: bool = False

    @property
    def text(self) -> str:
        return percent(self.value) if self.share else short(self.value, 4)


Cell = str | int | float | Metric | tuple[str | Metric | None, ...] | None
"""What stands at one place; several in a row make one text (``0.92 (0.86 to 0.97)``)."""


@dataclass(frozen=True)
class Words:
    """A paragraph; parts are text and numbers."""

    kind: ClassVar[str] = "words"
    parts: tuple[Cell, ...]


@dataclass(frozen=True)
class Heading:
    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Note:
    """Something to be seen at once; ``tone`` also says in words what it is."""

    kind: ClassVar[str] = "note"
    text: str
    tone: Literal["missing", "warning", "good", "caution", "bad"] = "missing"


@dataclass(frozen=True)
class Tile:
    label: str
    value: Cell
    beside: tuple[Cell, ...] = ()
    tone: str = ""


@dataclass(frozen=True)
class Tiles:
    kind: ClassVar[str] = "tiles"
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    kind: ClassVar[str] = "facts"
    rows: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True)
class Table:
    """The first cell of a row is its name; ``strong`` are the (row, column) of cells to be seen first."""

    kind: ClassVar[str] = "table"
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    strong: frozenset[tuple[int, int]] = frozenset()
    ours: int | None = None


@dataclass(frozen=True)
class Items:
    kind: ClassVar[str] = "items"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """An image inside the page (``uri`` begins with ``data:``); ``alt`` says what it shows to who cannot see it."""

    kind: ClassVar[str] = "picture"
    uri: str
    alt: str
    caption: str = ""
    width: int = 900
    dark: bool = False


@dataclass(frozen=True)
class Row:
    """Pictures side by side where there is room."""

    kind: ClassVar[str] = "row"
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Compare:
    """Named pictures of one size, two at a time laid over each other behind a slider; the first two to begin with.

    ``label`` says of what they are."""

    kind: ClassVar[str] = "compare"
    label: str
    pictures: tuple[tuple[str, Picture], ...]
    caption: str = ""

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Which can be compared, by their place: every two."""
        return list(combinations(range(len(self.pictures)), 2))


@dataclass(frozen=True)
class Viewer:
    """A whole HTML page of its own inside the page, shut off from it."""

    kind: ClassVar[str] = "viewer"
    title: str
    html: str
    caption: str = ""


@dataclass(frozen=True)
class Code:
    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class More:
    """What is folded away until asked for, and printed."""

    kind: ClassVar[str] = "more"
    summary: str
    blocks: tuple[Block, ...]


Block = Words | Heading | Note | Tiles | Facts | Table | Items | Picture | Row | Compare | Viewer | Code | More


@dataclass(frozen=True)
class Section:
    """``name`` is its place in the page's address (#name)."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def interval(value: Metric | None, low: Metric | None, high: Metric | None) -> Cell:
    """``0.92 (0.86 to 0.97)``; a dash where there is no number."""
    return value if value is None or low is None or high is None else (value, " (", low, " to ", high, ")")


def said(*parts: Cell) -> Words:
    """A paragraph of text and numbers."""
    return Words(parts)


def measured(metrics: Mapping[str, Any], file: str, *names: str, share: bool = False) -> Metric | None:
    """The number at ``names`` of a metrics.json; None where it is not there."""
    value: Any = metrics
    for name in names:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        return None
    return Metric(value, ".".join(names), file, share)


def numbers_of(metrics: Mapping[str, Any], file: str, *names: str) -> Iterator[tuple[str, Metric]]:
    """Every number below ``names``, with its name there in words."""
    value: Any = metrics
    for name in names:
        value = value.get(name, {}) if isinstance(value, Mapping) else {}
    yield from _below(value, file, names, ())


def _below(value: Any, file: str, place: Sequence[str], said: Sequence[str]) -> Iterator[tuple[str, Metric]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _below(item, file, (*place, str(name)), (*said, str(name).replace("_", " ")))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for k, item in enumerate(value):
            yield from _below(item, file, (*place, str(k)), (*said, str(k + 1)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield ", ".join(said), Metric(value, ".".join(place), file)
