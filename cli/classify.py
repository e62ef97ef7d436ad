"""`crow classify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from crow.cli import cohort_options, options, two_uses
from crow.cli.terminal import echo, echo_written
from crow.models.registry import kind_of_run
from crow.places import check_places, table

if TYPE_CHECKING:
    from crow.models.classifier import Classifier
    from crow.pipelines.classify import Classified
    from crow.pipelines.cross_sectional_runs import Learned


@options.reads_cohort(cohort_options.OF_TABLES)
def classify(
    context: typer.Context,
    reading: options.Reading,
    cohort: Annotated[
        Path | None, typer.Option(help="Table, or store of crow prepare, to train on; with --run, to classify.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column with the classes; empty where the class is unknown.",
            rich_help_panel=options.TRAINING,
        ),
    ] = None,
    architecture: Annotated[
        Literal["semi-conditional", "infocnf", "ccnf"] | None, options.architecture("semi-conditional")
    ] = None,
    config: options.Config = None,
    sets: options.Sets = None,
    test: options.Test = None,
    resume: options.Resume = False,
    run: options.AppliedRun = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder to write; with --run, the table of predictions.",
            show_default="runs/classify; with --run predictions.csv",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Classify visits when few of them have labels, and refuse visits unlike those of the training.

    Example: [bold]crow classify --cohort demo/cohort.csv --label DX --out demo/dx[/bold], then
    [bold]crow classify --run demo/dx --cohort demo/cohort.csv --out demo/predictions.csv[/bold]
    """
    two_uses.check_use(context)
    if run is not None:
        if cohort is None:
            raise typer.BadParameter("--cohort is missing: name the visits to classify.")
        out = out or Path("predictions.csv")
        check_places(table("--out", out), {"--run": run, "--cohort": cohort}, overwrite)
        kind_of_run(run, "classify")

        from crow.pipelines import classify as pipeline

        _show_classified(pipeline.classify(run, cohort, out, overwrite=overwrite))
        return
    if cohort is None:
        raise typer.BadParameter("Give --cohort to train, or --run to apply a trained model.")
    if label is None:
        raise typer.BadParameter("--label is missing: name the column with the classes, for instance DX.")
    out, sets = out or Path("runs/classify"), options.with_test(sets, test)
    options.check_reading(out, cohort, config, reading, resume, overwrite)
    from crow.run.cross_sectional_config import named_settings

    named_settings("classify", config, sets or [], architecture)

    from crow.pipelines import classify as pipeline

    learned = pipeline.learn(
        cohort, label, out, architecture=architecture, config=config, sets=sets, resume=resume,
        overwrite=overwrite, echo=echo, **reading,
    )  # fmt: skip
    _show_learned(learned)


def _show_learned(learned: "Learned[Classifier]") -> None:
    metrics = learned.model.metrics
    count, subjects = metrics["validation_labelled_visits"], metrics["validation_labelled_subjects"]
    low, high = metrics["validation_error_low"], metrics["validation_error_high"]
    other = metrics["validation_error_logistic_regression"]
    echo(
        f"Validation subjects: error {metrics['validation_error']:.1%} at {count} labelled visits of {subjects} "
        f"subjects (95% interval over subjects {low:.0%} to {high:.0%}); logistic regression on the same labels "
        f"{other:.1%}."
    )
    echo(
        f"Visits with log p(x) below {metrics['threshold']:.2f} are refused: at most 1% of the training visits, and of "
        "the validation visits."
    )
    two_uses.show_written(learned)


def _show_classified(classified: "Classified") -> None:
    rows = classified.predictions
    kept = rows[~rows["refused"]]
    counts = ", ".join(f"{level} {count:,}" for level, count in kept["predicted"].value_counts().items())
    echo(f"{len(rows):,} visits: {counts or 'none classified'}; refused {len(rows) - len(kept):,}.")
    echo_written([classified.file])
