"""Independent tasks in local processes, or on a cluster: every parallel step of crow runs through `run_tasks`.

The answer does not depend on where a task runs. Each has its process to itself and one thread, and gets its random
numbers from seeds among its arguments. The backend is joblib's: local processes, or that of a surrounding
`crow.cluster.on_cluster` or ``joblib.parallel_config``.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits

from crow.errors import WorkerError

Result = TypeVar("Result")
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Follows items while they are worked on; the text says what is done, the number how many there are."""

ATTEMPTS = 3
LOST = ("TerminatedWorkerError", "BrokenProcessPool", "KilledWorker", "FutureCancelledError", "CancelledError")
"""Errors of joblib and Dask that tell of an ended process, not of a failed task."""
_process = threading.RLock()


def run_tasks(
    function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], jobs: int | None = None
) -> Iterator[tuple[int, Result]]:
    """Call ``function(*task)`` for each task; the number of a task and its result, in the order in which they end.

    Parameters
    ----------
    function : callable
        A function of a module, which workers can import.
    tasks : sequence of tuple
        The arguments of each call. Paths become absolute: a worker may have another current folder.
    jobs : int, optional
        Local processes; all cores by default. On a cluster, all of its workers share the tasks.

    Yields
    ------
    int, result
        The number of the task, from 0, and what the function returned.

    Raises
    ------
    WorkerError
        If worker processes end three times without a result of their task; a task whose worker ended is run again.

    Examples
    --------
    >>> sorted(run_tasks(divmod, [(7, 2), (9, 4)], jobs=1))
    [(0, (3, 1)), (1, (2, 1))]
    """
    left = {number: tuple(map(_absolute, task)) for number, task in enumerate(tasks)}
    for attempt in range(1, ATTEMPTS + 1):
        # What workers receive stays in memory: joblib would write large tables of a cohort to a temporary folder.
        processes = min(jobs or cpu_count(), len(left)) or 1
        # On Dask, all tasks are submitted at once, for workers that join later.
        on_dask = _on_dask()
        ahead = "all" if on_dask else "2 * n_jobs"
        parallel = Parallel(
            processes, return_as="generator_unordered", max_nbytes=None, batch_size=1, pre_dispatch=ahead
        )
        calls = (delayed(_alone)(_Task(number, function, task, pack=on_dask)) for number, task in list(left.items()))
        try:
            for number, result in parallel(calls):
                del left[number]
                yield number, result
            return
        except Exception as error:
            if type(error).__name__ not in LOST:
                raise
            if attempt == ATTEMPTS:
                raise WorkerError(
                    f"A worker process ended {ATTEMPTS} times without a result ({len(left)} of {len(tasks)} tasks are "
                    "left). If its memory was too small, use fewer processes (--jobs) or workers with more memory."
                ) from None


def in_order(results: Iterable[tuple[int, Result]]) -> Iterator[Result]:
    """Results of `run_tasks` by the number of their task; one that is early waits."""
    early: dict[int, Result] = {}
    following = 0
    for number, result in results:
        early[number] = result
        while following in early:
            yield early.pop(following)
            following += 1


def in_parallel(jobs: int | None, tasks: int) -> bool:
    """Whether `run_tasks` runs so many tasks in other processes than this one."""
    return _on_dask() or min(jobs or cpu_count(), tasks) > 1


def _on_dask() -> bool:
    return hasattr(get_active_backend()[0], "client")


class _Task:
    """One call.

    Dask would put large arguments on a worker, which may end, so they are kept inside. ``pack`` makes them bytes, which
    are read within the task: a worker that cannot read one would end without a word.
    """

    def __init__(self, number: int, function: Callable[..., Any], arguments: tuple[Any, ...], pack: bool) -> None:
        self.number = number
        self._call: Any = (function, arguments)
        if pack:
            import cloudpickle

            self._call = cloudpickle.dumps(self._call)

    def run(self) -> Any:
        function, arguments = _unpacked(self._call) if isinstance(self._call, bytes) else self._call
        return function(*arguments)


def _unpacked(call: bytes) -> Any:
    import cloudpickle

    return cloudpickle.loads(call)


def _alone(task: _Task) -> tuple[int, Any]:
    """The number and result of a task, which has its process to itself and one thread."""
    torch: Any = sys.modules.get("torch")
    with _process, parallel_config(backend="sequential"), threadpool_limits(1):
        threads = torch.get_num_threads() if torch else None
        try:
            if torch:
                torch.set_num_threads(1)
            return task.number, task.run()
        finally:
            if torch:
                torch.set_num_threads(threads)


def _absolute(argument: Any) -> Any:
    return Path(os.path.abspath(argument)) if isinstance(argument, Path) else argument
