"""Text that users read, and habits of language that it must not have."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

HABITS = {
    "people, person": r"(?<!\bgiven )\b(?:people|persons?|somebody|whom)\b",
    "invent": r"\b[Ii]nvent(?!ory)\w*",
    "judge": r"\b[Jj]udg(?:e|ed|es|ing)\b",
    "surprise": r"\bsurpris\w*",
    "a visit, for per visit": (
        r"\b(?:nats?|bits?|rows?|draws?|samples?|visits|values?|channels?|couplings?|columns?|lines?|scans?|pictures?"
        r"|numbers?|folders?|files?|months|subjects|NLL|CRPS|head|network|seconds|one)"
        r" an? (?:visit|subject|region|voxel|pixel|scan|group|member|coupling|level|wave|session|core|class|step)\b"
    ),
    "to come, what came": r"\b(?:to come|coming visits|what came|as they came|(?:that|which) came)\b",
    "kept back, kept apart": r"\b(?:kept|held) (?:back|apart)\b",
    "told": r"\btold\b",
    "leaves with": r"\b[Ll]eaves with\b",
    "teller": r"\btellers?\b",
    "unusual": r"\b[Uu]nusual\b",
    "where, for if": r"\bwhere (?:not|it cannot|they cannot|none|nothing|there (?:is|are))\b",
    "say, of software": (
        r"^Says? (?:what|how|where|which|whether|who)\b|\b(?:crow|it|which|that|report|table|file|model|finding|message|json"
        r"|README|`[\w .-]+`) says\b"
    ),
    "the like, go on with": r"\b(?:the like|their like|goes? on with|of which there)\b",
    "reckon, mend": r"\b(?:reckon|mend)(?:s|ed|ing)?\b",
    "mixed start, committee": r"\b(?:mixed start|[Cc]ommittees?)\b",
}
PATTERNS = {name: re.compile(pattern, re.MULTILINE) for name, pattern in HABITS.items()}
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def found(text: str) -> list[tuple[str, str]]:
    """Each habit of a text, with the words around it."""
    flat = re.sub(r"[ \t]*\n(?!\n)[ \t]*", " ", text)
    return [
        (name, flat[max(0, match.start() - 40) : match.end() + 30].strip())
        for name, pattern in PATTERNS.items()
        for match in pattern.finditer(flat)
    ]


def pages(root: Path) -> Iterator[tuple[str, str]]:
    """Path and text of the Markdown pages, without their code blocks."""
    for path in [*(root / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")), *sorted(root.glob("docs/*.md"))]:
        yield str(path.relative_to(root)), FENCED.sub("", path.read_text(encoding="utf-8"))


def notebooks(root: Path) -> Iterator[tuple[str, str]]:
    """Path and Markdown of the notebooks."""
    for path in sorted(root.glob("notebooks/*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                yield str(path.relative_to(root)), "".join(cell["source"])


def templates(root: Path) -> Iterator[tuple[str, str]]:
    """Path and text of the report's templates and of the presets."""
    for path in [*sorted(root.glob("crow/report/templates/*.html")), *sorted(root.glob("configs/*.yaml"))]:
        yield str(path.relative_to(root)), path.read_text(encoding="utf-8")
    yield "Makefile", (root / "Makefile").read_text(encoding="utf-8")


def strings(root: Path) -> Iterator[tuple[str, str]]:
    """Path and text of every docstring and string of the package; an f-string is one text."""
    for path in sorted(path for folder in ("crow", "pipelines", "cli") for path in root.glob(f"{folder}/**/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                inside |= {id(part) for part in node.values}
                parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
                yield f"{path.relative_to(root)}:{node.lineno}", "".join(str(part) for part in parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                yield f"{path.relative_to(root)}:{node.lineno}", node.value


def everything(root: Path) -> Iterator[tuple[str, str]]:
    """Place and text of all that users read."""
    for source in (pages, notebooks, templates, strings):
        yield from source(root)


def sentences(markdown: str) -> list[int]:
    """The number of words of each sentence of a page, without code blocks, tables, headings and pictures.

    A sentence ends at a full stop, question mark or exclamation mark before a blank, and at the end of a paragraph
    or of an item of a list.
    """
    text = re.sub(r"^(?:#.*|\|.*|!\[.*|</?\w+>.*)$", "", FENCED.sub("\n\n", markdown), flags=re.MULTILINE)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    parts = [part for block in blocks for part in re.split(r"(?<=[.?!])\)?\s+", block.strip()) if part]
    counts = [len(re.findall(r"\w[\w.'%@=/-]*|`[^`]+`", part)) for part in parts]
    return [count for count in counts if count]
