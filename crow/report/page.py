"""A self-contained HTML file: text is escaped, pictures are embedded, and nothing is loaded from a network.

A content security policy enforces this in the browser: no address is loaded, and the only scripts that run are the
page's own and those of its viewers, identified by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from crow.extras import extra
from crow.report.blocks import Block, Details, Metric, Section, Viewer
from crow.report.glossary import Glossary
from crow.report.numbers import short

with extra("report"):
    from jinja2 import Environment, PackageLoader, StrictUndefined

SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)


def render(title: str, subtitle: str, sections: Sequence[Section], footer: str) -> str:
    """The page of the sections, in order, with a table of contents."""
    environment = _environment()
    script = _source("report.js")
    scripts = [script, *(text for viewer in _viewers(sections) for text in SCRIPT.findall(viewer.html))]
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src {' '.join(sorted({_digest(text) for text in scripts}))}"
    )
    return environment.get_template("report.html").render(
        title=title, subtitle=subtitle, sections=sections, footer=footer, policy=policy, glossary=Glossary(),
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
    """A template that the page includes unchanged."""
    return _environment().get_template(name).render()


def _viewers(sections: Sequence[Section]) -> Iterator[Viewer]:
    for section in sections:
        yield from _viewers_in(section.blocks)


def _viewers_in(blocks: Sequence[Block]) -> Iterator[Viewer]:
    for block in blocks:
        if isinstance(block, Viewer):
            yield block
        elif isinstance(block, Details):
            yield from _viewers_in(block.blocks)


def _digest(script: str) -> str:
    text = script.replace("\r\n", "\n").replace("\r", "\n")
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
