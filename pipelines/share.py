"""Pack a run as a zip file that holds nothing of single subjects."""

from __future__ import annotations

import json
import math
import re
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crow.cohort import Cohort, read_cohort
from crow.errors import CohortError, RunError
from crow.files import writing
from crow.models.loading import load
from crow.models.scans import ScanModel
from crow.pipelines.history import trained_on
from crow.places import EVALUATION, beside_run, is_store
from crow.report.evaluated import read_evaluation
from crow.run.folder import FILES, Run, load_run, save_run, sha256
from crow.scans.store import ScanStore
from crow.sharing.cards import data_sheet, model_card
from crow.sharing.description import shared_run
from crow.sharing.disclosure import MIN_COUNT, Disclosure

DATA_SHEET, MODEL_CARD = "DATA_SHEET.md", "MODEL_CARD.md"
DOMINANCE = 0.75  # of the variance of a mode: the rule (1, 75)
MIN_NAME = 4  # characters of a subject's name, letters and digits; another one is also a word or a number
NUMBER = re.compile(r"-?\d+\.\d+(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Shared:
    """The zip file, the names of the files in it, and warnings."""

    path: Path
    files: list[str]
    warnings: list[str]


def share(
    run: Path,
    out: Path,
    *,
    cohort: Path | None = None,
    evaluation: Path | None = None,
    licence: str | None = None,
    intended_use: str | None = None,
    min_count: int = MIN_COUNT,
    overwrite: bool = False,
) -> Shared:
    """Pack the weights, the settings and the description of a run with a data sheet and a model card.

    Parameters
    ----------
    run : Path
        The run folder.
    out : Path
        The zip file to write.
    cohort : Path, optional
        The table or store of the training; by default the one that the run names. It decides what is rare.
    evaluation : Path, optional
        What crow evaluate wrote; ``RUN_evaluation`` by default.
    licence, intended_use : str, optional
        Texts for the cards.
    min_count : int
        Levels, sites and values of fewer subjects are withheld.
    overwrite : bool
        Replace an earlier file.

    Raises
    ------
    RunError
        If the run is damaged, or its privacy audit failed.
    CohortError
        If the training cohort is missing, is another one, or is too small.
    OutputError
        If ``out`` exists and ``overwrite`` is not set.
    """
    saved, model = load_run(run), load(run)
    training, store = _training(model, cohort)
    disclosure = Disclosure(training, min_count)
    if store is not None and isinstance(model, ScanModel):
        _check_modes(run, model, store.subset(training.visits.index.to_numpy()))
    found = read_evaluation(evaluation or beside_run(run, EVALUATION))
    if found is None and evaluation is not None:
        raise RunError(f"{evaluation}: there is no evaluation here (metrics.json). Make one: crow evaluate --run {run}")
    measured = {} if found is None else found.metrics
    if found is not None:
        _check_audit(run, found.folder, measured)
    shared = shared_run(saved, disclosure)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        save_run(folder, shared)
        digest = sha256(folder / "model.safetensors")
        sheet = data_sheet(saved, disclosure, licence)
        card = model_card(saved, disclosure, measured, licence, intended_use, digest)
        (folder / DATA_SHEET).write_text(sheet, encoding="utf-8")
        (folder / MODEL_CARD).write_text(card, encoding="utf-8")
        names = [*FILES, DATA_SHEET, MODEL_CARD]
        _check_content(run, folder, disclosure)
        load(folder)
        with writing(out, overwrite) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes(), zipfile.ZIP_DEFLATED)
    return Shared(out, names, _warnings(run, saved, measured, licence))


