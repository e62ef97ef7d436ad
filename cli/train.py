"""`crow train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crow.cli import cohort_options, options
from crow.cli.terminal import echo, echo_warning, echo_written, written_run

if TYPE_CHECKING:
    from crow.cohort import Cohort
    from crow.pipelines.train import Trained


@options.reads_cohort(cohort_options.OF_TABLES, cohort_options.OF_SCANS)
def train(
    cohort: Annotated[
        Path, typer.Option(help="The table as it was downloaded, a BIDS tree, or a store that crow prepare wrote.")
    ],
    reading: options.Reading,
    out: Annotated[Path | None, typer.Option(help="Run folder to write.", show_default="runs/<name of table>")] = None,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    sets: options.Sets = None,
    test: options.Test = None,
    resume: options.Resume = False,
    jobs: options.GroupJobs = 1,
    cluster: options.Cluster = None,
) -> None:
    """Train a model of a cohort: the exact density of its subjects' sequences of visits.

    Small ensembles are trained together in one process. With training.members_at_once they are trained in smaller
    groups, several at a time with --jobs or on a cluster; the model does not depend on the number of processes.

    Ctrl-C stops early, leaves a usable run, and exits with status 130.

    Example:
    [bold]crow train --cohort demo/cohort.csv --out demo/run --test 0.2[/bold]
    [bold]crow train --cohort demo/scans --out demo/scan_run --set scans.resolution=3[/bold]
    """
    out = out or Path("runs") / (cohort.stem.removesuffix("_store") or "cohort")
    sets = options.with_test(sets, test)
    options.check_reading(out, cohort, config, reading, resume, overwrite)
    from crow.run.config import load_config

    load_config(config, sets or [])

    from crow.cluster import check_cluster, on_cluster

    check_cluster(cluster)
    from crow.pipelines.train import train as run

    with on_cluster(cluster, jobs, echo):
        trained = run(
            cohort, out, config=config, sets=sets, resume=resume, overwrite=overwrite, jobs=jobs,
            on_cohort=_show_cohort, echo=echo, **reading,
        )  # fmt: skip
    _show(trained)


def _show_cohort(cohort: "Cohort") -> None:
    echo(repr(cohort))
    for finding in cohort.findings:
        if finding.severity == "warning":
            echo_warning(finding)


def _show(trained: "Trained") -> None:
    metrics = trained.model.metrics
    if "validation_objective" in metrics:
        echo(f"Validation subjects: published objective {metrics['validation_objective']:.3f}.")
    else:
        baseline = "mixed model" if "mixed_model_nll_per_visit" in metrics else "linear forecast"
        nll, other = (metrics[f"{name}_nll_per_visit"] for name in ("validation", baseline.replace(" ", "_")))
        unit = "nats per visit" + (" of coefficients" if "mode_01" in trained.model.schema.regions else "")
        echo(f"Validation subjects: {nll:.3f} {unit} (negative log-likelihood); {baseline} {other:.3f}.")
    if "test_nll_per_visit" in metrics:
        echo(f"Test subjects ({metrics['test_subjects']}): {metrics['test_nll_per_visit']:.3f} nats per visit.")
    echo_written([trained.folder], written_run(trained.folder))
    if trained.interrupted:
        echo("Training stopped early. The run is usable as it is; --resume continues the training.")
        raise typer.Exit(130)
