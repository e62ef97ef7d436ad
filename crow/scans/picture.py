"""Quality-control picture of a prepared scan: three slices with the template's outlines, left and right marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.extras import extra
from crow.files import writing
from crow.scans.template import Template

with extra("report"):
    from PIL import Image, ImageDraw

Volume = NDArray[np.float32]
POSITION = (-4.0, -20.0, 8.0)  # mm, MNI: the sagittal, coronal and axial slice
PER_MM = 1.2  # pixels
BRAIN, VENTRICLES = (255, 80, 60), (90, 200, 255)


def draw(intensity: Volume, template: Template, path: Path) -> None:
    """Write a PNG of about 650 x 280 pixels, in neurological convention: the subject's right is on the right."""
    top = float(np.percentile(intensity[template.mask], 99.5)) or 1.0
    panels = [_panel(intensity / top, template, axis) for axis in range(3)]
    height = max(panel.height for panel in panels)
    whole = Image.new("RGB", (sum(panel.width for panel in panels), height))
    x = 0
    for panel in panels:
        whole.paste(panel, (x, (height - panel.height) // 2))
        x += panel.width
    with writing(path, overwrite=True) as temporary:
        whole.save(temporary, format="PNG")


def _panel(intensity: Volume, template: Template, axis: int) -> Image.Image:
    grid = template.grid
    at = round((POSITION[axis] - grid.matrix[axis, 3]) / grid.spacing[axis])
    at = int(np.clip(at, 0, grid.shape[axis] - 1))
    zoom = PER_MM * np.delete(grid.spacing, axis)

    def slice_of(volume: NDArray[Any]) -> NDArray[np.float32]:
        return ndimage.zoom(np.take(volume, at, axis).astype(np.float32), zoom, order=1).T[::-1]

    gray = (np.clip(slice_of(intensity), 0, 1) * 255).astype(np.uint8)
    pixels = np.repeat(gray[..., None], 3, 2)
    for part, colour in ((template.mask, BRAIN), (template.structure("ventricles"), VENTRICLES)):
        inside = slice_of(part) > 0.5
        pixels[inside & ~ndimage.binary_erosion(inside)] = colour
    panel = Image.fromarray(pixels)
    pen = ImageDraw.Draw(panel)
    sides = ("P", "A") if axis == 0 else ("L", "R")
    pen.text((4, 4), sides[0], fill=(255, 255, 255), font_size=14)
    pen.text((panel.width - 14, 4), sides[1], fill=(255, 255, 255), font_size=14)
    return panel
