"""`crow enhance`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from crow.cli import run_options as options


def enhance(
    context: typer.Context,
    cohort: Annotated[
        Path | None, typer.Option(help="A store of crow prepare, of thin scans.", rich_help_panel=options.LEARN)
    ] = None,
    factor: Annotated[
        int, typer.Option(min=2, max=8, help="Thin slices in a thick one.", rich_help_panel=options.LEARN)
    ] = 2,
    axis: Annotated[
        Literal["x", "y", "z"],
        typer.Option(help="Across the slices; z is of axial ones.", rich_help_panel=options.LEARN),
    ] = "z",
    config: options.Config = None,
    sets: options.Sets = None,
    resume: options.Resume = False,
    run: options.Run = None,
    scan: Annotated[
        Path | None, typer.Option(help="A NIfTI file of thick slices.", rich_help_panel=options.APPLY)
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Draws.", rich_help_panel=options.APPLY)] = 16,
    sample_scans: Annotated[
        int, typer.Option(min=0, help="Also write this many draws.", rich_help_panel=options.APPLY)
    ] = 2,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Run folder to learn into (runs/enhance); with --run a folder for scans.")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Make thin slices of a scan of thick ones: their median, how sure it is, and draws that are likely each.

    Example: from thin scans: [bold]crow enhance --cohort store --factor 2 --out demo/thin[/bold], then
    [bold]crow enhance --run demo/thin --scan thick_T1w.nii.gz --out demo/enhanced[/bold]
    """
    from crow.pipelines import enhance as pipeline

    options.one_use(context)
    if run is not None:
        if scan is None:
            raise typer.BadParameter("--scan: name the file of thick slices.")
        made = pipeline.enhance(
            run, scan, out or Path("enhanced"), samples=samples, keep=sample_scans, seed=seed, overwrite=overwrite,
            echo=typer.echo,
        )  # fmt: skip
        typer.echo(f"{made.draws} draws; their sd is {made.sd:.3g} on average, in the units of the scan.")
        typer.echo(f"Wrote {', '.join(str(path) for path in made.written)}")
        return
    if cohort is None:
        raise typer.BadParameter("give --cohort to learn from, or --run to apply.")
    learned = pipeline.learn(
        cohort, out or Path("runs/enhance"), factor, axis, config=config, sets=sets, resume=resume,
        overwrite=overwrite, echo=typer.echo,
    )  # fmt: skip
    metrics = learned.model.metrics
    typer.echo(f"Held-out subjects: {metrics['validation_bits_per_dim']:.3f} bits a voxel, at epoch {metrics['epoch']}.")
    options.show_written(learned)
