"""Functions that the tests of tasks call in worker processes; workers import this small file."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from crow.errors import CohortError


def draw(seed: int) -> tuple[float, int]:
    """A number that depends on the global random state and on the number of threads, and the process."""
    np.random.seed(seed)  # noqa: NPY002
    time.sleep(0.02)
    threads = max((pool["num_threads"] for pool in threadpool_info()), default=1)
    return float(np.random.rand(1000).sum()) + threads, os.getpid()  # noqa: NPY002


def end_first(marker: Path, number: int) -> tuple[int, int]:
    """End the worker at the first attempt of task 1, and return the number at the second one."""
    if number == 1 and not marker.exists():
        marker.write_text("ended")
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number, os.getpid()


def always_end(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> None:
    raise CohortError(f"table {number}")


def place(path: Path) -> Path:
    return path
