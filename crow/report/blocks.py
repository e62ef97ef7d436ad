"""The parts of a report: sections of blocks. They hold plain text; the page escapes it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar, Literal

from crow.report.numbers import decimals_of, fixed, percent, short
from crow.report.references import Reference


@dataclass(frozen=True)
class Metric:
    """A number of a metrics.json, shown rounded; ``path`` is its address (``forecast.crow.CRPS``) in ``file``.

    ``decimals`` are those that its interval allows, of the percentage if it is a ``share``; None if it has no interval.
    """

    value: float | None
    path: str
    file: str
    share: bool = False
    decimals: int | None = None

    @property
    def text(self) -> str:
        if self.decimals is not None:
            return fixed(self.value, self.decimals, self.share)
        digits = 4 if "NLL" in self.path.upper() else 3  # models differ by tenths of a nat at any level
        return percent(self.value) if self.share else short(self.value, digits)

    def beside(self, low: Metric, high: Metric) -> tuple[Metric, Metric, Metric]:
        """The number and the ends of its interval, with the decimals of the first digit of its half width."""
        values = [float(end.value) for end in (low, high) if end.value is not None]
        ends = [100 * value if self.share else value for value in values]
        counts = not self.share and all(float(one).is_integer() for one in (*values, self.value or 0.0))
        decimals = decimals_of(abs(ends[1] - ends[0]) / 2) if len(ends) == 2 and not counts else None
        first, second, third = (replace(one, decimals=decimals) for one in (self, low, high))
        return first, second, third


Cell = str | int | float | Metric | tuple[str | Metric | None, ...] | None
"""The content of a table cell; a tuple is joined to one text (``0.92 (0.86 to 0.97)``)."""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text and numbers."""

    kind: ClassVar[str] = "paragraph"
    parts: tuple[Cell, ...]


@dataclass(frozen=True)
class Heading:
    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Note:
    """A highlighted remark; ``tone`` also decides the word before it."""

    kind: ClassVar[str] = "note"
    text: str
    tone: Literal["missing", "warning", "good", "caution", "bad"] = "missing"


@dataclass(frozen=True)
class Tile:
    label: str
    value: Cell
    detail: tuple[Cell, ...] = ()
    tone: str = ""


@dataclass(frozen=True)
class Tiles:
    kind: ClassVar[str] = "tiles"
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Properties:
    """Names and values."""

    kind: ClassVar[str] = "properties"
    rows: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True)
class Table:
    """The first cell of a row is its name; ``strong`` are the (row, column) of bold cells, ``ours`` is crow's row."""

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
    """An image inside the page (``uri`` begins with ``data:``); ``alt`` describes it for readers who cannot see it."""

    kind: ClassVar[str] = "picture"
    uri: str
    alt: str
    caption: str = ""
    width: int = 900
    dark: bool = False


@dataclass(frozen=True)
class PictureRow:
    """Pictures side by side if there is room."""

    kind: ClassVar[str] = "row"
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Compare:
    """Named pictures of one size, two at a time overlaid behind a slider, at first the first two.

    ``label`` names their subject.
    """

    kind: ClassVar[str] = "compare"
    label: str
    pictures: tuple[tuple[str, Picture], ...]
    caption: str = ""

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All pairs of pictures, by position."""
        return list(combinations(range(len(self.pictures)), 2))


@dataclass(frozen=True)
class Viewer:
    """An HTML page inside the page, isolated from it."""

    kind: ClassVar[str] = "viewer"
    title: str
    html: str
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Text in a fixed width; with the name of a file, a link saves it."""

    kind: ClassVar[str] = "code"
    text: str
    name: str = ""

    @property
    def uri(self) -> str:
        return f"data:text/plain;charset=utf-8;base64,{base64.b64encode(self.text.encode()).decode()}"


@dataclass(frozen=True)
class References:
    """Publications with links to their DOIs."""

    kind: ClassVar[str] = "references"
    items: tuple[Reference, ...]


@dataclass(frozen=True)
class Details:
    """Blocks that are folded until a reader opens them; they are always printed."""

    kind: ClassVar[str] = "details"
    summary: str
    blocks: tuple[Block, ...]


Block = (
    Paragraph | Heading | Note | Tiles | Properties | Table | Items | Picture | PictureRow | Compare | Viewer | Code
    | Details | References
)


@dataclass(frozen=True)
class Section:
    """A section; ``name`` is its anchor (#name)."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def interval(value: Metric | None, low: Metric | None, high: Metric | None) -> Cell:
    """``0.92 (0.86 to 0.97)``; the value alone if a bound is missing."""
    if value is None or low is None or high is None:
        return value
    value, low, high = value.beside(low, high)
    return value, " (", low, " to ", high, ")"


def paragraph(*parts: Cell) -> Paragraph:
    """A paragraph of text and numbers."""
    return Paragraph(parts)


def metric_at(metrics: Mapping[str, Any], file: str, *names: str, share: bool = False) -> Metric | None:
    """The number at the path ``names`` of a metrics.json; None if there is none."""
    value: Any = metrics
    for name in names:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        return None
    return Metric(value, ".".join(names), file, share)


def numbers_of(metrics: Mapping[str, Any], file: str, *names: str) -> Iterator[tuple[str, Metric]]:
    """Every number below the path ``names``, with its remaining path in words."""
    value: Any = metrics
    for name in names:
        value = value.get(name, {}) if isinstance(value, Mapping) else {}
    yield from _below(value, file, names, ())


def _below(value: Any, file: str, path: Sequence[str], words: Sequence[str]) -> Iterator[tuple[str, Metric]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _below(item, file, (*path, str(name)), (*words, str(name).replace("_", " ")))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for k, item in enumerate(value):
            yield from _below(item, file, (*path, str(k)), (*words, str(k + 1)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield ", ".join(words), Metric(value, ".".join(path), file)
