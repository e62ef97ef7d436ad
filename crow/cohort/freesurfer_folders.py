"""Scans in a folder of FreeSurfer subjects: ``NAME/mri/T1.mgz``, of the longitudinal stream if there is one.

The longitudinal stream has a folder ``VISIT.long.BASE`` per visit. Without it, folders are ``sub-X_ses-Y`` or ``X_Y``.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

VOLUMES = ("T1", "nu", "orig_nu", "norm", "orig", "brain", "brainmask", "rawavg", "T2", "FLAIR")
LONGITUDINAL = re.compile(r"(?P<visit>.+)\.long\.(?P<base>.+)")
BASE = re.compile(r"[_.-](base|template|long)$", re.IGNORECASE)
BIDS_NAME = re.compile(r"sub-(?P<subject>[^_]+)(_ses-(?P<session>[^_.]+))?.*")
AVERAGES = ("fsaverage", "cvs_avg", "lh.EC_average", "rh.EC_average")


class FreeSurferScan(NamedTuple):
    """A volume ``desc`` of ``mri/``, such as T1 or norm; ``suffix`` is its contrast in BIDS."""

    path: Path
    subject: str
    session: str
    desc: str
    suffix: str


def freesurfer_scans(tree: Path) -> list[FreeSurferScan]:
    """The volumes of every visit, in order of path; none if the folder has no FreeSurfer subjects."""
    folders = sorted(path.parent for path in tree.glob("*/mri") if path.is_dir())
    folders = [folder for folder in folders if not folder.name.startswith(AVERAGES)]
    visits = {folder: found for folder in folders if (found := LONGITUDINAL.fullmatch(folder.name))}
    names = (
        {folder: _long_name(found["visit"], found["base"]) for folder, found in visits.items()}
        or _cross_sectional_names(folders)
    )  # fmt: skip
    return [
        FreeSurferScan(path, *name, volume, {"T2": "T2w", "FLAIR": "FLAIR"}.get(volume, "T1w"))
        for folder, name in names.items()
        for volume in VOLUMES
        if (path := folder / "mri" / f"{volume}.mgz").is_file()
    ]


def usual_volume(found: set[str]) -> str:
    """The volume that is read if none is chosen: the first of `VOLUMES`."""
    return min(found, key=VOLUMES.index)


def _long_name(visit: str, base: str) -> tuple[str, str]:
    if (bids := BIDS_NAME.fullmatch(visit)) and bids["session"]:
        return bids["subject"], bids["session"]
    subject = BASE.sub("", base)
    rest = visit.removeprefix(subject).strip("_.-")
    return subject.removeprefix("sub-"), (rest or visit).removeprefix("ses-")


def _cross_sectional_names(folders: list[Path]) -> dict[Path, tuple[str, str]]:
    """``X_Y`` is visit Y of subject X if several folders begin with X; ``X_base`` is a template of visits, no visit."""
    parts = {folder: folder.name.rpartition("_") for folder in folders if not BASE.search(folder.name)}
    starts = Counter(subject for subject, _, _ in parts.values() if subject)
    names = {}
    for folder, (start, _, end) in parts.items():
        bids = BIDS_NAME.fullmatch(folder.name)
        if bids is not None:
            names[folder] = bids["subject"], bids["session"] or ""
        elif starts[start] > 1:
            names[folder] = start, end
        else:
            names[folder] = folder.name, ""
    return names
