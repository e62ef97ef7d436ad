"""One training in several processes, which torchrun or Lightning starts: all compute, and only the first one writes."""

from __future__ import annotations

import os
from typing import NamedTuple


class Processes(NamedTuple):
    """Processes per computer, and computers."""

    devices: int
    nodes: int

    @property
    def total(self) -> int:
        return self.devices * self.nodes


def by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def processes(devices: int | None, nodes: int | None) -> Processes:
    """The processes of a training: those that torchrun started, else those of the settings."""
    if by_torchrun():
        here, all_ = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        return Processes(here, max(1, all_ // here))
    return Processes(devices or 1, nodes or 1)


def is_first() -> bool:
    """Whether this process writes files and prints."""
    if by_torchrun():
        return int(os.environ["RANK"]) == 0
    # Lightning starts the other processes of a computer with LOCAL_RANK; the user of several computers sets the others.
    several = "MASTER_ADDR" in os.environ
    return not several or all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))
