"""Tasks run in local processes or on a cluster, with the same answers, and a lost worker costs no result."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from small_cohorts import small_cohort
from task_functions import always_end, draw, end_first, place, refuse

from crow.cluster import check_cluster, on_cluster
from crow.errors import ClusterError, CohortError, WorkerError
from crow.evaluation.comparison import compare_folds
from crow.models.crow import CRow
from crow.run.config import Config
from crow.tasks import run_tasks

SMALL = {
    "model": {"members": 2, "hidden": 4},
    "training": {"max_epochs": 2, "steps_per_epoch": 2, "batch_size": 16},
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two worker processes with two threads each, which must not share the random state of their process."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_local_processes_give_the_answers_of_one_process() -> None:
    alone, shared = (dict(run_tasks(draw, [(k,) for k in range(6)], jobs)) for jobs in (1, 2))
    assert {k: value for k, (value, _) in alone.items()} == {k: value for k, (value, _) in shared.items()}
    assert {process for _, process in alone.values()} == {os.getpid()}
    assert len({process for _, process in shared.values()} - {os.getpid()}) == 2


def test_a_cluster_gives_the_answers_of_one_process(client: Client) -> None:
    tasks = [(k,) for k in range(12)]
    alone = dict(run_tasks(draw, tasks, jobs=1))
    with on_cluster(client):
        shared = dict(run_tasks(draw, tasks))
    assert {k: value for k, (value, _) in alone.items()} == {k: value for k, (value, _) in shared.items()}
    assert len({process for _, process in shared.values()} - {os.getpid()}) == 2


@pytest.mark.parametrize("where", ["local", "cluster"])
def test_a_task_whose_worker_ended_is_run_again(where: str, client: Client, tmp_path: Path) -> None:
    tasks = [(tmp_path / "marker", k) for k in range(5)]
    with on_cluster(client if where == "cluster" else None):
        found = dict(run_tasks(end_first, tasks, jobs=2))
    assert (tmp_path / "marker").exists()
    assert {k: number for k, (number, _) in found.items()} == {k: k for k in range(5)}


def test_workers_that_end_again_and_again_are_one_sentence() -> None:
    with pytest.raises(WorkerError, match=r"ended 3 times .*--jobs"):
        list(run_tasks(always_end, [(0,), (1,)], jobs=2))


@pytest.mark.parametrize("where", ["local", "cluster"])
def test_the_error_of_a_task_arrives_as_it_was_raised(where: str, client: Client) -> None:
    with on_cluster(client if where == "cluster" else None), pytest.raises(CohortError, match="table"):
        list(run_tasks(refuse, [(7,), (8,)], jobs=2))


def test_a_function_that_workers_do_not_have_is_an_error(client: Client) -> None:
    module = type(sys)("only_here")
    exec("def made(): return 1", module.__dict__)
    sys.modules["only_here"] = module
    with on_cluster(client), pytest.raises(ModuleNotFoundError, match="only_here"):
        list(run_tasks(module.made, [()]))


def test_a_worker_with_another_crow_is_one_sentence(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crow.cluster.version", {"crow-longitudinal": "99"}.__getitem__)
    with pytest.raises(ClusterError, match="Install the same version"), on_cluster(client):
        pass


def test_paths_are_absolute_for_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert dict(run_tasks(place, [(Path("store"),)], jobs=1)) == {0: tmp_path / "store"}


@pytest.mark.slow
def test_folds_on_a_cluster_that_loses_a_worker_equal_those_of_one_process(client: Client) -> None:
    config, cohort = Config.model_validate(SMALL), small_cohort()
    alone, _ = compare_folds(config, cohort, 2, "last", draws=20, jobs=1)
    lost = []

    def progress(results, total):  # type: ignore[no-untyped-def]
        for k, result in enumerate(results):
            if k == 0:  # in the middle of the work: one result is here, and the other tasks run or wait
                lost.append(next(iter(client.run(os.getpid).values())))
                os.kill(lost[0], signal.SIGKILL)
            yield result

    with on_cluster(client):
        shared, _ = compare_folds(config, cohort, 2, "last", draws=20, progress=progress)
    assert len(lost) == 1 and lost[0] not in client.run(os.getpid).values()
    for name, table in alone.tables.items():
        columns = [column for column in table if column != "seconds"]
        mine, theirs = table[columns], shared.tables[name][columns]
        if "metric" in table:
            keep = (table["metric"] != "seconds").to_numpy()
            mine, theirs = mine[keep], theirs[keep]
        assert mine.equals(theirs), name
    assert np.isfinite(shared.metrics["forecast"]["crow"]["CRPS"])


def test_members_on_a_cluster_that_loses_a_worker_equal_those_of_one_process(client: Client, tmp_path: Path) -> None:
    """The lost group continues from its checkpoint or begins anew, with the same result."""
    settings = {**SMALL, "model": {"members": 4, "hidden": 4}}
    settings["training"] = {**SMALL["training"], "members_at_once": 1, "threads": 1}
    alone = CRow(**settings).fit(small_cohort(), tmp_path / "alone")
    lost: list[int] = []

    def echo(line: str) -> None:
        if line.startswith("best mixture"):  # the first two are done, and the others begin
            lost.append(next(iter(client.run(os.getpid).values())))
        if line.startswith("member 3") or line.startswith("member 4"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(lost[0], signal.SIGKILL)

    with on_cluster(client):
        shared = CRow(**settings).fit(small_cohort(), tmp_path / "shared", echo=echo)
    assert lost and lost[0] not in client.run(os.getpid).values()
    for model in (shared, CRow(**settings).fit(small_cohort(), jobs=2)):
        pd.testing.assert_frame_equal(model.log, alone.log, check_exact=True)
        for name, tensor in alone.fitted().state_dict().items():
            assert model.fitted().state_dict()[name].equal(tensor), name


def test_an_address_without_a_scheduler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crow.cluster.CONNECT_SECONDS", 2)
    silent = pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler answers")
    with silent, on_cluster("tcp://127.0.0.1:9"):
        pass
    with pytest.raises(ClusterError, match="or slurm"):
        check_cluster("my-cluster")


def test_slurm_jobs_are_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sbatch and scancel are those of this test: a job is a process that runs the job's script."""
    (tmp_path / "sbatch").write_text("""#!/bin/sh
cp "$1" "$0.script"
sh "$0.script" > "$0.log" 2>&1 &
echo "Submitted batch job $!"
""")
    (tmp_path / "scancel").write_text("""#!/bin/sh
kill "$1"
""")
    for name in ("sbatch", "scancel"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # of the functions that the tasks call
    lines: list[str] = []
    with on_cluster("slurm", 1, lines.append):
        found = dict(run_tasks(draw, [(k,) for k in range(3)]))
    assert found.keys() == {0, 1, 2} and {process for _, process in found.values()} != {os.getpid()}
    assert "#SBATCH" in (tmp_path / "sbatch.script").read_text()
    assert lines and "SLURM" in lines[0]


@pytest.mark.parametrize("jobs", [1, None])
def test_a_rejected_slurm_job_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int | None
) -> None:
    reason = "error: invalid partition specified: nope"
    (tmp_path / "sbatch").write_text(f"#!/bin/sh\necho 'sbatch: {reason}' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ClusterError, match=f"sbatch rejects the job: sbatch: {reason}"), on_cluster("slurm", jobs):
        pass


def test_slurm_without_sbatch_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="has no sbatch"), on_cluster("slurm"):
        pass


@pytest.mark.slow
def test_ctrl_c_does_after_a_cluster_what_it_did_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.startswith("dask_jobqueue")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("PATH", str(tmp_path))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(ClusterError), on_cluster("slurm"):
        pass
    assert signal.getsignal(signal.SIGINT) is handler
