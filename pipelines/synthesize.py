"""Train a model of single visits given attributes, and sample synthetic visits with attributes of choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from crow.cohort.options import listed
from crow.errors import ConfigError
from crow.files import check_free, writing
from crow.models.synthesizer import Synthesizer
from crow.pipelines.cross_sectional_runs import Echo, Learned, learned, learning_settings, open_data
from crow.report import figures
from crow.report.images import montage
from crow.report.synthetic_profiles import profile
from crow.scans.derivatives import describe_dataset, save_scan, scan_path

MAX_SHOWN = 12  # scans in the picture
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
    model = Synthesizer(settings)
    model.fit(data, attributes, out, resume=resume, overwrite=overwrite, progress=True, echo=echo)
    return learned(model, out)


def synthesize(
    run: Path,
    attributes: str,
    count: int,
    out: Path | None = None,
    *,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[list[int]], Any] = iter,
) -> Synthesized:
    """Sample ``count`` synthetic visits: a table of regions or a folder of scans, with their attributes and a picture.

    Raises RunError, ConfigError for attributes that are not in the run, and OutputError if ``out`` exists.
    """
    model = Synthesizer.load(run)
    given = model.attributes.parse(attributes)
    out = out or Path("synthetic.csv" if not model.uses_scans else "synthetic")
    if not model.uses_scans and out.suffix not in (".csv", ".tsv"):
        raise ConfigError(f"--out {out}: regions are written as a table. Use a name that ends in .csv or .tsv.")
    picture = out.with_suffix(".png")
    if not model.uses_scans:
        for path in (out, picture):
            check_free(path, overwrite)
    else:
        check_free(out, overwrite)
    rows, values = model.sample(given, count, seed)
    names = [f"synthetic{n + 1:0{max(4, len(str(count)))}d}" for n in range(count)]
    rows.insert(0, "subject", names)
    drawn = [name for name in model.attributes.names if name not in given]
    if isinstance(values, pd.DataFrame):
        with writing(out, overwrite) as temporary:
            table = pd.concat([rows, values], axis=1)
            table.to_csv(temporary, index=False, float_format="%.8g", sep="\t" if out.suffix == ".tsv" else ",")
        scale, chosen = model.inputs.table, ", ".join(_short(value) for value in given.values())  # type: ignore[union-attr]
        figures.save(profile(values, scale.mean, scale.sd, _title(count, chosen)), picture, overwrite)
        return Synthesized(rows, drawn, (out, picture))
    with writing(out, overwrite) as folder:
        folder.mkdir()
        describe_dataset(folder, SCANS)
        subjects = rows.drop(columns="subject")
        subjects.insert(0, "participant_id", [f"sub-{name}" for name in names])
        subjects.to_csv(folder / "participants.tsv", sep="\t", index=False, float_format="%.6g")
        for k in progress(list(range(count))):
            _save(model, folder, rows.iloc[k], values[k], run, seed)
        shown = min(count, MAX_SHOWN)
        titles = [", ".join(_short(value) for value in rows.drop(columns="subject").iloc[k]) for k in range(shown)]
        figures.save(montage(values[:shown], titles), folder / "samples.png")
    return Synthesized(rows, drawn, (out,))


def _save(model: Synthesizer, folder: Path, row: pd.Series, values: np.ndarray, run: Path, seed: int) -> None:
    visits = model.inputs
    suffix = visits.facts["modality"]  # type: ignore[union-attr]
    space = visits.facts["space"]  # type: ignore[union-attr]
    image = nib.Nifti1Image(values, visits.affine)  # type: ignore[union-attr]
    attributes = {name: _plain(value) for name, value in row.drop("subject").items()}
    facts = {
        "synthetic": True, "Description": "scan of a synthetic subject", "Attributes": attributes,
        "Model": {"run": run.name, "architecture": model.config.architecture, "seed": seed},
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
