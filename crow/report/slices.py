"""Three planes of a volume as one picture of fixed layout, so that two of them can be overlaid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crow.extras import extra
from crow.report.scan_figures import PLANES, canonical, canonical_spacing, place_text

with extra("report"):
    import matplotlib as mpl
    from PIL import Image, ImageDraw, ImageFont


def three_planes(
    volume: NDArray[np.floating],
    affine: NDArray[np.float64],
    through: Sequence[int] | NDArray[np.int64],
    limits: tuple[float, float],
    colours: str = "gray",
    width: int = 900,
    planes: Iterable[str] = PLANES,
) -> Image.Image:
    """Sagittal, coronal and axial plane side by side, about ``width`` pixels together, one scale in mm; sides marked.

    ``volume [X, Y, Z]`` lies on the grid of ``affine``. ``through`` is the voxel at which the planes cross, along axes
    that point right, anterior and superior (`crow.report.scan_figures.crossing`). ``limits`` are the values of the
    first and the last colour; the background has the colour of 0. Volumes of the same shape and affine give pictures of
    the same size, with the subject's left on the left. ``planes`` are some of the three.
    """
    chosen = {plane: PLANES[plane] for plane in planes}
    data, spacing = canonical(np.asarray(volume, np.float32), affine), canonical_spacing(affine)
    look = mpl.colormaps[colours]
    low, high = limits
    scale = max(high - low, 1e-12)
    background = _bytes(look(np.clip(-low / scale, 0, 1)))
    ink = (255, 255, 255) if sum(background) < 384 else (34, 34, 34)
    size = np.array(data.shape) * spacing
    per_mm = width / sum(np.delete(size, axis)[0] for axis, _, _ in chosen.values())
    panels = []
    for plane, (axis, left, right) in chosen.items():
        cut = np.take(data, int(through[axis]), axis).T[::-1]
        pixels = (look(np.clip((cut - low) / scale, 0, 1))[..., :3] * 255).round().astype(np.uint8)
        wide, tall = (round(float(side)) for side in np.delete(size, axis) * per_mm)
        panel = Image.fromarray(pixels).resize((wide, tall), Image.Resampling.BILINEAR)
        pen = ImageDraw.Draw(panel)
        for text, x, anchor in ((left, 6, "ls"), (right, wide - 6, "rs")):
            pen.text((x, tall - 6), text, fill=ink, font=_font(18), anchor=anchor)
        where = place_text(plane, np.asarray(through), data.shape, affine)
        pen.text((6, 6), where, fill=ink, font=_font(14), anchor="lt")
        panels.append(panel)
    whole = Image.new("RGB", (sum(panel.width for panel in panels), max(panel.height for panel in panels)), background)
    x = 0
    for panel in panels:
        whole.paste(panel, (x, (whole.height - panel.height) // 2))
        x += panel.width
    return whole


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """That of matplotlib, because Pillow's own has no minus sign."""
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _bytes(colour: tuple[float, ...]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * float(part)) for part in colour[:3])
    return red, green, blue
