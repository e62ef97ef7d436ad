"""Figures of translated scans: the given scan, and median, uncertainty and draws of the translation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crow.extras import extra
from crow.report.figures import style
from crow.report.images import middle

with extra("report"):
    from matplotlib.figure import Figure

Image = NDArray[np.floating]
N_DRAWS = 3  # beside the median


@dataclass(frozen=True)
class TranslationRow:
    """A row of the figure, images ``[X, Y, Z]``; ``truth`` if it is known."""

    title: str
    source: Image
    samples: NDArray[np.floating]
    median: Image
    sd: Image
    truth: Image | None = None


def translations(rows: Sequence[TranslationRow], source: str, target: str) -> Figure:
    """One row per visit: source, truth (if known), median, sd, and draws; slices as in `crow.report.images.montage`.

    Source, target and sd have one scale each, from 0 to the 99.8 % quantile.
    """
    columns = [f"{source}, given", *([f"{target}, true"] if rows[0].truth is not None else [])]
    columns += [f"{target}, median", "sd", *(f"draw {k + 1}" for k in range(min(N_DRAWS, len(rows[0].samples))))]
    pictures = [_pictures(row) for row in rows]
    with style():
        figure = Figure(figsize=(1.6 * len(columns), 1.85 * len(rows) + 0.2), layout="constrained")
        axes = figure.subplots(len(rows), len(columns), squeeze=False)
        kinds = ["source" if "given" in name else "sd" if name == "sd" else "target" for name in columns]
        tops = {}
        for kind in set(kinds):
            images = [row[k] for row in pictures for k, one in enumerate(kinds) if one == kind]
            tops[kind] = np.percentile(images, 99.8, method="linear") or 1.0
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


def _pictures(row: TranslationRow) -> list[Image]:
    truth = [] if row.truth is None else [row.truth]
    return [middle(image) for image in (row.source, *truth, row.median, row.sd, *row.samples[:N_DRAWS])]
