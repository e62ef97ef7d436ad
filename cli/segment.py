"""`crow segment`."""

from pathlib import Path
from typing import Annotated

import typer

from crow.cli import options, two_uses
from crow.cli.progress import followed
from crow.cli.terminal import echo, echo_written
from crow.models.registry import kind_of_run
from crow.places import check_places, folder


def segment(
    context: typer.Context,
    cohort: Annotated[
        Path | None,
        typer.Option(
            help="Store of crow prepare to train on; with --run, the scans to segment: a store, table, BIDS tree or "
            "NIfTI file.",
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks in the space of the scans (dseg or mask).", rich_help_panel=options.TRAINING
        ),
    ] = None,
    label: Annotated[
        int | None,
        typer.Option(help="Label of the structure; not needed for masks.", rich_help_panel=options.TRAINING),
    ] = None,
    config: options.Config = None,
    sets: options.Sets = None,
    test: options.Test = None,
    resume: options.Resume = False,
    run: options.AppliedRun = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only this subject; may be repeated.", rich_help_panel=options.APPLYING),
    ] = None,
    draws: Annotated[int, options.draws(2, options.APPLYING)] = 32,
    save_scan_draws: Annotated[int, options.save_scan_draws(options.APPLYING)] = 0,
    seed: options.AppliedSeed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder to write; with --run, the folder for masks.",
            show_default="runs/segment; with --run masks",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Segment a structure: the probability of each voxel, plausible masks, and the volume with an interval.

    Example:
    [bold]crow segment --cohort demo/store --masks demo/truth --label 2 --out demo/seg[/bold]
    [bold]crow segment --run demo/seg --cohort demo/store --subject 02 --out demo/masks[/bold]
    """
    two_uses.check_use(context)
    if cohort is None:
        raise typer.BadParameter("--cohort is missing: name the scans to train on, or (with --run) to segment.")
    if run is not None:
        out = out or Path("masks")
        check_places(folder("--out", out, "file", grows=True), {"--run": run, "--cohort": cohort}, overwrite)
        kind_of_run(run, "segment")

        from crow.pipelines import segment as pipeline

        made = pipeline.segment(
            run, cohort, out, subject, samples=draws, keep=save_scan_draws, seed=seed,
            overwrite=overwrite, echo=echo, progress=lambda rows: followed(rows, "Scans"),
        )  # fmt: skip
        for row in made.volumes.head(10).itertuples():
            name = f"{row.subject} {row.session}".strip()
            echo(f"{name}: {row.volume:,.0f} mm3 (90% of draws {row.q05:,.0f} to {row.q95:,.0f})")
        echo_written(made.written)
        return
    if masks is None:
        raise typer.BadParameter("Give --masks (a folder) to train, or --run to apply a trained model.")
    out, sets = out or Path("runs/segment"), options.with_test(sets, test)
    options.check_reading(out, cohort, config, {}, resume, overwrite, masks=masks)
    from crow.run.cross_sectional_config import named_settings

    named_settings("segment", config, sets or [])

    from crow.pipelines import segment as pipeline

    learned = pipeline.learn(
        cohort, out, masks, label, config=config, sets=sets, resume=resume, overwrite=overwrite, echo=echo,
    )  # fmt: skip
    metrics = learned.model.metrics
    echo(
        f"Validation subjects: Dice {metrics['validation_dice']:.3f}, calibration error "
        f"{metrics['validation_calibration_error']:.3f}, at epoch {metrics['epoch']}."
    )
    two_uses.show_written(learned)
