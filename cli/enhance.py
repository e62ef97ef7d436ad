"""`crow enhance`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from crow.cli import options, two_uses
from crow.cli.terminal import echo, echo_written
from crow.models.registry import kind_of_run
from crow.places import check_places, folder


def enhance(
    context: typer.Context,
    cohort: Annotated[
        Path | None,
        typer.Option(help="Store of crow prepare with scans of thin slices.", rich_help_panel=options.TRAINING),
    ] = None,
    factor: Annotated[
        int, typer.Option(min=2, max=8, help="Thin slices per thick slice.", rich_help_panel=options.TRAINING)
    ] = 2,
    axis: Annotated[
        Literal["x", "y", "z"],
        typer.Option(help="Axis across the slices; z for axial ones.", rich_help_panel=options.TRAINING),
    ] = "z",
    config: options.Config = None,
    sets: options.Sets = None,
    test: options.Test = None,
    resume: options.Resume = False,
    run: options.AppliedRun = None,
    scan: Annotated[
        Path | None, typer.Option(help="NIfTI file with thick slices.", rich_help_panel=options.APPLYING)
    ] = None,
    draws: Annotated[int, options.draws(2, options.APPLYING)] = 16,
    save_scan_draws: Annotated[int, options.save_scan_draws(options.APPLYING)] = 2,
    seed: options.AppliedSeed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder to write; with --run, the folder for scans.",
            show_default="runs/enhance; with --run enhanced",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Draw thin slices from a scan with thick slices: the median, its uncertainty, and single draws.

    Example: [bold]crow enhance --cohort demo/store --factor 2 --out demo/thin_run[/bold], then
    [bold]crow enhance --run demo/thin_run --scan demo/sub-0002_T1w.nii.gz --out demo/thin[/bold]
    """
    two_uses.check_use(context)
    if run is not None:
        if scan is None:
            raise typer.BadParameter("--scan is missing: name the file with thick slices.")
        out = out or Path("enhanced")
        check_places(folder("--out", out, "file", grows=True), {"--run": run, "--scan": scan}, overwrite)
        kind_of_run(run, "enhance")

        from crow.pipelines import enhance as pipeline

        made = pipeline.enhance(
            run, scan, out, samples=draws, keep=save_scan_draws, seed=seed, overwrite=overwrite,
            echo=echo,
        )  # fmt: skip
        echo(f"{made.draws} draws; mean standard deviation {made.sd:.3g}, in the units of the scan.")
        echo_written(made.written)
        return
    if cohort is None:
        raise typer.BadParameter("Give --cohort to train, or --run to apply a trained model.")
    out, sets = out or Path("runs/enhance"), options.with_test(sets, test)
    options.check_reading(out, cohort, config, {}, resume, overwrite)
    from crow.run.cross_sectional_config import named_settings

    named_settings("enhance", config, sets or [])

    from crow.pipelines import enhance as pipeline

    learned = pipeline.learn(
        cohort, out, factor, axis, config=config, sets=sets, resume=resume, overwrite=overwrite, echo=echo,
    )  # fmt: skip
    two_uses.show_likelihood(learned.model.metrics)
    two_uses.show_written(learned)
