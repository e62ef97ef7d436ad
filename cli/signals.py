"""Signals that end a command as Ctrl-C does, so that it removes what is half-written, and a training can be resumed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = ("SIGTERM", "SIGHUP")  # a job's time is over; the terminal was closed


@contextmanager
def ending_in_order() -> Iterator[list[int]]:
    """While this runs, the signals of `ENDING` do what Ctrl-C does; yields the numbers of those received.

    A signal that the caller ignores or handles, as nohup does, stays as it is.
    """
    received: list[int] = []

    def end(number: int, _: object) -> None:
        received.append(number)
        if not callable(signal.getsignal(signal.SIGINT)):  # ignored, as in a job that a shell starts with &
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in ENDING if hasattr(signal, name)):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
