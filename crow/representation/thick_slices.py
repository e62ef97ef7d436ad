"""Thick slices: averages of thin slices, and files of scans with thick slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.cohort.modality import modality_of
from crow.errors import ScanError
from crow.extras import extra
from crow.scans.grid import Grid
from crow.scans.intensity import scale_of
from crow.scans.nifti import open_scan, read_scan
from crow.scans.template import load_template

with extra("scans"):
    import nibabel as nib
    from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

Volume = NDArray[np.float32]
AXES = ("x", "y", "z")
VOXEL_SIZE_TOLERANCE = 0.15  # relative difference of voxel sizes from training


@dataclass(frozen=True)
class Slices:
    """``factor`` thin slices per thick slice, along ``axis`` of volumes ``[X, Y, Z]`` in RAS orientation."""

    axis: int
    factor: int

    def thick(self, thin: Volume) -> Volume:
        """Means of ``factor`` slices; remaining slices at the end are dropped."""
        count = thin.shape[self.axis] // self.factor
        whole = np.moveaxis(thin, self.axis, 0)[: count * self.factor]
        means: Volume = whole.reshape(count, self.factor, *whole.shape[1:]).mean(1, dtype=np.float32)
        return np.moveaxis(means, 0, self.axis)

    def repeated(self, thick: NDArray[Any]) -> NDArray[Any]:
        """``[*, X, Y, Z]`` with every thick slice repeated ``factor`` times."""
        return np.repeat(thick, self.factor, self.axis - 3)

    def interpolated(self, thick: Volume) -> Volume:
        """Thin slices by cubic spline interpolation, adjusted so that their means are the thick slices."""
        zoom = np.where(np.arange(3) == self.axis, self.factor, 1)
        thin: Volume = ndimage.zoom(thick, zoom, order=3, mode="nearest", grid_mode=True)
        return self.consistent(thin[None], thick)[0]

    def places(self, shape: tuple[int, ...]) -> Volume:
        """Position of each thin slice in its thick slice, between -0.5 and 0.5, ``[X, Y, Z]``."""
        within = (np.arange(shape[self.axis]) % self.factor + 0.5) / self.factor - 0.5
        return np.broadcast_to(np.moveaxis(within[:, None, None], 0, self.axis), shape).astype(np.float32)

    def consistent(self, thin: Volume, thick: Volume) -> Volume:
        """``thin [n, X, Y, Z]`` shifted so that its mean over every thick slice is that slice."""
        means = np.stack([self.thick(one) for one in thin])
        shifted: Volume = thin + self.repeated(thick - means)
        return shifted


@dataclass(frozen=True)
class ThickScan:
    """A scan of thick slices: ``values [X, Y, Z]`` in RAS orientation and in the intensities of prepared scans.

    Multiply by ``gain`` for the file's units; ``orientation`` is the file's, as nibabel describes it.
    """

    image: nib.Nifti1Image
    values: Volume
    gain: float
    orientation: NDArray[np.floating]

    @classmethod
    def open(cls, path: Path, slices: Slices, facts: dict[str, Any]) -> ThickScan:
        """Read a file; ``facts`` describe the training store.

        Raises ScanError if the file cannot be read, or has another modality or voxel size than in training.
        """
        image = open_scan(path)
        modality = modality_of("", [path.name])
        if modality not in (None, facts["modality"]):
            raise ScanError(
                f"{path}: a scan of modality {modality}; the run was trained on {facts['modality']}. Use a scan of "
                "that modality."
            )
        orientation = io_orientation(image.affine)
        sizes = _sizes(orientation, image)
        wanted = Grid.model_validate(facts["grid"]).spacing.copy()
        wanted[slices.axis] *= slices.factor
        if (np.abs(sizes / wanted - 1) > VOXEL_SIZE_TOLERANCE).any():
            found, needed = (" x ".join(f"{mm:.3g}" for mm in each) for each in (sizes, wanted))
            raise ScanError(
                f"{path}: voxels of {found} mm (x, y, z); the run was trained on voxels of {needed} mm, each divided "
                f"into {slices.factor} along {AXES[slices.axis]}. Train on scans prepared with the --resolution of "
                "this scan's slices, with matching --factor and --axis."
            )
        values, _ = read_scan(image)
        gain = _gain(path, image, values, facts)
        return cls(image, apply_orientation(values, orientation) / np.float32(gain), gain, orientation)

    def thin(self, volumes: Volume, slices: Slices) -> tuple[Volume, nib.Nifti1Image]:
        """Thin slices ``[n, X, Y, Z]`` in the orientation and units of the file, and an image with their grid and the
        file's header."""
        back = ornt_transform(io_orientation(np.eye(4)), self.orientation)
        native = np.stack([apply_orientation(volume, back) for volume in volumes]) * np.float32(self.gain)
        axis = int(np.flatnonzero(self.orientation[:, 0] == slices.axis)[0])
        divided = np.eye(4)
        divided[axis, axis] = 1 / slices.factor
        divided[axis, 3] = (1 / slices.factor - 1) / 2
        header = self.image.header.copy()
        empty = np.zeros(native.shape[1:], self.image.get_data_dtype())
        like = nib.Nifti1Image(empty, self.image.affine @ divided, header)
        for code in ("qform", "sform"):
            getattr(like, f"set_{code}")(like.affine, int(self.image.header[f"{code}_code"]))
        return native, like


def _sizes(orientation: NDArray[np.floating], image: nib.Nifti1Image) -> NDArray[np.float64]:
    """Voxel sizes (mm) along the x, y and z axes."""
    sizes = np.empty(3)
    sizes[orientation[:, 0].astype(int)] = np.linalg.norm(image.affine[:3, :3], axis=0)
    return sizes


def _gain(path: Path, image: nib.Nifti1Image, values: Volume, facts: dict[str, Any]) -> float:
    """The gain of the scan as in the preparation, after alignment to the template if training scans were aligned."""
    from crow.scans.linear import Image, align_subject, resample  # takes a second to import

    settings = facts["settings"]
    template = load_template(settings["resolution"])
    try:
        aligned = settings["registration"] != "none"
        to_scan = align_subject([Image.of(values, image.affine)])[0] if aligned else np.eye(4)
        on_grid = resample(values, image.affine, template.grid, to_scan)
        reference = settings.get("reference")
        return scale_of(on_grid, template, facts["modality"], None if reference == "none" else reference)
    except ScanError as error:
        raise ScanError(f"{path}: {error}") from None
