"""What the system refuses is a sentence with a remedy that fits."""

import errno
import os

import pytest

from crow.system_limits import limit_reached


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EACCES, "Check the permissions"), (errno.EPERM, "Check the permissions"),
     (errno.EISDIR, "A file is needed"), (errno.ENOSPC, "Free some space"), (errno.ENOENT, "moved or removed")],
)  # fmt: skip
def test_the_remedy_fits_the_reason(number: int, remedy: str) -> None:
    reason = limit_reached(OSError(number, os.strerror(number), "a.csv"))
    assert reason is not None and reason.startswith(f"a.csv: {os.strerror(number)}. ") and remedy in reason
    assert ("moved or removed" in reason) == (number == errno.ENOENT)
