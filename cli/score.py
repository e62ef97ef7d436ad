"""`crow score`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crow.cli import cohort_options, options
from crow.cli.progress import followed
from crow.cli.terminal import console, echo, echo_warning, echo_written, plain
from crow.errors import ConfigError
from crow.models.registry import FOLLOW_UPS, kind_of_run
from crow.places import beside, check_places, folder, table
from crow.places import figure as picture

if TYPE_CHECKING:
    from crow.pipelines.score import Scores


@options.joins_tables
def score(
    run: options.Run,
    cohort: Annotated[
        Path, typer.Option(help="Cohort to score: a table like that of the training, or a BIDS tree or store of scans.")
    ],
    out: Annotated[
        Path, typer.Option(help="Table to write, one row per visit; <out>_subjects has one row per subject.")
    ] = Path("scores.csv"),
    figure: Annotated[Path | None, typer.Option(help="Picture of the log-likelihoods: .png, .pdf or .svg.")] = None,
    save_maps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for maps of z by voxel, given the subject's earlier scans.", rich_help_panel=options.SCANS
        ),
    ] = None,
    max_rows: Annotated[int, typer.Option(min=0, help="Number of visits to print, largest outlier score first.")] = 5,
    draws: Annotated[int, options.draws(2)] = 200,
    seed: options.Seed = 0,
    missing: cohort_options.Missing = None,
    jobs: options.Jobs = None,
    cluster: options.Cluster = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Compute the log-likelihood of each visit given the visits before it, and a z-score for each region.

    Log-likelihoods are exact, in nats, for values in the units of the table. A table larger than 64 MiB is read and
    scored some subjects at a time, by several processes (--jobs) or on a cluster.

    Example:
    [bold]crow score --run demo/run --cohort demo/cohort.csv --out demo/scores.csv[/bold]
    """
    by_subject = table("--out (by subject)", beside(out, "_subjects"))
    maps = folder("--save-maps", save_maps, "file", grows=True)
    outputs = [*table("--out", out), *by_subject, *picture("--figure", figure), *maps]
    check_places(outputs, {"--run": run, "--cohort": cohort}, overwrite)
    kind = kind_of_run(run, "train")
    if save_maps is not None and kind not in FOLLOW_UPS:
        raise ConfigError(f"--save-maps {save_maps}: only runs of scans have maps; {run} is a run of regions.")

    from crow.cluster import check_cluster, on_cluster
    from crow.pipelines.score import score as run_score

    check_cluster(cluster)
    with on_cluster(cluster, jobs, echo):
        scores = run_score(
            run, cohort, out, figure=figure, maps=save_maps, draws=draws, seed=seed, missing=missing,
            overwrite=overwrite, jobs=jobs, echo=echo, progress=followed,
        )  # fmt: skip
    _show(scores, max_rows)


def _show(scores: "Scores", max_rows: int) -> None:
    from rich.table import Table

    visits, subjects = scores.visits, scores.subjects
    for finding in scores.findings:
        if finding.severity == "warning":
            echo_warning(finding)
    if given := int(visits["log_prob"].isna().sum()):
        echo(f"{given:,} first scans have no likelihood: later scans are compared with them.")
    echo(
        f"{len(subjects):,} subjects, {len(visits):,} visits: {visits['log_prob'].mean():.3f} nats per visit, "
        f"{int(visits['outlier'].sum())} outliers."
    )
    if max_rows:
        rows = Table("subject", "session", "years", "nats", "outlier score", "largest z", box=None)
        for _, visit in visits.nlargest(max_rows, "outlier_score").iterrows():
            largest = f"{visit['region']} {visit['z']:+.1f}"
            numbers = (f"{visit['time']:.2f}", f"{visit['log_prob']:.1f}", f"{visit['outlier_score']:.1f}")
            rows.add_row(*map(plain, (str(visit["subject"]), str(visit["session"]), *numbers, largest)))
        console().print(rows)
    echo_written(scores.written)
