"""`crow score`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crow.cli import cohort_options as flags

if TYPE_CHECKING:
    from crow.pipelines.score import Scores


def score(
    run: Annotated[Path, typer.Option(help="The run folder that crow train wrote.")],
    cohort: Annotated[
        Path, typer.Option(help="What to score: a table like the one trained on; of scans also a BIDS tree or store.")
    ],
    out: Annotated[Path, typer.Option(help="A row a visit; <out>_subjects has a row a subject.")] = Path("scores.csv"),
    figure: Annotated[Path | None, typer.Option(help="Draw the log-likelihoods (.png, .pdf, .svg).")] = None,
    maps: Annotated[
        Path | None, typer.Option(help="Of a run of scans: a folder for maps of z by voxel given the subject's past.")
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="How many of the most unusual visits to print.")] = 5,
    samples: Annotated[int, typer.Option(min=2, help="Draws a visit that the z of a region is reckoned with.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    missing: flags.Missing = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier scores.")] = False,
) -> None:
    """How likely each visit is given those before it: exact log-likelihoods (nats, original units), and z by region.

    Example: [bold]crow score --run demo/run --cohort demo/cohort.csv --out demo/scores.csv[/bold]
    """
    from rich.console import Console
    from rich.progress import track

    from crow.pipelines.score import score as run_score

    scores = run_score(
        run, cohort, out, figure=figure, maps=maps, samples=samples, seed=seed, missing=missing, overwrite=overwrite,
        echo=typer.echo, progress=lambda rows: track(rows, "Maps", console=Console(stderr=True)),
    )  # fmt: skip
    _show(scores, most)


def _show(scores: "Scores", most: int) -> None:
    from rich.console import Console
    from rich.table import Table

    visits, subjects = scores.visits, scores.subjects
    for finding in scores.cohort.findings:
        if finding.severity == "warning":
            typer.echo(f"warning: {finding}")
    if (given := int(visits["log_prob"].isna().sum())):
        typer.echo(f"{given:,} first scans are what later ones are compared with: no likelihood of their own.")
    typer.echo(
        f"{len(subjects):,} subjects, {len(visits):,} visits: {visits['log_prob'].mean():.3f} nats a visit, "
        f"{int(visits['unusual'].sum())} unusual."
    )
    if most:
        table = Table("subject", "session", "years", "nats", "outlier_score", "largest z", box=None, title_justify="left")
        for _, visit in scores.most_unusual.head(most).iterrows():
            largest = f"{visit['region']} {visit['z']:+.1f}"
            numbers = (f"{visit['time']:.2f}", f"{visit['log_prob']:.1f}", f"{visit['outlier_score']:.1f}")
            table.add_row(str(visit["subject"]), str(visit["session"]), *numbers, largest)
        Console(highlight=False).print(table)
    typer.echo(f"Wrote {', '.join(str(path) for path in scores.written)}")
