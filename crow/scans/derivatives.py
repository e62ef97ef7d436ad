"""Generated scans as a BIDS derivatives dataset: file names, images in the format of the real scan, JSON sidecars."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crow.errors import OutputError
from crow.extras import extra
from crow.files import writing
from crow.version import __version__

if TYPE_CHECKING:
    import nibabel as nib

MAX_ROUNDING = 0.002
"""Largest error of rounding to the integers of a scan, in ranges of the values; 8 bits of a full range are enough."""
STRIPPED = 0.6  # share of voxels with the value of the background, from which a scan shows the brain only
README = """{name}, made by crow {version}.

These images are synthetic: `"synthetic": true` in each JSON file, which names the model and the scans behind it. They
resemble those scans. crow does not remove faces: if the scans show a face, so do the images, and both need defacing
before they are shared.
"""
IGNORED = "# Tables and pictures that BIDS does not define\n*.png\n*.csv\n*.npz\nvolumes.tsv\n"
FOLDERS = {"pet": "pet", "asl": "perf", "CBF": "perf", "cbf": "perf", "dwi": "dwi", "bold": "func"}


def session_label(years: float) -> str:
    """``plus1y``, ``plus1p5y``: years after the last real visit, as a BIDS label (letters and digits only)."""
    return f"plus{years:.4g}y".replace(".", "p")


def scan_path(
    root: Path, subject: str, session: str, desc: str, suffix: str, space: str | None = None, ending: str = ".nii.gz"
) -> Path:
    """``root/sub-X[/ses-Y]/anat/sub-X[_ses-Y][_space-S]_desc-D_T1w.nii.gz``."""
    sub, ses = f"sub-{_label(subject.removeprefix('sub-'))}", _label(session.removeprefix("ses-"))
    where = [sub, *([f"ses-{ses}"] if ses else [])]
    entities = [*where, *([f"space-{space}"] if space else []), f"desc-{_label(desc)}"]
    return root.joinpath(*where) / FOLDERS.get(suffix, "anat") / f"{'_'.join(entities)}_{suffix}{ending}"


def require_apart(root: Path, paths: Collection[Path]) -> None:
    """Raise OutputError if two visits would be written to the same file."""
    if len(set(paths)) < len(paths):
        raise OutputError(
            f"{root}: two visits would get the same BIDS name, because BIDS labels keep letters and digits only. "
            "Rename one of the subjects or sessions."
        )


def save_scan(
    path: Path,
    values: NDArray[np.float32],
    like: nib.Nifti1Image,
    facts: dict[str, Any],
    overwrite: bool = False,
    integers: bool = True,
) -> None:
    """Write ``values`` as NIfTI in the format of ``like``, with ``facts`` in a JSON sidecar.

    Affine, form codes and units are those of ``like``. Its integers and their scaling are kept too if rounding to them
    changes the values by less than `MAX_ROUNDING`, and ``integers`` is True; otherwise the data type is float32.
    Raises OutputError if a file exists and ``overwrite`` is False.
    """
    beside = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    facts = {"SkullStripped": _skull_stripped(like), **facts}
    header = like.header.copy()
    kind = like.get_data_dtype()
    scaling = (1.0, 0.0)
    data: NDArray[Any] = values.reshape(like.shape[:3]).astype(np.float32)
    if integers and np.issubdtype(kind, np.integer):
        # The header of a loaded image no longer has its scaling; the data proxy does.
        scaling = (getattr(like.dataobj, "slope", 1.0), getattr(like.dataobj, "inter", 0.0))
        stored = _rounded(data, kind, scaling)
        error = float(np.abs(stored * scaling[0] + scaling[1] - data).max())
        coarse = error > MAX_ROUNDING * float(np.ptp(data))
        data, scaling = (data, (1.0, 0.0)) if coarse else (stored, scaling)
    header.set_data_dtype(data.dtype)
    header["cal_max"] = header["cal_min"] = 0
    header["descrip"] = f"synthetic, crow {__version__}"[:79].encode()
    with extra("scans"):
        import nibabel as nib
    image = nib.Nifti1Image(data, like.affine, header)
    image.header.set_slope_inter(*scaling)
    for code in ("qform", "sform"):
        getattr(image, f"set_{code}")(*getattr(like, f"get_{code}")(coded=True))
    with writing(path, overwrite) as temporary, writing(beside, overwrite) as sidecar:
        whole = temporary.with_name(temporary.name + ".nii.gz")  # nibabel chooses the format by the file name
        nib.save(image, whole)
        whole.replace(temporary)
        sidecar.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _rounded(data: NDArray[Any], kind: np.dtype[Any], scaling: tuple[float, float]) -> NDArray[Any]:
    """The integers that stand for ``data`` under ``scaling`` (slope, intercept)."""
    limits = np.iinfo(kind)
    return np.clip(np.rint((data - scaling[1]) / scaling[0]), limits.min, limits.max).astype(kind)


def describe_dataset(root: Path, name: str = "Synthetic follow-up scans") -> None:
    """Write ``dataset_description.json``, README and ``.bidsignore`` into a folder of generated scans, once.

    ``name`` is the dataset's name. Raises OutputError if the folder has a dataset that crow did not make.
    """
    path = root / "dataset_description.json"
    if path.exists():
        if _dataset_name(path) is None:
            raise OutputError(f"{root}: has a dataset that crow did not make. Choose another folder with --out.")
        return
    facts = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "crow", "Version": __version__}],
    }
    with writing(path) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for file, text in (("README", README.format(name=name, version=__version__)), (".bidsignore", IGNORED)):
        if not (root / file).exists():
            with writing(root / file) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _skull_stripped(like: nib.Nifti1Image) -> bool:
    """Whether a scan shows the brain only: most of its voxels have one value."""
    values = np.asarray(like.dataobj)
    return bool((values == values.flat[0]).mean() > STRIPPED)


def _dataset_name(path: Path) -> str | None:
    """The name of a dataset, if crow made it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        makers = [maker.get("Name") for maker in content.get("GeneratedBy", [])]
        return str(content.get("Name")) if "crow" in makers else None
    except (OSError, ValueError, AttributeError):
        return None


def _label(text: str) -> str:
    """Only the characters that BIDS allows in a label."""
    return re.sub(r"[^A-Za-z0-9]", "", text)
