"""Write a simulated cohort of scans as a BIDS tree, with its truth in ``derivatives/truth``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from crow.extras import extra
from crow.files import check_free, writing
from crow.scans.grid import Grid
from crow.scans.template import STRUCTURES
from crow.simulate import ScanSimulation, simulate_scans
from crow.simulate.atrophy import PARTS, change_fields
from crow.simulate.uptake import TRACER
from crow.tasks import run_tasks

with extra("scans"):
    import nibabel as nib

TRUTH = Path("derivatives") / "truth"
IN_PLACE = "noisefreeinplace"  # a visit in the head position of the visit before
BIDS_VERSION = "1.10.0"
TABLES = ("dataset_description.json", "participants.tsv", "participants.json", "sessions.json")
SIDECARS: dict[str, dict[str, Any]] = {
    "T1w": {"PulseSequenceType": "simulated", "SkullStripped": True},
    "pet": {"TracerName": TRACER, "Units": "ratio", "ModeOfAdministration": "simulated"},
}
PARTICIPANTS = {
    "age": "years at the first visit",
    "sex": "Male or Female",
    "education": "years",
    "apoe4": "number of APOE e4 alleles",
    "diagnosis": "CN, MCI or Dementia at the first visit",
}
SESSIONS = {
    "acq_time": "date of the visit",
    "age": "years at the visit",
    "diagnosis": "CN, MCI or Dementia at the visit",
    "CDRSB": "clinical dementia rating, sum of boxes",
}


@dataclass(frozen=True)
class WrittenScans:
    """Numbers of subjects and scans, and each file or folder with its content."""

    subjects: int
    scans: int
    files: dict[Path, str]


def write_scans(
    out: Path,
    subjects: int = 80,
    visits: int = 4,
    resolution: float = 2.0,
    modality: str = "T1w",
    seed: int = 0,
    scanner_change: int | None = None,
    overwrite: bool = False,
    jobs: int | None = None,
) -> WrittenScans:
    """Simulate scans into the folder ``out``, whole or not at all, with ``jobs`` processes (one per core by default).

    Raises ConfigError if a value is out of range, and OutputError if ``out`` exists and ``overwrite`` is not set, or
    has other files than such a simulation.
    """
    arguments = (subjects, visits, resolution, modality, seed, scanner_change)
    simulation = simulate_scans(*arguments)
    check_free(out, overwrite, "simulation")
    with writing(out, overwrite, "simulation") as folder:
        (folder / TRUTH).mkdir(parents=True)
        _write_tables(folder, simulation)
        work = [(folder, subject, arguments) for subject in simulation.subjects.index]
        drawn = track(run_tasks(_write_subject, work, jobs), "Simulating scans", total=len(work), transient=True)
        truth = dict(drawn)
        pd.concat([truth[k] for k in range(len(work))]).to_csv(folder / TRUTH / "truth.csv", index=False)
    files = {
        out: f"a BIDS tree of {modality} scans",
        out / "participants.tsv": "the subjects; the times are in the sessions.tsv of each subject",
        out / TRUTH / "truth.csv": "disease course and true volumes of every visit",
        out / TRUTH: "noise-free scans, structures and deformations, described in truth.json",
    }
    return WrittenScans(subjects, len(simulation.visits), files)


@lru_cache(maxsize=1)
def _simulation(*arguments: Any) -> ScanSimulation:
    """The simulation, made once per process."""
    return simulate_scans(*arguments)


def _write_subject(folder: Path, subject: str, arguments: tuple[Any, ...]) -> pd.DataFrame:
    simulation = _simulation(*arguments)
    pet = simulation.modality == "pet"
    middle, ending = ("pet", f"trc-{TRACER}_pet") if pet else ("anat", simulation.modality)
    before: str | None = None
    for session in simulation.visits.loc[simulation.visits["subject"] == subject, "session"]:
        stem = f"{subject}_{session}"
        scans, truth = (root / subject / session / middle for root in (folder, folder / TRUTH))
        clean = simulation.render(subject, session)
        _save(scans / f"{stem}_{ending}.nii.gz", simulation.measured(subject, session, clean), simulation.grid)
        desc = ending.replace(simulation.modality, f"desc-noisefree_{simulation.modality}")
        _save(truth / f"{stem}_{desc}.nii.gz", clean, simulation.grid)
        _save(truth / f"{stem}_dseg.nii.gz", simulation.labels(subject, session), simulation.grid)
        if before is not None:
            moved = desc.replace("noisefree", IN_PLACE)
            _save(truth / f"{stem}_{moved}.nii.gz", simulation.render(subject, session, like=before), simulation.grid)
        before = session
    anatomy = simulation.subject(subject).anatomy
    np.savez_compressed(
        folder / TRUTH / subject / f"{subject}_anatomy.npz",
        velocity=anatomy.velocity.astype(np.float16),
        size=anatomy.size,
        affine=anatomy.grid.matrix,
    )
    return simulation.truth(subject)


def _save(path: Path, image: np.ndarray, grid: Grid) -> None:
    """Write T1w rounded to int16, ratios scaled to int16, labels as uint8; sform and qform in scanner space."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = np.uint8 if image.dtype == np.uint8 else np.int16
    written = nib.Nifti1Image(image if "_pet" in path.name else np.rint(image).astype(kind), grid.matrix)
    written.set_data_dtype(kind)
    written.set_sform(grid.matrix, code=1)
    written.set_qform(grid.matrix, code=1)
    written.header.set_xyzt_units("mm")
    nib.save(written, path)


