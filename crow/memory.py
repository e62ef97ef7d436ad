"""Requests that this computer cannot meet are refused, with what they would take, before anything is computed."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from crow.errors import ConfigError

GIB = 2**30
ENDLESS = 10**18  # a number that need not be told from a larger one
BYTES_PER_VALUE = 16  # of a voxel or region of a draw, with the copies that computing it takes


def available_memory() -> int:
    """Bytes of memory that are free: of the computer, and of this process's group if that has a limit."""
    free = _meminfo() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    group = Path("/sys/fs/cgroup")
    limit, used = (_number(group / name) for name in ("memory.max", "memory.current"))
    return free if limit is None else max(min(free, limit - (used or 0)), 0)


def require_memory(needed: float, what: str, advice: str) -> None:
    """Raise ConfigError if ``what`` needs more bytes than are free.

    Examples
    --------
    >>> require_memory(2**60, "--draws 10000000", "Lower --draws.")
    Traceback (most recent call last):
    ...
    crow.errors.ConfigError: --draws 10000000: needs about 1,073,741,824 GiB of memory...
    """
    free = available_memory()
    if needed > free:
        raise ConfigError(
            f"{what}: needs about {_gib(needed)} of memory; {_gib(free)} are free on this computer. {advice}"
        )


def require_disk(needed: float, path: Path, what: str, advice: str) -> None:
    """Raise ConfigError if ``what`` needs more bytes than are free on the disk of ``path``.

    Examples
    --------
    >>> require_disk(2**70, Path("synthetic.csv"), "--new-subjects 10", "Draw fewer at once.")
    Traceback (most recent call last):
    ...
    crow.errors.ConfigError: --new-subjects 10: synthetic.csv needs about 1,099,511,627,776 GiB of disk...
    """
    free = shutil.disk_usage(path.absolute().parent).free
    if needed > free:
        raise ConfigError(f"{what}: {path} needs about {_gib(needed)} of disk; {_gib(free)} are free. {advice}")


def require_draws(draws: int, shape: Iterable[int], what: str, option: str = "--draws") -> None:
    """Raise ConfigError if ``draws`` of something of a shape do not fit into memory.

    Examples
    --------
    >>> require_draws(10**9, (200, 200, 200), "a scan")
    Traceback (most recent call last):
    ...
    crow.errors.ConfigError: 1,000,000,000 draws of a scan: needs about 119,209,290 GiB of memory...
    """
    needed = float(draws) * math.prod(shape) * BYTES_PER_VALUE
    require_memory(needed, f"{draws:,} draws of {what}", f"Lower {option}.")


def too_many(value: int, most: int, what: str, each: float) -> str:
    """Why a number is refused: the memory that so many would take at ``each`` bytes.

    Examples
    --------
    >>> too_many(2**40, 1000, "draws", 1024.0)
    '1,099,511,627,776 draws take about 1,048,576 GiB of memory or more; at most 1,000 are possible'
    """
    shown = f"{value:,}" if value < ENDLESS else f"{ENDLESS:,} and more"
    size = _gib(min(value, ENDLESS) * each)
    return f"{shown} {what} take about {size} of memory or more; at most {most:,} are possible"


def _gib(size: float) -> str:
    return f"{size / GIB:,.0f} GiB" if size >= 10 * GIB else f"{size / GIB:,.1f} GiB"


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
