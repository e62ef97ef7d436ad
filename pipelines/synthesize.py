"""Train a model of single visits given attributes, and sample synthetic visits with attributes of choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from crow.cohort import Cohort
from crow.cohort.options import listed
from crow.errors import ConfigError
from crow.extras import extra
from crow.files import check_free, writing
from crow.memory import require_memory
from crow.pipelines.cross_sectional_runs import Echo, Learned, learned, learning_settings, open_data
from crow.pipelines.pictures import can_draw
from crow.pipelines.provenance import provenance_beside, write_provenance
from crow.representation.attributes import AttributeTable, covariate_named
from crow.run.folder import read_description, sha256
from crow.tables import save_table

if TYPE_CHECKING:
    import numpy as np

    from crow.models.synthesizer import Synthesizer

MAX_SHOWN = 12  # scans in the picture
MAX_PROFILES = 10_000  # visits in the picture of a table
BYTES_PER_ROW = 64  # of one column in memory
Part = tuple[pd.DataFrame, Any]
SCANS = "Synthetic scans"


@dataclass(frozen=True)
class Synthesized:
    """Attributes of the synthetic visits, names of those that were drawn at random, and the files written."""

    attributes: pd.DataFrame
    drawn: list[str]
    written: tuple[Path, ...]


def learn(
    cohort: Path,
    out: Path,
    attributes: list[str],
    *,
    architecture: str | None = None,
    config: Path | None = None,
    sets: list[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    echo: Echo = lambda line: None,
    **flags: Any,
) -> Learned[Synthesizer]:
    """Train on the visits of a table or of a store of scans given ``attributes``, and write the run folder ``out``.

    Raises ConfigError, CohortError, RunError if there is nothing to resume, OutputError if ``out`` exists.
    """
    settings = learning_settings(out, "synthesize", config, sets, resume, overwrite, flags, architecture)
    data = open_data(cohort, settings.cohort)
    if isinstance(data, Cohort):
        for name in attributes:
            covariate_named(name, data, str(cohort))

    from crow.models.synthesizer import Synthesizer

    model = Synthesizer(settings)
    model.fit(data, attributes, out, resume=resume, overwrite=overwrite, progress=True, echo=echo)
    return learned(model, out, echo)


def synthesize(
    run: Path,
    attributes: str,
    count: int,
    out: Path | None = None,
    *,
    seed: int = 0,
    overwrite: bool = False,
    echo: Echo = lambda line: None,
    progress: Callable[[list[int]], Any] = iter,
) -> Synthesized:
    """Sample ``count`` synthetic visits: a table of regions or a folder of scans, with their attributes and a picture.

    Raises RunError, ConfigError for attributes that are not in the run, and OutputError if ``out`` exists.
    """
    given = AttributeTable.model_validate(read_description(run).get("attributes")).parse(attributes)

    from crow.models.synthesizer import Synthesizer

    model = Synthesizer.load(run)
    out = out or Path("synthetic.csv" if not model.uses_scans else "synthetic")
    if not model.uses_scans and out.suffix not in (".csv", ".tsv"):
        raise ConfigError(f"--out {out}: regions are written as a table. Use a name that ends in .csv or .tsv.")
    check_free(out, overwrite, "set of synthetic scans" if model.uses_scans else "file")
    require_memory(
        count * BYTES_PER_ROW * (1 + len(model.attributes.names)), f"--count {count}", "Choose a smaller number."
    )
    parts = model.draw(given, count, seed)
    drawn = [name for name in model.attributes.names if name not in given]
    digits = max(4, len(str(count)))
    if model.uses_scans:
        rows = _write_scans(model, parts, out, count, digits, run, seed, overwrite, progress)
        return Synthesized(rows, drawn, (out,))
    picture = out.with_suffix(".png") if can_draw(echo) else None
    if picture is not None:
        check_free(picture, overwrite)
    title = _title(count, ", ".join(_short(value) for value in given.values()))
    rows = _write_table(model, parts, out, picture, title, digits, run, seed, overwrite)
    return Synthesized(rows, drawn, (out, provenance_beside(out), *([picture] if picture else [])))


def _write_table(
    model: Synthesizer, parts: Iterator[Part], out: Path, picture: Path | None, title: str, digits: int, run: Path,
    seed: int, overwrite: bool,
) -> pd.DataFrame:  # fmt: skip
    """Write visits as they are drawn, and a picture of the first ones."""
    rows: list[pd.DataFrame] = []
    shown: list[pd.DataFrame] = []
    with writing(out, overwrite) as temporary, writing(provenance_beside(out), overwrite) as beside:
        for attributes, values in parts:
            assert isinstance(values, pd.DataFrame)
            named = _named(attributes, sum(map(len, rows)), digits)
            if sum(map(len, shown)) < MAX_PROFILES:
                shown.append(values)
            table = pd.concat([named, values.set_axis(named.index)], axis=1)
            save_table(table, temporary, out.suffix, append=bool(rows))
            rows.append(named)
        write_provenance(beside, run, "visits", seed, {"Visits": sum(map(len, rows))})
        if picture is None:
            return pd.concat(rows)
        from crow.report import figures
        from crow.report.synthetic_profiles import profile

        scale = model.inputs.table  # type: ignore[union-attr]
        figures.save(profile(pd.concat(shown), scale.mean, scale.sd, title), picture, overwrite)
    return pd.concat(rows)


def _write_scans(
    model: Synthesizer, parts: Iterator[Part], out: Path, count: int, digits: int, run: Path, seed: int,
    overwrite: bool, progress: Callable[[list[int]], Any],
) -> pd.DataFrame:  # fmt: skip
    """Write scans as they are drawn, with a table of their attributes and a picture of the first ones."""
    import numpy as np

    from crow.report import figures
    from crow.report.images import montage
    from crow.scans.derivatives import describe_dataset

    rows: list[pd.DataFrame] = []
    shown: list[np.ndarray] = []
    scans, digest = _each(parts), sha256(run / "model.safetensors")
    with writing(out, overwrite, "set of synthetic scans") as folder:
        folder.mkdir()
        describe_dataset(folder, SCANS)
        for k in progress(list(range(count))):
            attributes, values = next(scans)
            row = _named(attributes, k, digits)
            _save(model, folder, row.iloc[0], values, run, digest, seed)
            rows.append(row)
            shown += [values] if k < MAX_SHOWN else []
        table = pd.concat(rows)
        subjects = table.rename(columns={"subject": "participant_id"})
        subjects["participant_id"] = "sub-" + subjects["participant_id"]
        save_table(subjects, folder / "participants.tsv", ".tsv", digits=6)
        titles = [", ".join(map(_short, table.drop(columns="subject").iloc[k])) for k in range(len(shown))]
        figures.save(montage(np.stack(shown), titles), folder / "samples.png")
    return table


def _each(parts: Iterator[Part]) -> Iterator[Part]:
    for attributes, values in parts:
        for k in range(len(attributes)):
            yield attributes.iloc[[k]], values[k]


def _named(attributes: pd.DataFrame, before: int, digits: int) -> pd.DataFrame:
    """The attributes of visits, with their subjects, after ``before`` other ones."""
    names = [f"synthetic{before + n + 1:0{digits}d}" for n in range(len(attributes))]
    named = attributes.copy()
    named.insert(0, "subject", names)
    return named


def _save(
    model: Synthesizer, folder: Path, row: pd.Series, values: np.ndarray, run: Path, digest: str, seed: int
) -> None:
    with extra("scans"):
        import nibabel as nib

    from crow.scans.derivatives import save_scan, scan_path

    visits = model.inputs
    suffix = visits.facts["modality"]  # type: ignore[union-attr]
    space = visits.facts["space"]  # type: ignore[union-attr]
    image = nib.Nifti1Image(values, visits.affine)  # type: ignore[union-attr]
    attributes = {name: _plain(value) for name, value in row.drop("subject").items()}
    facts = {
        "synthetic": True, "Description": "scan of a synthetic subject", "Attributes": attributes,
        "Model": {
            "run": run.name, "sha256": digest, "architecture": model.config.architecture, "seed": seed
        },
        "Units": "units of prepared scans",
    }  # fmt: skip
    save_scan(scan_path(folder, row["subject"], "", "synthetic", suffix, space), values, image, facts)


def _title(count: int, chosen: str) -> str:
    return f"{count:,} synthetic visits" + (f": {chosen}" if chosen else "")


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else round(float(value), 6)


def _short(value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{float(value):.3g}"


def needed(model: Synthesizer) -> str:
    """The attributes of a run and their values, for messages about ``--attributes``."""
    return listed(
        f"{a.name} ({', '.join(a.levels)})" if a.levels else f"{a.name} ({a.low:.4g} to {a.high:.4g})"
        for a in model.attributes.attributes
    )
