"""`crow synthesize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from crow.cli import cohort_options as flags
from crow.cli import run_options as options

if TYPE_CHECKING:
    from crow.models.synthesizer import Synthesizer
    from crow.pipelines.cross_sectional_runs import Learned
    from crow.pipelines.synthesize import Synthesized


def synthesize(
    context: typer.Context,
    cohort: Annotated[
        Path | None, typer.Option(help="A table, or a store of crow prepare.", rich_help_panel=options.LEARN)
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Attributes to be given: sex,age,diagnosis.", rich_help_panel=options.LEARN),
    ] = None,
    model: Annotated[
        Literal["cglow", "caglow"],
        typer.Option(help="How attributes enter: a prior, or an adversarial encoder.", rich_help_panel=options.LEARN),
    ] = "cglow",
    config: options.Config = None,
    sets: options.Sets = None,
    resume: options.Resume = False,
    run: options.Run = None,
    attributes: Annotated[
        str,
        typer.Option(
            metavar="NAME=VALUE,...", help="sex=F,age=75; the rest is drawn as in training.",
            rich_help_panel=options.APPLY,
        ),
    ] = "",
    count: Annotated[int, typer.Option(min=1, help="How many to invent.", rich_help_panel=options.APPLY)] = 100,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder to learn into (runs/synthesize); with --run a .csv, or a folder for scans."),
    ] = None,
    overwrite: options.Overwrite = False,
    subject: flags.Subject = None,
    time: flags.Time = None,
    time_kind: flags.TimeKind = None,
    age: flags.Age = None,
    session: flags.Session = None,
    covariates: flags.Covariates = None,
    regions: flags.Regions = None,
    exclude: flags.Exclude = None,
    missing: flags.Missing = None,
    missing_code: flags.MissingCodes = None,
) -> None:  # fmt: skip
    """Invent cross-sectional visits, region profiles or scans, that have given attributes and vary in everything else.

    Example: [bold]crow synthesize --cohort demo/cohort.csv --condition sex,age,diagnosis --out demo/people[/bold],
    then [bold]crow synthesize --run demo/people --attributes sex=F,age=75,diagnosis=AD --out demo/women.csv[/bold]
    """
    from rich.progress import track

    from crow.pipelines import synthesize as pipeline

    options.one_use(context)
    if run is not None:
        made = pipeline.synthesize(
            run, attributes, count, out, seed=seed, overwrite=overwrite,
            progress=lambda rows: track(rows, "Scans", transient=True),
        )  # fmt: skip
        _show_made(made)
        return
    if cohort is None:
        raise typer.BadParameter("give --cohort to learn from, or --run to apply.")
    if condition is None:
        raise typer.BadParameter("--condition: name the attributes to be given, for instance sex,age,diagnosis.")
    names = [name.strip() for name in condition.split(",") if name.strip()]
    learned = pipeline.learn(
        cohort, out or Path("runs/synthesize"), names, architecture=model, config=config, sets=sets, resume=resume,
        overwrite=overwrite, echo=typer.echo, **options.reading(context),
    )  # fmt: skip
    _show_learned(learned)


def _show_learned(learned: "Learned[Synthesizer]") -> None:
    from crow.pipelines.synthesize import needed

    options.show_likelihood(learned.model.metrics)
    typer.echo(f"Attributes: {needed(learned.model)}.")
    options.show_written(learned)


def _show_made(made: "Synthesized") -> None:
    rest = f"; {', '.join(made.drawn)} drawn as in training" if made.drawn else ""
    typer.echo(f"Invented {len(made.attributes):,} visits{rest}.")
    typer.echo(f"Wrote {', '.join(str(path) for path in made.written)}")
