"""The picture of translated scans: what was given, and the many answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from crow.report.figures import style
from crow.report.images import middle

Image = NDArray[np.floating]
DRAWN = 3  # samples beside the median


@dataclass(frozen=True)
class Shown:
    """A row of the picture, images ``[X, Y, Z]``; ``truth`` where it is known."""

    title: str
    source: Image
    samples: NDArray[np.floating]
    median: Image
    sd: Image
    truth: Image | None = None


def translations(rows: Sequence[Shown], source: str, target: str) -> Figure:
    """A row a visit: source, (truth,) median, sd, and some samples; slices as in `crow.report.images.montage`.

    One grey scale for the source, one for all of the target, one for the sd, each from 0 to its 99.8 percent point.
    """
    columns = [f"{source}, given", *([f"{target}, true"] if rows[0].truth is not None else [])]
    columns += [f"{target}, median", "sd", *(f"sample {k + 1}" for k in range(min(DRAWN, len(rows[0].samples))))]
    pictures = [_pictures(row) for row in rows]
    with style():
        figure = Figure(figsize=(1.6 * len(columns), 1.85 * len(rows) + 0.2), layout="constrained")
        axes = figure.subplots(len(rows), len(columns), squeeze=False)
        kinds = ["source" if "given" in name else "sd" if name == "sd" else "target" for name in columns]
        tops = {
            kind: np.percentile([row[k] for row in pictures for k, one in enumerate(kinds) if one == kind], 99.8) or 1.0
            for kind in set(kinds)
        }
        for line, images in enumerate(pictures):
            for column, image in enumerate(images):
                ax, kind = axes[line, column], kinds[column]
                shades = "magma" if kind == "sd" else "gray"
                ax.imshow(image.T, origin="lower", cmap=shades, vmin=0, vmax=tops[kind], interpolation="nearest")
                ax.set(xticks=[], yticks=[], frame_on=False)
                if not line:
                    ax.set_title(columns[column], fontsize=8)
            axes[line, 0].set_ylabel(rows[line].title, fontsize=7)
    return figure


def _pictures(row: Shown) -> list[Image]:
    truth = [] if row.truth is None else [row.truth]
    return [middle(image) for image in (row.source, *truth, row.median, row.sd, *row.samples[:DRAWN])]
