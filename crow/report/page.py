"""One HTML file that needs nothing beside it: text is escaped, pictures are inside, and nothing is asked of a network.

A content security policy says the same to the browser: no address is loaded, and no script runs but the page's own and
those of the viewers in it, known by their digest.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from crow.report.blocks import Block, Metric, More, Section, Viewer
from crow.report.numbers import short

SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)


def render(title: str, subtitle: str, sections: Sequence[Section], footer: str) -> str:
    """The page of some sections, in their order, with a table of contents."""
    environment = _environment()
    script = _source("report.js")
    scripts = [script, *(text for viewer in _viewers(sections) for text in SCRIPT.findall(viewer.html))]
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src {' '.join(sorted({_digest(text) for text in scripts}))}"
    )
    return environment.get_template("report.html").render(
        title=title, subtitle=subtitle, sections=sections, footer=footer, policy=policy,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("crow.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.tests["metric"] = lambda value: isinstance(value, Metric)
    environment.filters["short"] = short
    return environment


def _source(name: str) -> str:
    """A template as it stands in the page: it is included as it is."""
    return _environment().get_template(name).render()


def _viewers(sections: Sequence[Section]) -> Iterator[Viewer]:
    for section in sections:
        yield from _viewers_in(section.blocks)


def _viewers_in(blocks: Sequence[Block]) -> Iterator[Viewer]:
    for block in blocks:
        if isinstance(block, Viewer):
            yield block
        elif isinstance(block, More):
            yield from _viewers_in(block.blocks)


def _digest(script: str) -> str:
    text = script.replace("\r\n", "\n").replace("\r", "\n")
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
