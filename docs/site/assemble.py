"""Put the sources of the documentation site into one folder: ``assemble.py TARGET``.

The pages of docs/ stay as they are. The notebooks, the changelog and the pages of this folder join them. The page of
all commands is written from the commands themselves.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import click
import typer

from crow.cli.main import app

SITE = Path(__file__).parent
ROOT = SITE.parents[1]
MARKUP = re.compile(r"\[/?(?:bold|dim|italic)\]")


def assemble(target: Path) -> None:
    """Write the source folder of the site, in place of an earlier one."""
    if target.exists():
        shutil.rmtree(target)
    (target / "notebooks").mkdir(parents=True)
    for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.png")]:
        shutil.copy2(path, target)
    for path in ROOT.glob("notebooks/*.ipynb"):
        text = path.read_text(encoding="utf-8").replace("](../docs/", "](../")
        (target / "notebooks" / path.name).write_text(text, encoding="utf-8")
    for path in SITE.rglob("*"):
        if path.suffix in (".md", ".css") or path.name == "conf.py":
            place = target / path.relative_to(SITE)
            place.parent.mkdir(exist_ok=True)
            shutil.copy2(path, place)
    page = target / "notebooks.md"
    page.write_text(page.read_text(encoding="utf-8").replace("](../notebooks/", "](notebooks/"), encoding="utf-8")
    shutil.copy2(ROOT / "CHANGELOG.md", target / "changelog.md")
    (target / "commands.md").write_text(commands_page(), encoding="utf-8")


def commands_page() -> str:
    """Every command with its help, examples and options."""
    group = typer.main.get_command(app)
    parts = ["# Command line\n\n`crow COMMAND --help` prints the same in the terminal.\n"]
    for name in group.list_commands(click.Context(group)):  # type: ignore[attr-defined]
        command = group.commands[name]  # type: ignore[attr-defined]
        parts.append(f"## crow {name}\n\n{_help(command)}\n{_options(command)}")
    return "\n".join(parts)


def _help(command: click.Command) -> str:
    """The text of a command; its examples become code."""
    blocks = MARKUP.sub("", command.help or "").strip().split("\n\n")
    examples = [line.strip() for block in blocks if block.startswith("Example:") for line in block.splitlines()[1:]]
    words = [" ".join(block.split()) for block in blocks if not block.startswith("Example:")]
    code = ["```bash", *examples, "```", ""] if examples else []
    return "\n\n".join(words) + "\n\n" + "\n".join(code)


def _options(command: click.Command) -> str:
    """A table of the options."""
    rows = ["| option | meaning |", "|---|---|"]
    for option in command.params:
        if getattr(option, "hidden", False):
            continue
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        metavar = getattr(option, "metavar", None)
        kind = f" `{metavar}`" if metavar else ""
        text = MARKUP.sub("", getattr(option, "help", None) or "").replace("|", "\\|").replace("<", "\\<")
        needed = " Required." if option.required else ""
        rows.append(f"| {names}{kind} | {' '.join(text.split())}{needed} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
