"""A disk that is full from the nth file on that a process makes: files appear there, but hold nothing."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import signal
import sys
from typing import Any

NOT_ON_DISK = ("/dev/", "/proc/", "/sys/")


class FullDisk:
    """The disk of one process, which calls `fill` after the fork; ``count`` can then be read by its parent.

    Parameters
    ----------
    full : int or None
        Number of the file or folder from which on the disk is full; None if it never is.
    room : int
        Bytes that a file can still have, so that it is cut off rather than empty.
    """

    def __init__(self, full: int | None = None, room: int = 0) -> None:
        self.full, self.room = full, room
        self._count = mmap.mmap(-1, 8)

    @property
    def count(self) -> int:
        """Files that were opened for writing, and folders that were made."""
        return int.from_bytes(self._count[:8], "little")

    def fill(self) -> None:
        """Watch the files of this process until it ends."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit raises OSError instead
        sys.addaudithook(self._watch)

    def _watch(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in ("open", "os.mkdir") or not _writes(event, args):
            return
        self._count[:8] = (self.count + 1).to_bytes(8, "little")
        if self.full is None or self.count < self.full:
            return
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, resource.RLIM_INFINITY))
        if event == "os.mkdir":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), args[0])


def _writes(event: str, args: tuple[Any, ...]) -> bool:
    path = args[0]
    if isinstance(path, int) or os.fsdecode(path).startswith(NOT_ON_DISK):
        return False
    return event == "os.mkdir" or bool(args[2] & (os.O_WRONLY | os.O_RDWR))
