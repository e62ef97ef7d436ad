"""The scans of a BIDS tree, raw or derived: file names as entities and a suffix, and one file per visit.

fMRIPrep and Clinica write BIDS names. SPM and CAT12 write letters before the name of the scan (``wmsub-01_T1w``), which
are read as its ``desc``. FreeSurfer has a folder per visit (`crow.cohort.freesurfer_folders`).
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from crow.cohort.catalogue import MIXED_FILES, SEVERAL_FILES
from crow.cohort.dicom import ADVICE, is_dicom
from crow.cohort.findings import Findings
from crow.cohort.freesurfer_folders import freesurfer_scans, usual_volume
from crow.cohort.modality import MODALITIES
from crow.cohort.options import listed
from crow.cohort.scan_paths import SCAN_FILES, require_utf8
from crow.cohort.schema import Bids
from crow.errors import CohortError

NATIVE = "native"
ENDINGS = tuple(ending for ending in SCAN_FILES if ending != ".img")  # a pair is named by its header
Visit = tuple[str, str]
STEPS = re.compile(r"(?:s\d*)?(?P<steps>[mrw0]*)(?:(?P<tissue>[pc][0-6])(?P<more>[mrw]*))?(?=sub-)")
"""Letters of SPM and CAT12 before a name: w is in template space, m corrected for bias; p1 to p6 (CAT12) and c1 to c6
(SPM) are tissues."""
SPM_SPACE = "MNI152NLin2009cAsym"
ONE_OF_MANY = ("sub", "ses", "run")  # entities that do not change the kind of a scan
PARTS = ("phase", "real", "imag")  # of a complex image, which are no scans for crow


@dataclass(frozen=True)
class BidsFile:
    """``sub-01_ses-02_space-X_desc-preproc_T1w.nii.gz``: who and when (``session`` is "" where the name has none)."""

    path: Path
    entities: dict[str, str]
    suffix: str

    @property
    def visit(self) -> Visit:
        session = self.entities.get("ses")
        return f"sub-{self.entities['sub']}", f"ses-{session}" if session else ""


def find_files(tree: Path) -> list[BidsFile]:
    """Every scan file of every subject, in order of path; a Clinica folder keeps its subjects in ``subjects/``.

    Without folders of subjects, those in the folder itself and in its folder ``mri``.

    ``derivatives/`` is another tree. Without such files, the volumes of FreeSurfer subjects. Raises CohortError if no
    subject has a file.
    """
    base = tree / "subjects" if (tree / "subjects").is_dir() else tree
    subjects = _subject_folders(base)
    found_in = [path for subject in subjects for path in subject.rglob("*sub-*")]
    if not subjects:  # all scans in one folder, which CAT12 calls mri
        found_in = [path for folder in (base, base / "mri") for path in folder.glob("*sub-*") if path.is_file()]
    paths = sorted(path for path in found_in if path.name.endswith(ENDINGS))
    for path in (Path(os.path.abspath(tree)), *paths):
        require_utf8(path)
    files = [file for path in paths if STEPS.match(path.name) and (file := parse(path))]
    if found := [file for file in files if file.entities.get("part") not in PARTS]:
        return found
    if volumes := freesurfer_scans(base):
        return [_of_freesurfer(*volume) for volume in volumes]
    if is_dicom(tree):
        raise CohortError(f"{tree}: a folder of DICOM files. {ADVICE}")
    trees = sorted(
        {str(path.parent) for path in tree.glob("*/sub-*")} | {str(p.parent) for p in tree.glob("*/*/sub-*")}
    )
    advice = (
        f", such as {listed(trees)}" if trees else " with files such as sub-01/[ses-1/]anat/sub-01_[ses-1_]T1w.nii.gz"
    )
    raise CohortError(f"{tree}: is a folder; name the table inside it, or a BIDS tree{advice}.")


def _subject_folders(base: Path) -> list[Path]:
    """The folders ``sub-*``, but for links to a folder that contains ``base``, in which it would be read again."""
    own = base.resolve()
    folders = [path for path in base.glob("sub-*") if path.is_dir()]
    return [path for path in folders if not (path.is_symlink() and own.is_relative_to(path.resolve()))]


def parse(path: Path) -> BidsFile | None:
    """The entities of a name; None for a file that is no scan or names no subject and suffix.

    Words without a hyphen before the suffix, as Clinica writes them (``sub-01_ses-M000_T1w_space-X_T1w``), are skipped.
    """
    ending = next((ending for ending in reversed(ENDINGS) if path.name.endswith(ending)), None)
    steps = STEPS.match(path.name)
    if ending is None:
        return None
    *words, suffix = path.name[steps.end() if steps else 0 :].removesuffix(ending).split("_")
    entities = dict(word.split("-", 1) for word in words if "-" in word)
    if not entities.get("sub") or "-" in suffix:
        return None
    if steps and steps[0]:
        entities |= {"desc": steps[0]} | ({"space": SPM_SPACE} if "w" in f"{steps['steps']}{steps['more']}" else {})
        suffix = {None: suffix, "p0": "dseg"}.get(steps["tissue"], "probseg")
    return BidsFile(path, entities, suffix)


def _of_freesurfer(path: Path, subject: str, session: str, desc: str, suffix: str) -> BidsFile:
    return BidsFile(path, {"sub": subject, "desc": desc} | ({"ses": session} if session else {}), suffix)


def choose(
    tree: Path, files: list[BidsFile], suffix: str | None, space: str | None, desc: str | None, findings: Findings
) -> tuple[Bids, dict[Visit, BidsFile]]:
    """One file per visit, all of one suffix, space and desc (``native``: names without it); what is None must be plain.

    Raises CohortError if nothing matches, and if several suffixes, spaces, descs or tracers do. Of several files
    that differ otherwise (run, acq, rec, ...) the first is taken, with a warning.
    """
    suffix = suffix or _only_suffix(tree, files)
    matching = [file for file in files if file.suffix == suffix]
    if not matching:
        there = _counted(file.suffix for file in files)
        raise CohortError(f"{tree}: no file has the suffix {suffix}. There are {there}; choose with --suffix.")
    if desc is None and matching[0].path.parent.name == "mri" and matching[0].path.suffix == ".mgz":
        desc = usual_volume({file.entities["desc"] for file in matching})
    given = {"space": space, "desc": desc}
    for entity, value in given.items():
        matching = _with(tree, matching, entity, value) if value else matching
    for entity in (name for name, value in given.items() if not value):
        values = {file.entities.get(entity) for file in matching}
        if len(values) > 1:
            there = _counted(file.entities.get(entity, NATIVE) for file in matching)
            raise CohortError(
                f"{tree}: {suffix} scans have several values of {entity}: {there}; choose with --{entity}."
            )
    tracers = _counted(file.entities["trc"] for file in matching if "trc" in file.entities)
    if " and " in tracers:
        raise CohortError(
            f"{tree}: {suffix} scans of several tracers: {tracers}. List those of one in a table with the columns "
            "subject, session, age and scan, and give that table."
        )
    one = matching[0].entities
    _require_sessions(tree, matching)
    return Bids(suffix=suffix, space=one.get("space"), desc=one.get("desc")), _one_a_visit(matching, findings)


def _require_sessions(tree: Path, files: list[BidsFile]) -> None:
    """Raise CohortError for scans that fMRIPrep averaged over the sessions of each subject."""
    if any(file.entities.get("ses") or file.entities.get("desc") != "preproc" for file in files):
        return
    folders = {file.path.parent.parent for file in files}
    if averaged := sorted(folder.name for folder in folders if any(folder.glob("ses-*"))):
        raise CohortError(
            f"{tree}: the scans are averages over the sessions of a subject ({listed(averaged, 3)}), so they show no "
            "change. Run fMRIPrep with --subject-anatomical-reference sessionwise, or use the raw scans."
        )


def _only_suffix(tree: Path, files: list[BidsFile]) -> str:
    known = [file.suffix for file in files if file.suffix in MODALITIES]
    if len(set(known)) == 1:
        return known[0]
    what = "scans of several kinds" if known else f"no {', '.join(MODALITIES)} among the files"
    raise CohortError(f"{tree}: {what}: {_counted(known or [f.suffix for f in files])}; choose with --suffix.")


def _with(tree: Path, files: list[BidsFile], entity: str, value: str) -> list[BidsFile]:
    wanted = None if value == NATIVE else value
    if matching := [file for file in files if file.entities.get(entity) == wanted]:
        return matching
    what = f"with {entity}-{value}" if wanted else f"without {entity}"
    there = _counted(file.entities.get(entity, NATIVE) for file in files)
    raise CohortError(f"{tree}: no {files[0].suffix} {what}. There are {there}; choose with --{entity}.")


def _one_a_visit(files: list[BidsFile], findings: Findings) -> dict[Visit, BidsFile]:
    """The file of the kind (echo, acq, res, ...) that most visits have, and of its runs the first by name."""
    visits: dict[Visit, list[BidsFile]] = defaultdict(list)
    for file in files:
        visits[file.visit].append(file)
    common = Counter(kind for found in visits.values() for kind in {_kind(file) for file in found})
    for found in visits.values():
        found.sort(key=lambda file: (-common[_kind(file)], _kind(file), file.path))
    chosen = {visit: found[0] for visit, found in visits.items()}
    several = [found for found in visits.values() if len(found) > 1]
    if several:
        taken, others = several[0][0].path.name, listed(file.path.name for file in several[0][1:])
        findings.add(SEVERAL_FILES, count=len(several), taken=taken, others=others)
    usual = min(common, key=lambda kind: (-common[kind], kind))
    other = [file for file in chosen.values() if _kind(file) != usual]
    if other:
        findings.add(MIXED_FILES, count=len(other), file=other[0].path.name, usual=usual or "no such entity")
    return chosen


def _kind(file: BidsFile) -> str:
    """The entities that two scans of one kind share, such as ``acq-mprage_echo-1``."""
    return "_".join(f"{name}-{value}" for name, value in file.entities.items() if name not in ONE_OF_MANY)


def _counted(values: Iterable[str]) -> str:
    return " and ".join(f"{value} ({count})" for value, count in sorted(Counter(values).items()))
