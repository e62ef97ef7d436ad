"""The page as HTML: for the server, with its scripts as files, or as one file that opens offline."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import cache
from importlib.resources import files
from typing import Any

SCRIPTS = (
    "numbers.js", "svg.js", "chart.js", "brain.js", "source.js", "scan.js", "covariates.js", "subject.js", "save.js",
    "explore.js",
)  # fmt: skip
STYLE = "explore.css"


@cache
def text(name: str) -> str:
    """A file of the page."""
    return files("crow.explore").joinpath("static", name).read_text(encoding="utf-8")


def page() -> str:
    """The page as the server sends it."""
    scripts = "".join(f'<script src="static/{name}"></script>\n' for name in SCRIPTS)
    style = f'<link rel="stylesheet" href="static/{STYLE}">'
    return text("page.html").replace("<!-- style -->", style).replace("<!-- scripts -->", scripts)


def offline_page(content: dict[str, Any], title: str) -> str:
    """One file with all answers inside; a content security policy lets its own scripts run and nothing load."""
    scripts = [text(name) for name in SCRIPTS]
    policy = (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src {' '.join(map(_digest, scripts))}"
    )
    data = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    found = text("page.html").replace(
        "<!-- style -->",
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n<style>\n{text(STYLE)}</style>',
    )
    inline = f'<script type="application/json" id="answers">{data}</script>\n'
    inline += "".join(f"<script>{script}</script>\n" for script in scripts)
    found = found.replace("<title>crow explore</title>", f"<title>{html.escape(title)}</title>")
    return found.replace("<!-- scripts -->", inline)


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
