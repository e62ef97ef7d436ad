"""Labelled regions on the grid of a store: a user's atlas with its label names, or the template's structures."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.errors import ScanError
from crow.files import read_text
from crow.scans.grid import Grid
from crow.scans.nifti import open_scan, read_scan
from crow.scans.template import STRUCTURES, load_template

INDEX = ("index", "label", "id", "no", "no.", "value")
NAME = ("name", "labelname", "region", "structure", "abbreviation")


@dataclass(frozen=True)
class Atlas:
    """``labels [X, Y, Z]`` (0 is outside), the region name of each label, and ``notes`` for the user."""

    labels: NDArray[np.int32]
    names: dict[int, str]
    notes: tuple[str, ...] = ()


def built_in(grid: Grid, resolution: float) -> Atlas:
    """The `STRUCTURES` of the template as an atlas."""
    template = load_template(resolution)
    assert template.grid == grid
    return Atlas(template.structures.astype(np.int32), dict(STRUCTURES))


def read_atlas(path: Path, table: Path | None, grid: Grid) -> Atlas:
    """Read a user's atlas in template space, resampled to ``grid`` (nearest neighbour), with its label names.

    Raises ScanError if it cannot be read, has no labels, or does not overlap the grid.
    """
    image = open_scan(path)
    values, _ = read_scan(image)
    wrong = values[(values != np.rint(values)) | (values < 0)]
    if len(wrong):
        raise ScanError(f"{path}: an atlas needs integer labels from 0; found {wrong[0]:g}. Use a label image.")
    matrix = np.linalg.inv(image.affine) @ grid.matrix
    labels = ndimage.affine_transform(
        values.astype(np.int32), matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=0
    )
    found = [int(label) for label in np.unique(labels) if label > 0]
    if not found:
        raise ScanError(f"{path}: no label lies on the store's grid. Use an atlas in the space named in store.json.")
    known = {} if table is None else read_names(table)
    names = {label: known.get(label, f"label_{label}") for label in found}
    absent = len(known.keys() - names.keys())
    notes = [f"{absent} labels of {table} do not occur in the atlas"] if absent else []
    if unnamed := [label for label in found if label not in known]:
        shown = ", ".join(map(str, unnamed[:8])) + (", ..." if len(unnamed) > 8 else "")
        notes.append(f"{len(unnamed)} labels have no name ({shown}); they are named label_<number>")
    if len(set(names.values())) < len(names):
        raise ScanError(
            f"{table}: two labels have the same name. Give each label its own name, for example with its side."
        )
    return Atlas(labels, names, tuple(notes))


def read_names(path: Path) -> dict[int, str]:
    """Label names from a TSV or CSV with a header (``index``, ``name``: BIDS dseg.tsv) or a FreeSurfer LUT."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScanError(
            f"{path}: cannot be read as text ({error}). Use a table with the columns index and name."
        ) from None
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
        raise ScanError(f"{path}: has no labels. Use a table with the columns index and name, or a FreeSurfer LUT.")
    return names
