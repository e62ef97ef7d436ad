"""Slices of scans as pictures for the page, with the limits of their colours."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crow.explore.question import Planes
from crow.extras import extra
from crow.report.embed import image_uri
from crow.report.scan_figures import PLANES, brain_top, canonical, crossing, place_text
from crow.report.slices import three_planes
from crow.representation.follow_up import Volume

with extra("report"):
    import matplotlib as mpl
    from PIL import Image

WIDTH, WIDTH_OF_ONE = 640, 480  # pixels, of three planes and of one
INNER = (0.15, 0.85)  # quantiles of the brain's voxels along an axis
GREY, CHANGE = "gray", "RdBu_r"
SHOWN = 0.999  # quantile of the change at which its colours end


class Pictures:
    """Pictures of one subject's last scan ``[X, Y, Z]`` on a grid with ``affine``, and of its follow-ups."""

    def __init__(self, last: Volume, affine: NDArray[np.float64], mask: NDArray[np.bool_]) -> None:
        self.last, self.affine, self.mask = last, affine, mask
        self.top = brain_top(last[mask], last)
        self._shape = canonical(last, affine).shape
        self._through: NDArray[np.int64] | None = None

    def of(self, follow_up: Volume, change: Volume, planes: Planes, at: int | None = None) -> dict[str, Any]:
        """Pictures as addresses of their own content, with the ends of both colour bars.

        Planes cross where the first change that is asked for is largest. ``at`` is another slice of a single plane.
        """
        through = self._crossing(change).copy()
        found: dict[str, Any] = {}
        if planes != "three planes":
            axis, count = PLANES[planes][0], self._shape[PLANES[planes][0]]
            through[axis] = through[axis] if at is None else min(max(at, 0), count - 1)
            place = place_text(planes, through, self._shape, self.affine)
            found = {"slice": int(through[axis]), "slices": count, "place": place}
        end = round_up(float(np.quantile(np.abs(change[self.mask]), SHOWN, method="linear")))
        grey, signed = (0.0, self.top), (-end, end)
        shown = PLANES if planes == "three planes" else (planes,)

        def drawn(volume: Volume, limits: tuple[float, float], colours: str) -> str:
            width = WIDTH if planes == "three planes" else WIDTH_OF_ONE
            return image_uri(three_planes(volume, self.affine, through, limits, colours, width, shown))

        return found | {
            "last": drawn(self.last, grey, GREY), "follow_up": drawn(follow_up, grey, GREY),
            "change": drawn(change, signed, CHANGE),
            "grey": {"low": grey[0], "high": grey[1], "bar": colour_bar(GREY)},
            "signed": {"low": signed[0], "high": signed[1], "bar": colour_bar(CHANGE)},
        }  # fmt: skip

    def _crossing(self, change: Volume) -> NDArray[np.int64]:
        """Where the change is largest in the inner part of the brain: a plane at its edge shows little of it."""
        if self._through is None:
            inside = np.nonzero(canonical(self.mask.astype(np.float32), self.affine))
            inner = tuple(slice(*np.quantile(axis, INNER, method="nearest")) for axis in inside)
            start = np.array([part.start for part in inner])
            found = start + crossing(canonical(change, self.affine)[inner])
            if not change.any():
                return found
            self._through = found
        return self._through


@cache
def colour_bar(colours: str) -> str:
    """All colours from the lowest to the highest."""
    row = mpl.colormaps[colours](np.linspace(0, 1, 256))[None, :, :3]
    return image_uri(Image.fromarray((255 * row).round().astype(np.uint8)))


def round_up(value: float) -> float:
    """The next round number; 1 for nothing."""
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if value <= step * power * (1 + 1e-9))
