"""The flags of every command that learns a run and applies it, and which of them may stand together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crow.cli import cohort_options

if TYPE_CHECKING:
    from crow.pipelines.cross_sectional_runs import Learned

LEARN, APPLY = "To learn (without --run)", "To apply (with --run)"

Run = Annotated[Path | None, typer.Option(help="A run folder of this command, to apply.", rich_help_panel=APPLY)]
Config = Annotated[
    Path | None, typer.Option(help="YAML settings; configs/ has a preset.", rich_help_panel=LEARN)
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting.", rich_help_panel=LEARN)
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the training that was begun in --out.", rich_help_panel=LEARN)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands at --out.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the draws.", rich_help_panel=APPLY)]


def one_use(context: typer.Context) -> None:
    """Raise BadParameter for flags of learning beside ``--run``, and for flags of applying without it."""
    applying = context.params["run"] is not None
    others = (LEARN, cohort_options.PANEL) if applying else (APPLY,)

    def given_here(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    given = [option.opts[0] for option in _of(context, *others) if given_here(str(option.name))]
    if given:
        why = "for learning; --run has learned, and reads a cohort as it did then" if applying else "give it with --run"
        raise typer.BadParameter(f"{', '.join(given)}: {why}.")


def reading(context: typer.Context) -> dict[str, Any]:
    """The flags of `crow.cli.cohort_options` that a command has, as pipelines take them."""
    own = {str(option.name) for option in _of(context, cohort_options.PANEL)}
    renamed = {"missing_code": "missing_codes"}
    return {renamed.get(name, name): context.params[name] or None for name in own}  # of many that are not given: []


def show_likelihood(metrics: dict[str, Any]) -> None:
    """The held-out likelihood of a run, in the unit that it has."""
    for name, unit in (("nll_per_visit", "nats a visit"), ("bits_per_dim", "bits a pixel")):
        if (found := metrics.get(f"held_out_{name}")) is not None:
            typer.echo(f"Held-out subjects: {found:.3f} {unit} (negative log-likelihood), at epoch {metrics['epoch']}.")


def show_written(learned: "Learned[Any]") -> None:
    """Say where the run is; after Ctrl-C how to go on, and leave with its exit code."""
    typer.echo(f"Wrote {learned.folder} (model, settings, metrics, training.png)")
    if learned.interrupted:
        typer.echo("Ended early: the run can be used as it is, or gone on with: --resume")
        raise typer.Exit(130)


def _of(context: typer.Context, *panels: str) -> list[Any]:
    return [option for option in context.command.params if getattr(option, "rich_help_panel", None) in panels]
