"""Labelled regions on a store's grid: a user's atlas with the names of its labels, or the template's structures."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.errors import ScanError
from crow.scans.grid import Grid
from crow.scans.nifti import open_scan, read_scan
from crow.scans.template import STRUCTURES, load_template

INDEX = ("index", "label", "id", "no", "no.", "value")
NAME = ("name", "labelname", "region", "structure", "abbreviation")


@dataclass(frozen=True)
class Atlas:
    """``labels [X, Y, Z]`` (0 is outside) and the region that each label is; ``said`` is what was decided, in words."""

    labels: NDArray[np.int32]
    names: dict[int, str]
    said: tuple[str, ...] = ()


def built_in(grid: Grid, resolution: float) -> Atlas:
    """`STRUCTURES` of the template."""
    template = load_template(resolution)
    assert template.grid == grid
    return Atlas(template.structures.astype(np.int32), dict(STRUCTURES))


def read_atlas(path: Path, table: Path | None, grid: Grid) -> Atlas:
    """A user's atlas in template space, by the nearest voxel where its grid differs, and the names of its labels.

    Raises ScanError where it cannot be read, holds no labels, or does not lie on the grid.
    """
    image = open_scan(path)
    values, _ = read_scan(image)
    wrong = values[(values != np.rint(values)) | (values < 0)]
    if len(wrong):
        raise ScanError(f"{path}: an atlas holds whole numbers from 0; found {wrong[0]:g}. Give one of labels.")
    matrix = np.linalg.inv(image.affine) @ grid.matrix
    labels = ndimage.affine_transform(
        values.astype(np.int32), matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=0
    )
    found = [int(label) for label in np.unique(labels) if label > 0]
    if not found:
        raise ScanError(f"{path}: no label lies on the store's grid. Give an atlas in its space, see store.json.")
    known = {} if table is None else read_names(table)
    names = {label: known.get(label, f"label_{label}") for label in found}
    said = [f"{len(known.keys() - names.keys())} labels of {table} do not occur"] if known.keys() - names.keys() else []
    if unnamed := [label for label in found if label not in known]:
        shown = ", ".join(map(str, unnamed[:8])) + (", ..." if len(unnamed) > 8 else "")
        said.append(f"{len(unnamed)} labels have no name ({shown}); they are called label_1 and so on")
    if len(set(names.values())) < len(names):
        raise ScanError(f"{table}: two labels have the same name. Give each its own, for instance with its side.")
    return Atlas(labels, names, tuple(said))


def read_names(path: Path) -> dict[int, str]:
    """Names by label: a TSV or CSV with a header (``index``, ``name``: BIDS dseg.tsv), or FreeSurfer's LUT text."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScanError(f"{path}: cannot be read as text ({error}). Give a table of index and name.") from None
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    separator = "\t" if lines and "\t" in lines[0] else ","
    header = [cell.strip().lower() for cell in lines[0].split(separator)] if lines else []
    index = next((header.index(name) for name in INDEX if name in header), None)
    name = next((header.index(name) for name in NAME if name in header), None)
    if index is not None and name is not None:
        rows = [(row[index], row[name]) for row in csv.reader(lines[1:], delimiter=separator) if len(row) > name]
    else:
        rows = [(words[0], words[1]) for line in lines if len(words := re.split(r"[\s,;]+", line.strip())) > 1]
    names = {int(label): text.strip() for label, text in rows if re.fullmatch(r"\d+", label.strip())}
    if not names:
        raise ScanError(f"{path}: holds no labels. Give a table with the columns index and name, or FreeSurfer's LUT.")
    return names
