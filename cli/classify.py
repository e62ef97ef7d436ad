"""`crow classify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from crow.cli import cohort_options as flags
from crow.cli import run_options as options

if TYPE_CHECKING:
    from crow.models.classifier import Classifier
    from crow.pipelines.classify import Classified
    from crow.pipelines.cross_sectional_runs import Learned


def classify(
    context: typer.Context,
    cohort: Annotated[
        Path | None, typer.Option(help="A table, or a store of crow prepare: to learn from, or with --run to classify.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="The column with the classes; empty where unknown.", rich_help_panel=options.LEARN
        ),
    ] = None,
    model: Annotated[
        Literal["semi-conditional", "infocnf", "ccnf"],
        typer.Option(help="Which flow learns.", rich_help_panel=options.LEARN),
    ] = "semi-conditional",
    config: options.Config = None,
    sets: options.Sets = None,
    resume: options.Resume = False,
    run: options.Run = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder to learn into (runs/classify); with --run a .csv (predictions.csv).")
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
    """Tell the class of a visit where few visits have labels and many have none, and refuse what was never seen.

    Example: [bold]crow classify --cohort demo/cohort.csv --label DX --out runs/dx[/bold], then [bold]crow classify
    --run runs/dx --cohort new.csv --out predictions.csv[/bold]
    """
    from crow.pipelines import classify as pipeline

    options.one_use(context)
    if run is not None:
        if cohort is None:
            raise typer.BadParameter("--cohort: name the visits to classify.")
        _show_classified(pipeline.classify(run, cohort, out or Path("predictions.csv"), overwrite=overwrite))
        return
    if cohort is None:
        raise typer.BadParameter("give --cohort to learn from, or --run to apply.")
    if label is None:
        raise typer.BadParameter("--label: name the column with the classes, for instance DX.")
    learned = pipeline.learn(
        cohort, label, out or Path("runs/classify"), architecture=model, config=config, sets=sets, resume=resume,
        overwrite=overwrite, echo=typer.echo, **options.reading(context),
    )  # fmt: skip
    _show_learned(learned)


def _show_learned(learned: "Learned[Classifier]") -> None:
    from scipy.stats import binomtest  # seconds to import

    metrics = learned.model.metrics
    count, error = metrics["validation_labelled_visits"], metrics["validation_error"]
    low, high = binomtest(round(error * count), count).proportion_ci(method="wilson")
    typer.echo(
        f"Held-out subjects, {count} visits with a label: error {error:.1%} (95% interval {low:.0%} to {high:.0%}); a "
        f"logistic regression on the same labels {metrics['validation_error_logistic_regression']:.1%}."
    )
    typer.echo(
        f"Refused are visits with log p(x) below {metrics['threshold']:.2f}: at most 1% of those trained on, and of "
        "held-out subjects'."
    )
    options.show_written(learned)


def _show_classified(classified: "Classified") -> None:
    table = classified.predictions
    kept = table[~table["refused"]]
    counts = ", ".join(f"{level} {count:,}" for level, count in kept["predicted"].value_counts().items())
    typer.echo(f"{len(table):,} visits: {counts or 'none predicted'}; refused {len(table) - len(kept):,}.")
    typer.echo(f"Wrote {classified.file}")
