"""Figures of follow-up scans: last scan, forecast, change and uncertainty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crow.extras import extra
from crow.report.figures import INK, style

with extra("report"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

with extra("scans"):
    import nibabel as nib
    from nibabel.orientations import aff2axcodes

PLANES = {"sagittal": (0, "P", "A"), "coronal": (1, "L", "R"), "axial": (2, "L", "R")}


def follow_up(
    last: nib.Nifti1Image,
    scan: NDArray[np.float32],
    change: NDArray[np.float32],
    sd: NDArray[np.float32],
    title: str = "",
    names: tuple[str, str] = ("last scan", "follow-up (median)"),
) -> Figure:
    """Last scan, follow-up, change and standard deviation in three planes through the largest change.

    ``scan``, ``change`` and ``sd`` lie on the grid of ``last``. Both scans have the same colour limits; L and R mark
    the hemispheres.
    """
    real = np.asarray(last.dataobj, dtype=np.float32).reshape(last.shape[:3])
    images = [canonical(array, last.affine) for array in (real, scan, change, sd)]
    spacing = canonical_spacing(last.affine)
    cut = crossing(images[2])
    # Limits of the brain, where there is uncertainty: a bright scalp would make the brain dark.
    brain = images[0][images[3] > (images[3].min() + images[3].max()) / 2]
    top = brain_top(brain, images[0])
    largest = float(np.quantile(np.abs(images[2]), 0.9995, method="linear")) or 1.0
    uncertainty = float(np.quantile(images[3], 0.999, method="linear")) or 1.0
    looks = [("gray", 0.0, top), ("gray", 0.0, top), ("RdBu_r", -largest, largest), ("magma", 0.0, uncertainty)]
    with style():
        depth, height = (images[0].shape[axis] * spacing[axis] for axis in (1, 2))
        width = images[0].shape[0] * spacing[0]
        tall = np.array([height / depth, height / width, depth / width])
        figure = Figure(figsize=(10.5, 2.6 * tall.sum() + 1.0), layout="constrained")
        axes = figure.subplots(3, 4, height_ratios=tall.tolist())
        for column, (image, (colours, low, high), name) in enumerate(
            zip(images, looks, (*names, "change", "uncertainty (sd)"), strict=True)
        ):
            for row, plane in enumerate(PLANES):
                shown = _slice(axes[row, column], image, plane, cut, spacing, colours, low, high)
                if column == 0:
                    axes[row, 0].text(0.02, 0.98, place_text(plane, cut, images[0].shape, last.affine), fontsize=8,
                                      transform=axes[row, 0].transAxes, va="top", color="white")  # fmt: skip
            axes[0, column].set_title(name)
            bar = figure.colorbar(shown, ax=axes[:, column], orientation="horizontal", shrink=0.8, pad=0.02)
            bar.set_label("value" if column < 2 else "change of the value" if column == 2 else "standard deviation")
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _slice(
    axes: Axes, image: NDArray[np.float32], plane: str, cut: NDArray[np.int64], spacing: NDArray[np.float64],
    colours: str, low: float, high: float,
) -> AxesImage:  # fmt: skip
    axis, left, right = PLANES[plane]
    ratio = np.delete(spacing, axis)
    data = np.take(image, cut[axis], axis).T
    shown = axes.imshow(data, cmap=colours, vmin=low, vmax=high, origin="lower", aspect=float(ratio[1] / ratio[0]))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    ink = "white" if colours in ("gray", "magma") else INK
    for text, x, side in ((left, 0.02, "left"), (right, 0.98, "right")):
        axes.text(x, 0.02, text, transform=axes.transAxes, ha=side, va="bottom", color=ink, fontsize=9)
    return shown


def brain_top(brain: NDArray[np.float32], whole: NDArray[np.float32]) -> float:
    """Upper limit of the grey scale: the 99.9 % quantile in the brain, else the maximum of the whole image."""
    if brain.size and brain.max() > 0:
        return float(np.quantile(brain, 0.999, method="linear"))
    return float(whole.max()) or 1.0


def canonical(array: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """The array reoriented so that its axes point right, anterior and superior."""
    turned = nib.orientations.apply_orientation(array, nib.orientations.io_orientation(affine))
    return np.asarray(turned, np.float32)


def place_text(plane: str, cut: NDArray[np.int64], shape: tuple[int, ...], affine: NDArray[np.float64]) -> str:
    """``x = -12 mm``: where the centre of a plane through the voxel ``cut`` of the canonical array is in the world."""
    axis = PLANES[plane][0]
    like = nib.Nifti1Image(np.empty(_own_shape(shape, affine), np.uint8), affine)
    middle = np.array([*(np.array(shape) - 1) / 2, 1.0])
    middle[axis] = cut[axis]
    place = float((nib.as_closest_canonical(like).affine @ middle)[axis])
    return f"{'xyz'[axis]} = {round(place):d} mm".replace("-", "\u2212")


def _own_shape(shape: tuple[int, ...], affine: NDArray[np.float64]) -> tuple[int, ...]:
    """The shape of an array before `canonical`."""
    axes = nib.orientations.io_orientation(affine)[:, 0].astype(int)
    return tuple(int(shape[axis]) for axis in axes)


def canonical_spacing(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    order = ["".join(sorted(code)) for code in aff2axcodes(affine, (("L", "R"), ("P", "A"), ("I", "S")))]
    axis_of = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}
    out = np.empty(3)
    for axis, code in enumerate(order):
        out[axis_of[code]] = spacing[axis]
    return out


def crossing(change: NDArray[np.float32]) -> NDArray[np.int64]:
    """The voxel through which the planes are drawn: by axis the slice with the most change.

    It lies within the middle half of the change: the rim of the brain, cut along its surface, would win otherwise.
    """
    weight = np.abs(change) ** 2
    centre = []
    for axis in range(3):
        profile = weight.sum(tuple(k for k in range(3) if k != axis), dtype=np.float64)
        if not profile.any():
            centre.append(change.shape[axis] // 2)
            continue
        share = np.cumsum(profile) / profile.sum()
        first, last = np.searchsorted(share, [0.25, 0.75])
        wide = np.convolve(profile, np.ones(5), "same")
        centre.append(int(first + wide[first : last + 1].argmax()))
    return np.array(centre)
