"""Thick slices: what a scanner with fewer slices measures, and a file of such slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from crow.cohort.modality import modality_of
from crow.errors import ScanError
from crow.scans.grid import Grid
from crow.scans.intensity import scale_of
from crow.scans.nifti import open_scan, read_scan
from crow.scans.template import load_template

Volume = NDArray[np.float32]
AXES = ("x", "y", "z")
ALIKE = 0.15  # by which voxel sizes may differ from those of training


@dataclass(frozen=True)
class Slices:
    """``factor`` thin slices make a thick one, along ``axis`` of volumes ``[X, Y, Z]`` that run right, forward, up."""

    axis: int
    factor: int

    def thick(self, thin: Volume) -> Volume:
        """Means of ``factor`` slices; those that are left at the end make none."""
        count = thin.shape[self.axis] // self.factor
        whole = np.moveaxis(thin, self.axis, 0)[: count * self.factor]
        means: Volume = whole.reshape(count, self.factor, *whole.shape[1:]).mean(1, dtype=np.float32)
        return np.moveaxis(means, 0, self.axis)

    def repeated(self, thick: NDArray[Any]) -> NDArray[Any]:
        """``[*, X, Y, Z]`` with every thick slice in the place of its thin ones."""
        return np.repeat(thick, self.factor, self.axis - 3)

    def interpolated(self, thick: Volume) -> Volume:
        """Thin slices by cubic splines between the thick ones, of which the means are the thick ones."""
        zoom = np.where(np.arange(3) == self.axis, self.factor, 1)
        thin: Volume = ndimage.zoom(thick, zoom, order=3, mode="nearest", grid_mode=True)
        return self.consistent(thin[None], thick)[0]

    def places(self, shape: tuple[int, ...]) -> Volume:
        """Where each thin slice lies in its thick one, between -0.5 and 0.5, ``[X, Y, Z]``."""
        within = (np.arange(shape[self.axis]) % self.factor + 0.5) / self.factor - 0.5
        return np.broadcast_to(np.moveaxis(within[:, None, None], 0, self.axis), shape).astype(np.float32)

    def consistent(self, thin: Volume, thick: Volume) -> Volume:
        """``[n, X, Y, Z]`` moved so that the mean over every thick slice is the thick slice."""
        means = np.stack([self.thick(one) for one in thin])
        moved: Volume = thin + self.repeated(thick - means)
        return moved


@dataclass(frozen=True)
class ThickScan:
    """A file of thick slices: ``values [X, Y, Z]`` run right, forward, up, in the intensities of prepared scans.

    ``gain`` takes these to the file's own; ``orientation`` is nibabel's, of the file.
    """

    image: nib.Nifti1Image
    values: Volume
    gain: float
    orientation: NDArray[np.floating]

    @classmethod
    def open(cls, path: Path, slices: Slices, facts: dict[str, Any]) -> ThickScan:
        """``facts`` are those of the store that was learned from. Raises ScanError for a file that cannot be read, of
        another modality, or whose voxels are not of the sizes learned."""
        image = open_scan(path)
        told = modality_of("", [path.name])
        if told not in (None, facts["modality"]):
            raise ScanError(
                f"{path}: a scan of modality {told}; the run was trained on {facts['modality']}. Give a scan of that "
                "modality."
            )
        orientation = io_orientation(image.affine)
        sizes = _sizes(orientation, image)
        wanted = Grid.model_validate(facts["grid"]).spacing.copy()
        wanted[slices.axis] *= slices.factor
        if (np.abs(sizes / wanted - 1) > ALIKE).any():
            found, needed = (" x ".join(f"{mm:.3g}" for mm in each) for each in (sizes, wanted))
            raise ScanError(
                f"{path}: voxels of {found} mm (left-right, back-front, down-up); the run was trained to part voxels "
                f"of {needed} mm into {slices.factor} along {AXES[slices.axis]}. Learn from scans that were prepared "
                "with the --resolution of this scan's slices, with its --factor and --axis."
            )
        values, _ = read_scan(image)
        gain = _gain(path, image, values, facts)
        return cls(image, apply_orientation(values, orientation) / np.float32(gain), gain, orientation)

    def thin(self, volumes: Volume, slices: Slices) -> tuple[Volume, nib.Nifti1Image]:
        """``[n, X, Y, Z]`` of thin slices as the file's voxels run and in its intensities, and an image of its header
        on their grid."""
        back = ornt_transform(io_orientation(np.eye(4)), self.orientation)
        own = np.stack([apply_orientation(volume, back) for volume in volumes]) * np.float32(self.gain)
        axis = int(np.flatnonzero(self.orientation[:, 0] == slices.axis)[0])
        parted = np.eye(4)
        parted[axis, axis] = 1 / slices.factor
        parted[axis, 3] = (1 / slices.factor - 1) / 2
        header = self.image.header.copy()
        like = nib.Nifti1Image(np.zeros(own.shape[1:], self.image.get_data_dtype()), self.image.affine @ parted, header)
        for code in ("qform", "sform"):
            getattr(like, f"set_{code}")(like.affine, int(self.image.header[f"{code}_code"]))
        return own, like


def _sizes(orientation: NDArray[np.floating], image: nib.Nifti1Image) -> NDArray[np.float64]:
    """Voxel sizes (mm) along x, y and z."""
    sizes = np.empty(3)
    sizes[orientation[:, 0].astype(int)] = np.linalg.norm(image.affine[:3, :3], axis=0)
    return sizes


def _gain(path: Path, image: nib.Nifti1Image, values: Volume, facts: dict[str, Any]) -> float:
    """By which prepared scans were divided; the scan is aligned to the template for it if they were."""
    from crow.scans.linear import Image, align_subject, resample  # registration takes a second to import

    settings = facts["settings"]
    template = load_template(settings["resolution"])
    try:
        to_scan = np.eye(4) if settings["register"] == "none" else align_subject([Image.of(values, image.affine)])[0]
        on_grid = resample(values, image.affine, template.grid, to_scan)
        reference = settings.get("reference")
        return scale_of(on_grid, template, facts["modality"], None if reference == "none" else reference)
    except ScanError as error:
        raise ScanError(f"{path}: {error}") from None
