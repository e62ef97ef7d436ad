"""`crow segment`."""

from pathlib import Path
from typing import Annotated

import typer

from crow.cli import run_options as options


def segment(
    context: typer.Context,
    cohort: Annotated[
        Path | None,
        typer.Option(help="To learn from: a store of crow prepare. With --run also a table, BIDS tree or NIfTI file."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="A folder of masks in the space of the scans: dseg or mask.", rich_help_panel=options.LEARN),
    ] = None,
    label: Annotated[
        int | None,
        typer.Option(help="The label of the structure; not needed for masks.", rich_help_panel=options.LEARN),
    ] = None,
    config: options.Config = None,
    sets: options.Sets = None,
    resume: options.Resume = False,
    run: options.Run = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Only this subject; may be repeated.", rich_help_panel=options.APPLY)
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Masks drawn of a scan.", rich_help_panel=options.APPLY)] = 32,
    sample_scans: Annotated[
        int, typer.Option(min=0, help="Also write this many of them.", rich_help_panel=options.APPLY)
    ] = 0,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Run folder to learn into (runs/segment); with --run a folder for masks.")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Where a structure is: the probability of each voxel, masks that are likely each, and its volume with an interval.

    Example: [bold]crow segment --cohort store --masks labels --label 3 --out demo/hippocampus[/bold], then
    [bold]crow segment --run demo/hippocampus --cohort store --subject 0001 --out demo/masks[/bold]
    """
    from rich.progress import track

    from crow.pipelines import segment as pipeline

    if cohort is None:
        raise typer.BadParameter("--cohort: name the store of scans to learn from, or (with --run) to segment.")
    options.one_use(context)
    if run is not None:
        made = pipeline.segment(
            run, cohort, out or Path("masks"), subject, samples=samples, keep=sample_scans, seed=seed,
            overwrite=overwrite, echo=typer.echo, progress=lambda rows: track(rows, "Scans", transient=True),
        )  # fmt: skip
        for row in made.volumes.head(10).itertuples():
            name = f"{row.subject} {row.session}".strip()
            typer.echo(f"{name}: {row.volume:,.0f} mm3 (90 % of draws {row.q05:,.0f} to {row.q95:,.0f})")
        typer.echo(f"Wrote {', '.join(str(path) for path in made.written)}")
        return
    if masks is None:
        raise typer.BadParameter("--masks: name the folder of masks to learn from, or give --run to apply.")
    learned = pipeline.learn(
        cohort, out or Path("runs/segment"), masks, label, config=config, sets=sets, resume=resume,
        overwrite=overwrite, echo=typer.echo,
    )  # fmt: skip
    metrics = learned.model.metrics
    typer.echo(
        f"Held-out subjects: Dice {metrics['validation_dice']:.3f}, calibration error "
        f"{metrics['validation_calibration_error']:.3f}, at epoch {metrics['epoch']}."
    )
    options.show_written(learned)
