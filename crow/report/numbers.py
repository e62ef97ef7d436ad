"""Numbers as text: short, and never with more digits than they have."""

from __future__ import annotations

import math

MAX_DECIMALS = 6


def short(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits; integers in full, thousands separated; a dash for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float) and math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if float(value).is_integer() and abs(value) < 1e15:
        return _minus(f"{int(value):,}")
    size = abs(value)
    if size >= 1000:
        return _minus(f"{value:,.0f}")
    if size < 1e-4:
        return _minus(f"{value:.1e}")
    return _minus(f"{value:.{max(0, digits - 1 - math.floor(math.log10(size)))}f}")


def fixed(value: float | None, decimals: int, share: bool = False) -> str:
    """A number, or a share in percent, with so many decimals; a dash for None and NaN."""
    if value is None or not math.isfinite(value):
        return short(value)
    text = f"{100 * value if share else value:,.{decimals}f}"
    text = text.replace("-", "") if not text.strip("-0.,") else text
    return _minus(f"{text} %" if share else text)


def decimals_of(uncertainty: float) -> int | None:
    """The decimals down to the first digit of an uncertainty: 2 of 0.05, 0 of 7; None if it is 0 or not known."""
    if not math.isfinite(uncertainty) or uncertainty <= 0:
        return None
    return min(max(0, -math.floor(math.log10(uncertainty))), MAX_DECIMALS)


def percent(value: float | None) -> str:
    """A share in percent, with one decimal unless it is an integer."""
    if value is None or math.isnan(value):
        return "–"
    text = f"{100 * value:.1f}"
    return _minus(f"{text.removesuffix('.0')} %")


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 visit``, ``2,000 visits``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text
