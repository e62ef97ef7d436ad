"""Numbers that stand for a missing value: -4, 999, -99999."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crow.cohort.parameters import (
    MIN_CODE_QUARTILES,
    MIN_CODE_RANGES,
    MIN_CODE_REPEATS,
    MIN_CODE_SPIKE,
    MIN_SMALL_CODE_RANGES,
    MIN_STRANGE_RANGES,
    NEARBY_CODES,
    NEGATIVE_CODES,
    POSITIVE_CODES,
)


class Codes(NamedTuple):
    """``usual`` and ``far`` codes are missing; ``doubtful`` ones are kept as values."""

    usual: tuple[float, ...] = ()
    far: tuple[float, ...] = ()
    doubtful: tuple[float, ...] = ()


def find_codes(values: NDArray[np.floating], adni: bool = False, time: bool = False) -> Codes:
    """The codes of a column of numbers.

    Usual: all negative numbers of the column are known codes, and the table is ADNI's, or the others are all positive,
    or are counts that reach 5. In a column of times, -1 to -9 are never codes. Far: a known code, or any repeated
    number, that lies far from all others; or a known code that repeats in a column of measurements that do not.
    """
    numbers = values[np.isfinite(values)]
    if not len(numbers):
        return Codes()
    usual, doubtful = _usual(numbers, adni, time)
    rest = numbers[~np.isin(numbers, usual)]
    far, unsure = _far(rest, time)
    return Codes(usual, far, tuple(code for code in dict.fromkeys((*doubtful, *unsure)) if code not in far))


def _usual(numbers: NDArray[np.floating], adni: bool, time: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    negative = numbers[numbers < 0]
    known = [code for code in NEGATIVE_CODES if not (time and code in NEARBY_CODES)]
    if not len(negative) or not np.isin(negative, known).all():
        return (), ()
    found = tuple(sorted({float(code) for code in negative}, reverse=True))
    others = numbers[numbers >= 0]
    if not len(others):
        return (), ()
    counts = bool((others % 1 == 0).all()) and others.max() >= 5
    return (found, ()) if adni or bool((others > 0).all()) or counts or time else ((), found)


def _far(numbers: NDArray[np.floating], time: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Codes far from all other values, and those that are not far enough to be sure."""
    candidates = {*POSITIVE_CODES, *NEGATIVE_CODES} - ({*NEARBY_CODES, 9.0} if time else set())
    is_code = np.isin(numbers, list(candidates))
    core = numbers[~is_code]
    if not len(core) or not (is_code.any() or _has_tail(core)):
        return (), ()
    levels, counts = np.unique(core, return_counts=True)
    strange = _strange(levels, counts)
    kept = ~np.isin(levels, strange)
    levels, counts = levels[kept], counts[kept]
    far, doubtful = list(strange), []
    for code, count in zip(*np.unique(numbers[is_code], return_counts=True), strict=True):
        distance = np.abs(levels - code).min() * ((code < levels[0]) | (code > levels[-1]))
        sure, perhaps = _limits(float(code), levels, counts)
        spike = count >= MIN_CODE_REPEATS and _is_spike(int(count), levels, counts)
        if distance >= sure > 0 or spike:
            far.append(float(code))
        elif distance >= perhaps > 0:
            doubtful.append(float(code))
    return tuple(sorted(far)), tuple(sorted(doubtful))


def _limits(code: float, levels: NDArray[np.floating], counts: NDArray[np.integer]) -> tuple[float, float]:
    """The distances from which a code is missing, and from which it is doubtful."""
    spread = float(levels[-1] - levels[0])
    if abs(code) < 10:
        return MIN_SMALL_CODE_RANGES * spread, spread
    cumulated = np.cumsum(counts)
    lower, upper = np.searchsorted(cumulated, [0.25 * cumulated[-1], 0.75 * cumulated[-1]])
    middle = float(levels[min(upper, len(levels) - 1)] - levels[lower])
    sure = min(MIN_CODE_RANGES * spread, MIN_CODE_QUARTILES * middle) if middle else MIN_CODE_RANGES * spread
    return sure, sure / 2


def _is_spike(count: int, levels: NDArray[np.floating], counts: NDArray[np.integer]) -> bool:
    """Whether a whole number repeats among measurements with decimals that do not."""
    continuous = len(levels) > 0.5 * counts.sum() and (levels % 1 != 0).mean() > 0.5
    return bool(continuous and count >= MIN_CODE_SPIKE * counts.max())


def _has_tail(core: NDArray[np.floating]) -> bool:
    low, lower, upper, high = np.quantile(core, [0.0, 0.25, 0.75, 1.0], method="linear")
    return bool(max(high - upper, lower - low) > MIN_STRANGE_RANGES * (upper - lower))


def _strange(levels: NDArray[np.floating], counts: NDArray[np.integer]) -> list[float]:
    """Repeated numbers at the ends, further from the next than the range of all others."""
    found: list[float] = []
    while len(levels) > 3:
        if levels[-1] - levels[-2] > MIN_STRANGE_RANGES * (levels[-2] - levels[0]):
            end, rest = -1, slice(None, -1)
        elif levels[1] - levels[0] > MIN_STRANGE_RANGES * (levels[-1] - levels[1]):
            end, rest = 0, slice(1, None)
        else:
            break
        if counts[end] < MIN_CODE_REPEATS:
            break
        found.append(float(levels[end]))
        levels, counts = levels[rest], counts[rest]
    return found
