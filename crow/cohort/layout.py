"""What a table tells by its kind: which columns play which role, in which units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crow.cohort.times import AgeUnit
from crow.cohort.visit_codes import VisitCodes


@dataclass(frozen=True)
class Layout:
    """A kind of table. Empty roles are detected from names and values; ``times`` are tried in order.

    ``clocks`` are the only columns that can be the time, if they are known. ``regions`` are the only ones that the
    table models, and ``others`` the columns that are then left out; ``left_out`` gives the reason for columns that are
    never a role by themselves. ``age_units`` are units of ages by column, ``units`` those of any column as they are
    written, and ``visit_codes`` whose codes name visits.
    """

    name: str
    adni: bool = False
    subject: str | None = None
    session: str | None = None
    age: str | None = None
    times: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    others: tuple[str, ...] = field(default=(), repr=False)
    clocks: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict, repr=False)
    categories: tuple[str, ...] = ()
    age_units: Mapping[str, AgeUnit] = field(default_factory=dict, repr=False)
    units: Mapping[str, str] = field(default_factory=dict, repr=False)
    visit_codes: VisitCodes = "plain"