def _write_tables(folder: Path, simulation: ScanSimulation) -> None:
    subjects, visits = simulation.subjects, simulation.visits
    first = visits.groupby("subject", sort=False).first()
    subjects = subjects.assign(age=subjects["age"].round(2), diagnosis=first["diagnosis"]).rename_axis("participant_id")
    _table(folder / "participants.tsv", subjects.reset_index()[["participant_id", *PARTICIPANTS]])
    for subject, rows in visits.groupby("subject", sort=False):
        rows = rows.rename(columns={"session": "session_id"})
        _table(folder / str(subject) / f"{subject}_sessions.tsv", rows[["session_id", *SESSIONS]])
    for name, columns in (("participants", PARTICIPANTS), ("sessions", SESSIONS)):
        _json(folder / f"{name}.json", {column: {"Description": what} for column, what in columns.items()})
    _json(folder / _sidecar(simulation.modality), SIDECARS[simulation.modality])
    about = {"Name": "Simulated cohort of scans", "BIDSVersion": BIDS_VERSION, "DatasetType": "raw"}
    generated = {"GeneratedBy": [{"Name": "crow", "Description": "crow simulate --scans"}]}
    _json(folder / "dataset_description.json", about | generated)
    _json(folder / TRUTH / "dataset_description.json", about | generated | {"DatasetType": "derivative"})
    _json(folder / TRUTH / "truth.json", simulation.parameters())
    _json(folder / TRUTH / _sidecar(simulation.modality), SIDECARS[simulation.modality])
    (folder / TRUTH / ".bidsignore").write_text("*.csv\n*.npz\ntruth.json\n", encoding="utf-8")
    labels = pd.DataFrame({"index": list(STRUCTURES), "name": list(STRUCTURES.values())})
    _table(folder / TRUTH / "dseg.tsv", labels)
    change = change_fields()
    np.savez_compressed(
        folder / TRUTH / "change_fields.npz",
        hundredths_of_mm=np.rint(100 * change.fields).astype(np.int16),
        parts=np.array(PARTS),
        affine=change.grid.matrix,
    )


def _sidecar(modality: str) -> str:
    return f"trc-{TRACER}_pet.json" if modality == "pet" else f"{modality}.json"


def _table(path: Path, frame: pd.DataFrame) -> None:
    path.parent.mkdir(exist_ok=True)
    frame.to_csv(path, sep="\t", index=False, na_rep="n/a")


def _json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

