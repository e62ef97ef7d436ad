"""Every kind of finding, in the order in which a cohort is read. ``docs/cohorts.md`` lists them."""

from __future__ import annotations

# ruff: noqa: F403, I001  # one name for all kinds, in the order of reading
from crow.cohort.catalogue.tables import *
from crow.cohort.catalogue.times import *
from crow.cohort.catalogue.roles import *
from crow.cohort.catalogue.values import *
from crow.cohort.catalogue.visits import *
from crow.cohort.findings import Kind

KINDS: tuple[Kind, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Kind))


def markdown() -> str:
    """The catalogue as a Markdown table: code, severity, meaning, message."""
    rows = (f"| `{kind.code}` | {kind.severity} | {kind.title} | {kind.template} |" for kind in KINDS)
    return "\n".join(("| code | severity | meaning | message |", "|---|---|---|---|", *rows))
