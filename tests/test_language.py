"""Everything that users read is in plain English: it has none of the habits below, and its sentences are short."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from crow.cli.main import app

ROOT = Path(__file__).parents[1]

HABITS = {
    "people, person": r"\b(?:people|persons?|somebody|whom)\b",
    "invent": r"\binvent(?!ory)\w*",
    "judge": r"\bjudg(?:e|ed|es|ing)\b",
    "surprise": r"\bsurpris\w*",
    "a visit, for per visit": (
        r"\b(?:nats?|bits?|rows?|draws?|samples?|visits|values?|channels?|couplings?|columns?|lines?|scans?|pictures?"
        r"|numbers?|folders?|files?|months|subjects|NLL|CRPS|head|network|seconds|one) an?"
        r" (?:visit|subject|region|voxel|pixel|scan|group|member|coupling|level|core|wave|session|class|step)\b(?!')"
    ),
    "to come, what came": r"\b(?:to come|coming visits|what came|as they came|(?:that|which) came)\b",
    "kept back, kept apart": r"\b(?:kept|held) (?:back|apart)\b",
    "told": r"\btold\b(?! apart)",
    "leaves with": r"\bleaves with\b",
    "teller": r"\btellers?\b",
    "unusual": r"\bunusual\b",
    "where, for if": r"\bwhere (?:not|it cannot|they cannot|none|nothing|there (?:is|are))\b",
    "say, of software": (
        r"^Says? (?:what|how|where|which|whether|who)\b"
        r"|\b(?:crow|it|which|that|report|table|file|model|finding|message|README|`[\w .-]+`) says\b"
    ),
    "the like, go on with": r"\b(?:the like|their like|goes? on with|of which there)\b",
    "reckon, mend": r"\b(?:reckon|mend)(?:s|ed|ing)?\b",
    "mixed start, committee": r"\b(?:mixed start|committees?)\b",
}
# Files that quote words of others: names of columns in cohort tables, in many languages.
ALLOWED = re.compile(r"^crow/cohort/(?:names|vocabulary)\.py")
PATTERNS = {name: re.compile(pattern, re.MULTILINE | re.IGNORECASE) for name, pattern in HABITS.items()}
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
    """Path and text of the Markdown pages, without code."""
    paths = [root / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")]
    for path in [*paths, *sorted(root.glob("docs/*.md")), *sorted(root.glob("docs/site/**/*.md"))]:
        yield str(path.relative_to(root)), re.sub("`[^`]*`", "", FENCED.sub("", path.read_text(encoding="utf-8")))


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


def commands() -> list[list[str]]:
    return [[], *([name] for name in typer.main.get_command(app).commands)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("source", [pages, notebooks, templates, strings], ids=lambda source: source.__name__)
def test_no_habits(source: Callable[[Path], Iterator[tuple[str, str]]]) -> None:
    texts = [(place, text) for place, text in source(ROOT) if not ALLOWED.search(place)]
    assert len(texts) > 5
    assert [(place, *habit) for place, text in texts for habit in found(text)] == []


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_has_no_habits(command: list[str]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert shown.exit_code == 0
    assert len(shown.output) > 100
    assert found(re.sub(r"[─-╿]", " ", shown.output)) == []


def test_each_habit_is_found_in_the_old_text() -> None:
    old = (
        "Invented people. A visit is unusual where not given. 47.889 nats a visit. Visits to come, kept back; told; "
        "reckoned with a committee and the like. Judged by their surprise. crow says so. Leaves with 0. The teller."
    )
    assert {name for name, _ in found(old)} == set(HABITS)


def test_sentences_are_short() -> None:
    assert sentences("# A title\n\nOne two three. Four [five](six.md)?\n\n- seven\n- eight nine\n\n```\nten\n```") == [
        3,
        2,
        1,
        2,
    ]
    for place, _ in pages(ROOT):
        words = sentences((ROOT / place).read_text(encoding="utf-8"))
        assert sum(words) <= 20 * max(1, len(words)), f"{place}: {sum(words) / len(words):.1f} words a sentence"
        assert max(words, default=0) <= 45, place


def test_the_first_screen_of_the_readme_needs_no_jargon() -> None:
    first = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:40]).lower()
    assert "use crow if" in first
    assert re.findall(r"\b(?:nats?|innovations?|bijections?)\b", first) == []


def test_the_glossary_has_at_most_40_terms_of_one_or_two_sentences() -> None:
    rows = re.findall(
        r"^\| (?!term)(.+?) \| (.+) \|$", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert 20 <= len(rows) <= 40
    assert [term for term, _ in rows] == sorted((term for term, _ in rows), key=str.lower)
    assert [term for term, meaning in rows if not 1 <= len(re.findall(r"[.](?: |$)", meaning)) <= 2] == []
