"""Train a model of one modality (or some regions) given another, and translate visits that lack the target."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from crow.cohort import Schema
from crow.errors import CohortError, ConfigError
from crow.extras import extra
from crow.files import check_free, writing
from crow.models.translator import Translation, Translator
from crow.pipelines.cross_sectional_runs import Echo, Learned, learned, learning_settings, open_data
from crow.pipelines.scan_history import store_beside
from crow.pipelines.scan_source import open_source
from crow.places import is_store
from crow.report import figures
from crow.report.translations import TranslationRow, translations
from crow.representation.cross_sectional import RegionInputs, ScanInputs
from crow.run.cross_sectional_config import CINNConfig
from crow.scans.derivatives import describe_dataset, require_apart, save_scan, scan_path
from crow.scans.store import ScanStore
from crow.tables import save_table

with extra("scans"):
    import nibabel as nib

MAX_SHOWN = 5  # visits in the picture
SCANS = "Translated scans"
TABLES = ("median.csv", "samples.csv", "sd.csv")


@dataclass(frozen=True)
class Translated:
    """Number of translated visits, and their folder."""

    visits: int
    folder: Path


def learn(
    cohort: Path,
    source: str,
    out: Path,
    target: str = "",
    *,
    config: Path | None = None,
    sets: list[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    echo: Echo = lambda line: None,
    **flags: Any,
) -> Learned[Translator]:
    """Train on ``cohort`` given ``source``, and write the run folder ``out``.

    Both are stores of scans; or ``cohort`` is a table, and ``source`` and ``target`` name its columns. Raises
    ConfigError, CohortError, RunError if there is nothing to resume, OutputError if ``out`` exists.
    """
    sides = [[name.strip() for name in names.split(",") if name.strip()] for names in (source, target)]
    scans = is_store(cohort)
    if not scans and not resume and not flags.get("regions") and target:
        flags["regions"] = [*sides[0], *sides[1]]
    settings = learning_settings(out, "translate", config, sets, resume, overwrite, flags)
    assert isinstance(settings, CINNConfig)
    data = open_data(cohort, settings.cohort)
    if scans and target:
        raise ConfigError(
            f"--target {target}: only for columns of a table; {cohort} is a store, which is itself the target. Leave "
            "it out."
        )
    model = Translator(settings)
    given = ScanStore.open(source) if scans else sides[0]
    model.fit(data, given, sides[1], out, resume=resume, overwrite=overwrite, progress=True, echo=echo)
    return learned(model, out, echo)


def translate(
    run: Path,
    source: Path,
    out: Path,
    samples: int = 8,
    *,
    seed: int = 0,
    overwrite: bool = False,
    echo: Echo = lambda line: None,
    progress: Callable[[Iterator[Translation], int], Iterator[Translation]] = lambda drawn, count: drawn,
) -> Translated:
    """Sample ``samples`` targets for every visit of ``source``, and write them with median and sd into ``out``.

    ``source`` is a store, or a table, BIDS tree or NIfTI file, which is prepared in ``<out>_store`` like the training
    scans. Scans are written as BIDS derivatives with a picture, regions as tables. Raises RunError, CohortError for a
    source that does not fit the run, and OutputError if ``out`` exists.
    """
    model = Translator.load(run)
    if isinstance(model.given, RegionInputs):
        check_free(out, overwrite, "set of translations")
        schema = model.schema.model_copy(update={"regions": model.given.table.regions, "covariates": {}, "fixed": []})
        return _write_tables(model, source, schema, out, samples, seed, overwrite, progress)
    check_free(out, overwrite, "set of translations")
    store = open_source(model.given, source, store_beside(out), echo, overwrite)
    visits, suffix = store.cohort().visits, model.inputs.facts["modality"]  # type: ignore[union-attr]
    names = zip(visits["subject"], visits["session"], strict=True)
    require_apart(out, [scan_path(out, subject, session, "median", suffix) for subject, session in names])
    count = len(store.rows)
    drawn = progress(model.translate(store, samples, seed), count)
    with writing(out, overwrite, "set of translations") as folder:
        folder.mkdir()
        describe_dataset(folder, SCANS)
        shown = []
        for k, one in enumerate(drawn):
            _save(model, folder, one, run, seed)
            if k < MAX_SHOWN:
                shown.append(_shown(model.given, store, one))
        figures.save(translations(shown, model.given.facts["modality"], suffix), folder / "translations.png")
    return Translated(count, out)


def _write_tables(
    model: Translator, source: Path, schema: Schema, out: Path, samples: int, seed: int, overwrite: bool,
    progress: Callable[[Iterator[Translation], int], Iterator[Translation]],
) -> Translated:  # fmt: skip
    """Write ``median.csv`` and ``sd.csv`` (one row per visit) and ``samples.csv`` (one row per visit and sample)."""
    if is_store(source):
        raise CohortError(f"{source}: a store of scans; the run was trained on a table of regions. Use such a table.")
    data = open_data(source, {}, schema)
    assert not isinstance(data, ScanStore)
    drawn = list(progress(model.translate(data, samples, seed), len(data)))
    regions = model.inputs.table.regions  # type: ignore[union-attr]
    visits = pd.DataFrame([one.visit[["subject", "session", "time"]] for one in drawn]).reset_index(drop=True)

    def table(values: NDArray[np.float32], rows: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([rows, pd.DataFrame(values, columns=regions)], axis=1)

    repeated = visits.loc[visits.index.repeat(samples)].reset_index(drop=True)
    repeated.insert(3, "sample", list(range(1, samples + 1)) * len(drawn))
    tables = (
        table(np.stack([one.median for one in drawn]), visits),
        table(np.concatenate([one.samples for one in drawn]), repeated),
        table(np.stack([one.sd for one in drawn]), visits),
    )
    with writing(out, overwrite, "set of translations") as folder:
        folder.mkdir()
        for name, rows in zip(TABLES, tables, strict=True):
            save_table(rows, folder / name, ".csv")
    return Translated(len(drawn), out)


def _save(model: Translator, folder: Path, one: Translation, run: Path, seed: int) -> None:
    target, given = model.inputs, model.given
    assert isinstance(target, ScanInputs) and isinstance(given, ScanInputs)
    count = len(one.samples)
    facts = {
        "synthetic": True, "Source": f"{given.facts['modality']} scan of this visit",
        "Model": {"run": run.name, "architecture": model.config.architecture, "samples": count, "seed": seed},
        "Units": "units of prepared scans",
    }  # fmt: skip
    images = {"median": (one.median, f"median of {count} samples"), "sd": (one.sd, f"sd of {count} samples")}
    images |= {f"sample{k + 1}": (image, f"sample {k + 1} of {count}") for k, image in enumerate(one.samples)}
    for desc, (values, description) in images.items():
        image = nib.Nifti1Image(values, target.affine)
        path = scan_path(
            folder, one.visit["subject"], one.visit["session"], desc, target.facts["modality"], target.facts["space"]
        )
        save_scan(path, values, image, {**facts, "Description": description})


def _shown(given: ScanInputs, store: ScanStore, one: Translation) -> TranslationRow:
    levels = torch.from_numpy(given.encode(store, np.array([one.visit.name])))
    title = f"{one.visit['subject']} {one.visit['session']}".strip()
    return TranslationRow(title, given.decode(levels.float())[0], one.samples, one.median, one.sd)
