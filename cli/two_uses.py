"""Commands with two uses, which train a model without ``--run`` and apply it with ``--run``."""

from typing import TYPE_CHECKING, Any

import typer

from crow.cli import cohort_options
from crow.cli.options import APPLYING, TRAINING
from crow.cli.terminal import echo, echo_written, written_run

if TYPE_CHECKING:
    from crow.pipelines.cross_sectional_runs import Learned


def check_use(context: typer.Context) -> None:
    """Raise BadParameter for options of training beside ``--run``, and for options of applying without it."""
    applying = context.params["run"] is not None
    others = (TRAINING, cohort_options.PANEL) if applying else (APPLYING,)

    def is_given(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    options = [option for option in context.command.params if getattr(option, "rich_help_panel", None) in others]
    given = [option.opts[0] for option in options if is_given(str(option.name))]
    if given:
        why = "only for training; with --run the settings of the run apply" if applying else "only for use with --run"
        raise typer.BadParameter(f"{', '.join(given)}: {why}.")


def show_likelihood(metrics: dict[str, Any]) -> None:
    """Print the validation likelihood of a run, in its unit."""
    for name, unit in (("nll_per_visit", "nats per visit"), ("bits_per_dim", "bits per voxel")):
        if (found := metrics.get(f"validation_{name}")) is not None:
            echo(f"Validation subjects: {found:.3f} {unit} (negative log-likelihood), at epoch {metrics['epoch']}.")


def show_written(learned: "Learned[Any]") -> None:
    """Print where the run is; after Ctrl-C print how to continue, and exit with status 130."""
    echo_written([learned.folder], written_run(learned.folder))
    if learned.interrupted:
        echo("Training stopped early. The run is usable as it is; --resume continues the training.")
        raise typer.Exit(130)
