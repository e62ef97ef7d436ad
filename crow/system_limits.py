"""What the computer refuses, as a sentence: a full disk, too many open files, too little memory, a file that went."""

from __future__ import annotations

import errno
import os

ADVICE = {
    errno.ENOSPC: "Free some space, or choose another place.",
    errno.EDQUOT: "Free some space, or choose another place.",
    errno.EFBIG: "Raise the limit for the size of files (ulimit -f), or choose another place.",
    errno.EROFS: "Choose another place.",
    errno.EACCES: "Check the permissions, or choose another place.",
    errno.EPERM: "Check the permissions, or choose another place.",
    errno.EISDIR: "A file is needed there: remove the folder, or choose another place.",
    errno.EMFILE: "Raise the limit for open files (ulimit -n).",
    errno.ENFILE: "Close other programs.",
    errno.ENOMEM: "Close other programs, or use a larger computer.",
    errno.EIO: "The disk may be damaged: copy what matters to another one.",
}
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
OF_TORCH = ("can't allocate memory", "out of memory", "DefaultCPUAllocator")


def limit_reached(error: BaseException) -> str | None:
    """The sentence for an error that the computer's limits caused; None for any other error.

    Examples
    --------
    >>> limit_reached(OSError(28, "No space left on device", "a.csv"))
    'a.csv: No space left on device. Free some space, or choose another place.'
    >>> limit_reached(ValueError("x")) is None
    True
    """
    if isinstance(error, OSError) and error.errno in ADVICE:
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{place}{error.strerror}. {ADVICE[error.errno]}"
    if isinstance(error, OSError) and error.errno in GONE and isinstance(error.filename, str | bytes):
        path = os.fsdecode(error.filename)
        return f"{path}: {error.strerror}. It may have been moved or removed while crow worked: run the command again."
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return "No folder for temporary files can be written. Free some space, or set TMPDIR to such a folder."
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in OF_TORCH)
    ):
        return "The memory of this computer does not suffice. Ask for less at once, or use a larger computer."
    return None