def _training(model: Any, given: Path | None) -> tuple[Cohort, ScanStore | None]:
    """The training subjects of a run, and their store if it is one of scans; raises CohortError for other ones."""
    advice = "It decides which levels and values are rare. Give it with --cohort."
    store: ScanStore | None = None
    source = trained_on(model.source, "store" if model.uses_scans else "table", advice) if given is None else given
    if model.uses_scans:
        folder = source.parent if given is None else source
        if not is_store(folder):
            raise CohortError(f"{folder}: not a scan store. Give the store that the run was trained on.")
        store = ScanStore.open(folder)
        cohort, file = store.cohort(), folder / "visits.csv"
    else:
        joined = [Path(other) for other in model.config.cohort.get("join", [])]
        cohort, file = read_cohort([source, *joined], schema=model.schema, one_visit=True), source
    if model.source and sha256(file) != model.source.get("sha256"):
        raise CohortError(f"{source}: not the {'store' if model.uses_scans else 'table'} that the run was trained on.")
    test = set(model.test_set(cohort))
    return replace(cohort, visits=cohort.visits[~cohort.visits["subject"].isin(test)]), store


def _check_modes(run: Path, model: ScanModel, store: ScanStore) -> None:
    """Raise RunError if a mode of scans is that of one subject: if its coefficients are most of the mode's variance.

    This is the dominance rule of statistical disclosure control, for one subject and `DOMINANCE`.
    """
    cohort = model.coefficients(store)
    visits, names = cohort.visits, [name for name in cohort.regions if name not in store.info.cohort_schema.regions]
    spread = visits[names].astype(float).pow(2).groupby(visits["subject"]).sum()
    share = (spread / spread.sum().replace(0.0, 1.0)).max()
    if (wide := share > DOMINANCE).any():
        raise RunError(
            f"{run}: {share.index[wide][0]}: one subject has {share[wide].iloc[0]:.0%} of its variance, so that the "
            "mode resembles that subject's scans. Train again with fewer modes (--set scans.components) or without "
            "that subject."
        )


def _check_audit(run: Path, folder: Path, measured: dict[str, Any]) -> None:
    """Raise RunError if the audit failed, or if the evaluation is that of another run."""
    privacy = measured.get("privacy")
    if isinstance(privacy, dict) and privacy.get("verdict") == "fail":
        reasons = " ".join(map(str, privacy.get("reasons") or []))
        raise RunError(
            f"{run}: its privacy audit failed ({folder / 'metrics.json'}): {reasons} Do not share this run. Train "
            "again with more subjects, fewer epochs or smaller networks."
        )


def _check_content(run: Path, folder: Path, disclosure: Disclosure) -> None:
    """Raise RunError if a text file still has the name of a subject, or a value that only few subjects have."""
    mixed = re.compile(r"(?=.*\d)(?=.*[^\W\d])")
    named = [name for name in disclosure.cohort.subjects if len(name) >= MIN_NAME and mixed.match(name)]
    names = [form for name in named for form in (name, f"sub-{name}")]
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors" or path.name.startswith("."):
            continue
        text = path.read_text(encoding="utf-8")
        if any(name in text and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names):
            raise RunError(
                f"{run}: {path.name} has the name of a subject. Nothing was written. Rename the file or setting that "
                "has this name, and train again."
            )
        numbers = _numbers(json.loads(text)) if path.suffix == ".json" else map(float, NUMBER.findall(text))
        if found := disclosure.revealed(number for number in numbers if math.isfinite(number)):
            raise RunError(
                f"{run}: {path.name} has {min(found):g}, which fewer than {disclosure.min_count} subjects have in the "
                "training table. Nothing was written. Please report this with the settings of the run."
            )


def _numbers(content: Any) -> Iterator[float]:
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for item in content:
            yield from _numbers(item)
    elif isinstance(content, float):
        yield content


def _warnings(run: Path, saved: Run, measured: dict[str, Any], licence: str | None) -> list[str]:
    found = []
    if not licence:
        found.append("no --licence: the cards say that the licence of the source is not stated.")
    if not measured:
        found.append(f"no evaluation: accuracy and privacy are not measured. First run crow evaluate --run {run}")
    elif isinstance(privacy := measured.get("privacy"), dict) and privacy.get("verdict") == "caution":
        found.append(f"the privacy audit advises caution: {' '.join(map(str, privacy.get('reasons') or []))}")
    if not saved.finished:
        found.append("the training was stopped before its end.")
    return found
