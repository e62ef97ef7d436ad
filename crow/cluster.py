"""A cluster for the tasks of crow: a Dask scheduler that is running, one that is started under SLURM, or a client."""

from __future__ import annotations

import importlib.metadata
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from joblib import parallel_config

from crow.errors import ClusterError
from crow.extras import extra

if TYPE_CHECKING:
    from distributed import Client

DISTRIBUTION = "crow-longitudinal"
SLURM = "slurm"
SCHEMES = ("tcp://", "tls://", "ws://", "wss://", "ucx://")
CONNECT_SECONDS = 15
REJECTION_SECONDS = 2  # between looks at the answers of sbatch
MAX_SLURM_JOBS = 64
SLURM_DEFAULTS: dict[str, Any] = {"cores": 1, "processes": 1, "memory": "8GB"}


@contextmanager
def on_cluster(
    cluster: str | Client | None, jobs: int | None = None, echo: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """Run the tasks inside (`crow.tasks.run_tasks`) on a cluster; on this computer if it is None.

    Parameters
    ----------
    cluster : str or dask.distributed.Client or None
        The address of a Dask scheduler (``tcp://host:8786``), ``slurm``, or a client.
    jobs : int, optional
        For ``slurm``, the number of jobs. By default as many as there are tasks, at most 64, and those that are idle
        end.
    echo : callable
        Receives lines to print.

    Raises
    ------
    MissingExtra
        If Dask is not installed.
    ClusterError
        If the scheduler does not answer, or SLURM rejects the jobs.

    Examples
    --------
    >>> with on_cluster(None):
    ...     pass
    """
    if cluster is None:
        yield
        return
    with extra("cluster"):
        import distributed
    if isinstance(cluster, distributed.Client):
        with _tasks_on(cluster):
            yield
    elif cluster == SLURM:
        submitted = _Submitted()
        with _slurm(jobs, submitted) as own, distributed.Client(own, set_as_default=False) as client:
            echo(f"Workers are SLURM jobs; the scheduler is {client.scheduler.address}.")
            with _tasks_on(client, submitted):
                yield
    else:
        check_cluster(cluster)
        try:
            client = distributed.Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"--cluster {cluster}: no Dask scheduler answers ({type(error).__name__}). Start one: dask scheduler"
            ) from None
        with client:
            echo(f"{len(client.scheduler_info()['workers'])} workers at {cluster}")
            with _tasks_on(client):
                yield


def check_cluster(cluster: str | None) -> None:
    """Raise ClusterError unless it is ``slurm`` or the address of a scheduler; MissingExtra without Dask."""
    if cluster is None:
        return
    with extra("cluster"):
        import distributed  # noqa: F401
    if cluster != SLURM and not cluster.startswith(SCHEMES):
        raise ClusterError(f"--cluster {cluster}: give the address of a Dask scheduler (tcp://host:8786), or slurm.")


class _Submitted:
    """Whether SLURM accepted a job, and its reason for the last one that it rejected."""

    accepted = False
    rejected = ""

    def job_class(self) -> Any:
        """The jobs of Dask's SLURMCluster, recorded here. Dask itself would wait for workers of rejected jobs."""
        with extra("cluster"):
            from dask_jobqueue.slurm import SLURMJob
            from distributed.core import Status

        submitted = self

        class Job(SLURMJob):
            async def _submit_job(self, script_filename: str) -> str:
                try:
                    answer: str = await super()._submit_job(script_filename)  # type: ignore[no-untyped-call]
                except RuntimeError as error:
                    submitted.rejected = " ".join(str(error).rpartition("stderr:")[2].split()) or str(error)
                    self.status = Status.failed  # which the end of the cluster needs
                    raise
                submitted.accepted = True
                return answer

        return Job

    def check(self) -> None:
        """Raise ClusterError if a job was rejected and none accepted."""
        if self.rejected and not self.accepted:
            raise ClusterError(
                f"--cluster slurm: sbatch rejects the job: {self.rejected}. Correct the settings of jobqueue.slurm in "
                "~/.config/dask/jobqueue.yaml."
            )


@contextmanager
def _tasks_on(client: Client, submitted: _Submitted | None = None) -> Iterator[None]:
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):  # type: ignore[misc]
        """Dask's backend, which joblib would not use for a single worker."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, int(super().effective_n_jobs(n_jobs)))

    backend = Backend(client=client, wait_for_workers_timeout=None)
    with parallel_config(backend=backend), warnings.catch_warnings():
        # Tables of a cohort go to workers with their task, so that a worker that ends takes none of them with it.
        warnings.filterwarnings("ignore", message="Sending large graph")
        _wait_for_a_worker(client, submitted)
        _check_versions(client)
        yield


def _wait_for_a_worker(client: Client, submitted: _Submitted | None) -> None:
    """A job may be queued for hours. Other workers join while tasks run."""
    while True:
        try:
            client.wait_for_workers(1, timeout=REJECTION_SECONDS)
            return
        except TimeoutError:
            if submitted is not None:
                submitted.check()


def _check_versions(client: Client) -> None:
    """Raise ClusterError if a worker has another version of crow, or none."""
    own = version(DISTRIBUTION)
    found = client.run(importlib.metadata.version, DISTRIBUTION, on_error="return")
    if wrong := {str(one) for one in found.values()} - {own}:
        raise ClusterError(
            f"--cluster: a worker has crow {', '.join(sorted(wrong))}, but here it is {own}. Install the same version "
            "for workers."
        )


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Keep what Ctrl-C does: the import of dask_jobqueue makes it end the process at once."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _slurm(jobs: int | None, submitted: _Submitted) -> Iterator[Any]:
    """A scheduler on this computer whose workers are SLURM jobs, with the settings of Dask's ``jobqueue.slurm``."""
    with extra("cluster"), _own_interrupt():
        import dask
        from dask_jobqueue.slurm import SLURMCluster
    if shutil.which("sbatch") is None:
        raise ClusterError("--cluster slurm: this computer has no sbatch. Run the command where jobs are submitted.")
    own = {key: value for key, value in SLURM_DEFAULTS.items() if not dask.config.get(f"jobqueue.slurm.{key}", None)}
    if dask.config.get("jobqueue.slurm.cores", None) and not dask.config.get("jobqueue.slurm.processes", None):
        own["processes"] = dask.config.get("jobqueue.slurm.cores")  # a task has its process to itself
    try:
        cluster = SLURMCluster(job_cls=submitted.job_class(), **own)
    except (ValueError, OSError, RuntimeError) as error:
        raise ClusterError(f"--cluster slurm: {error}") from None
    with cluster:
        if jobs is None:
            cluster.adapt(minimum=1, maximum_jobs=MAX_SLURM_JOBS)
        else:
            cluster.scale(jobs=jobs)
        yield cluster
