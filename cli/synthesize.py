"""`crow synthesize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from crow.cli import cohort_options, options, two_uses
from crow.cli.progress import followed
from crow.cli.terminal import echo, echo_written
from crow.models.registry import kind_of_run
from crow.places import FIGURES, check_places, file, folder, table

if TYPE_CHECKING:
    from crow.models.synthesizer import Synthesizer
    from crow.pipelines.cross_sectional_runs import Learned
    from crow.pipelines.synthesize import Synthesized


@options.reads_cohort(cohort_options.OF_TABLES)
def synthesize(
    context: typer.Context,
    reading: options.Reading,
    cohort: Annotated[
        Path | None, typer.Option(help="Table, or store of crow prepare.", rich_help_panel=options.TRAINING)
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Attributes to condition on: sex,age,diagnosis.", rich_help_panel=options.TRAINING
        ),
    ] = None,
    architecture: Annotated[Literal["cglow", "caglow"] | None, options.architecture("cglow")] = None,
    config: options.Config = None,
    sets: options.Sets = None,
    test: options.Test = None,
    resume: options.Resume = False,
    run: options.AppliedRun = None,
    attributes: Annotated[
        str,
        typer.Option(
            metavar="NAME=VALUE,...", help="Attributes of the visits: sex=F,age=75; others are drawn as in training.",
            rich_help_panel=options.APPLYING,
        ),
    ] = "",
    count: Annotated[
        int,
        typer.Option(
            min=1, help="Number of visits to draw.", rich_help_panel=options.APPLYING,
            callback=options.at_most(10_000_000, "visits", 1000),
        ),
    ] = 100,
    seed: options.AppliedSeed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder to write; with --run, a table (.csv or .tsv), or a folder for scans.",
            show_default="runs/synthesize; with --run synthetic.csv or synthetic",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Draw synthetic cross-sectional visits, of regions or scans, with given attributes.

    Example:
    [bold]crow synthesize --cohort demo/cohort.csv --condition sex,age --out demo/made[/bold]
    [bold]crow synthesize --run demo/made --attributes sex=F,age=75 --out demo/women.csv[/bold]
    """
    two_uses.check_use(context)
    if run is not None:
        kind_of_run(run, "synthesize")
        from crow.run.folder import read_description

        scans = read_description(run).get("inputs", {}).get("kind") != "regions"
        out = out or Path("synthetic" if scans else "synthetic.csv")
        picture = file("--out (its picture)", out.with_suffix(".png") if out.name else out, FIGURES)
        origin = file("--out (its provenance)", out.with_name(f"{out.stem}.provenance.json") if out.name else out)
        outputs = folder("--out", out, "set of synthetic scans") if scans else [*table("--out", out), *picture, *origin]
        check_places(outputs, {"--run": run}, overwrite)

        from crow.pipelines import synthesize as pipeline

        made = pipeline.synthesize(
            run, attributes, count, out, seed=seed, overwrite=overwrite, echo=echo,
            progress=lambda rows: followed(rows, "Scans"),
        )  # fmt: skip
        _show_made(made)
        return
    if cohort is None:
        raise typer.BadParameter("Give --cohort to train, or --run to apply a trained model.")
    if condition is None:
        raise typer.BadParameter("--condition is missing: name the attributes, for instance sex,age,diagnosis.")
    names = [name.strip() for name in condition.split(",") if name.strip()]
    out, sets = out or Path("runs/synthesize"), options.with_test(sets, test)
    options.check_reading(out, cohort, config, reading, resume, overwrite)
    from crow.run.cross_sectional_config import named_settings

    named_settings("synthesize", config, sets or [], architecture)

    from crow.pipelines import synthesize as pipeline

    learned = pipeline.learn(
        cohort, out, names, architecture=architecture, config=config, sets=sets, resume=resume,
        overwrite=overwrite, echo=echo, **reading,
    )  # fmt: skip
    _show_learned(learned)


def _show_learned(learned: "Learned[Synthesizer]") -> None:
    from crow.pipelines.synthesize import needed

    two_uses.show_likelihood(learned.model.metrics)
    echo(f"Attributes: {needed(learned.model)}.")
    two_uses.show_written(learned)


def _show_made(made: "Synthesized") -> None:
    rest = f"; {', '.join(made.drawn)} drawn as in training" if made.drawn else ""
    echo(f"{len(made.attributes):,} synthetic visits{rest}.")
    echo_written(made.written)
