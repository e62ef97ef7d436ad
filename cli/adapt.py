"""`crow adapt`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crow.cli import cohort_options, options
from crow.cli.terminal import console, echo, echo_written, plain
from crow.models.registry import kind_of_run
from crow.places import check_places, folder

if TYPE_CHECKING:
    from crow.pipelines.adapt import Adapted

MAX_REGIONS = 9


@options.joins_tables
def adapt(
    run: options.Run,
    cohort: Annotated[Path, typer.Option(help="A table of subjects at the new sites, in the columns of the training.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    missing: cohort_options.Missing = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Estimate the effects of new sites or scanners from a few subjects, and write a run that has them.

    Nothing else is fitted again: for all other sites the new run gives the same results.

    Example:
    [bold]crow adapt --run demo/run --cohort new_site.csv --out demo/adapted[/bold]
    """
    check_places(folder("--out", out, "run"), {"--run": run, "--cohort": cohort}, overwrite)
    kind_of_run(run, "train")

    from crow.pipelines.adapt import adapt as run_adapt

    _show(run_adapt(run, cohort, out, missing=missing, overwrite=overwrite))


def _show(made: "Adapted") -> None:
    from rich.table import Table

    for (column, level), rows in made.effects.groupby(["column", "level"], sort=False):
        count = int(rows["subjects"].iloc[0])
        echo(f"{column} {level}, from {count} subject{'s' * (count > 1)}:")
        largest = rows.reindex(rows["shift_sd"].abs().sort_values(ascending=False).index)[:MAX_REGIONS]
        table = Table("region", "shift", "in sd (90%)", "scale (90%)", box=None)
        for _, row in largest.iterrows():
            shift = f"{row['shift_sd']:+.2f} ({row['shift_sd_q05']:+.2f} to {row['shift_sd_q95']:+.2f})"
            scale = f"{row['scale']:.2f} ({row['scale_q05']:.2f} to {row['scale_q95']:.2f})"
            table.add_row(plain(row["region"]), f"{row['shift']:+.4g}", shift, scale)
        console().print(table)
        if (rest := len(rows) - len(largest)) > 0:
            echo(f"  and {rest} more regions, in site_effects.csv")
    echo_written([made.folder], " (the run with these effects, and site_effects.csv)")
