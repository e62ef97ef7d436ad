"""The sources of the documentation site: every page is reached, and links and examples are valid."""

from __future__ import annotations

import ast
import importlib
import json
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from crow.cli.main import app

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TREE = re.compile(r"```{toctree}\n((?::[^\n]*\n)*)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that Sphinx reads."""
    target = tmp_path_factory.mktemp("site") / "source"
    runpy.run_path(str(ROOT / "docs" / "site" / "assemble.py"))["assemble"](target)
    return target


def markdown(path: Path) -> str:
    """The text of a page or notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


def pages(site: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(site.rglob("*.md")):
        yield path, path.read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """What a heading is called in a link, as GitHub and MyST do."""
    titles = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_in_a_table_of_contents(site: Path) -> None:
    index = (site / "index.md").read_text(encoding="utf-8")
    named = {line for _, body in TREE.findall(index) for line in body.split()}
    notebooks = {str(path.relative_to(site).with_suffix("")) for path in site.rglob("*.ipynb")}
    existing = {str(path.relative_to(site).with_suffix("")) for path, _ in pages(site)} - {"index"}
    assert named - {"notebooks/*"} == existing
    assert len(notebooks) >= 6


def test_links_lead_to_pages_and_headings(site: Path) -> None:
    found = 0
    for path in sorted([*site.rglob("*.md"), *site.rglob("*.ipynb")]):
        text = markdown(path)
        for link in (one or other for one, other in LINK.findall(FENCED.sub("", text))):
            if link.startswith("https://"):
                continue
            place, _, heading = link.partition("#")
            target = path if not place else (path.parent / place).resolve()
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if heading:
                assert heading in anchors(target.read_text(encoding="utf-8")), f"{path.relative_to(site)}: {link}"
            found += 1
    assert found > 60


def options_of(name: str) -> set[str]:
    group = typer.main.get_command(app)
    command = group.commands[name]  # type: ignore[attr-defined]
    return {text for one in command.params for text in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}


def commands(site: Path) -> list[list[str]]:
    """The words of every command of crow in the pages that no other test runs."""
    found = []
    for path, text in pages(site):
        if (ROOT / "docs" / path.name).exists() and path.parent == site:
            continue
        for kind, body in BLOCK.findall(text):
            for line in body.replace("\\\n", " ").splitlines() if kind in ("bash", "console") else []:
                found += [shlex.split(part) for part in re.split(r" && |; ", line) if part.startswith("crow ")]
    return found


def test_commands_have_their_options(site: Path) -> None:
    shown = commands(site)
    assert len(shown) > 40
    for words in shown:
        flags = [word.split("=")[0] for word in words[2:] if word.startswith("-") and not word[1:2].isdigit()]
        assert set(flags) <= options_of(words[1]), words


def test_the_page_of_commands_has_every_command_and_option(site: Path) -> None:
    text = (site / "commands.md").read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    for name in group.list_commands(click.Context(group)):  # type: ignore[attr-defined]
        section = text.split(f"## crow {name}\n")[1].split("\n## ")[0]
        assert all(f"`{option}`" in section for option in options_of(name) - {"--help", "-h"})


def test_python_examples_import_what_there_is(site: Path) -> None:
    count = 0
    for path, text in pages(site):
        for kind, body in BLOCK.findall(text):
            if kind != "python":
                continue
            count += 1
            for node in ast.walk(ast.parse(body)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "crow":
                    assert hasattr(importlib.import_module("crow"), node.attr), f"{path.name}: crow.{node.attr}"
    assert count > 5


def test_the_api_page_names_what_there_is(site: Path) -> None:
    text = (site / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. auto(class|function|module):: ([\w.]+)\n(?:   :members:([\w, ]*))?", text, re.MULTILINE)
    assert len(named) > 15
    for kind, name, members in named:
        module, _, own = (name, "", "") if kind == "module" else name.rpartition(".")
        found = importlib.import_module(module)
        found = getattr(found, own) if own else found
        known = {*dir(found), *getattr(found, "__annotations__", {})}
        assert {member.strip() for member in members.split(",") if member.strip()} <= known, name
