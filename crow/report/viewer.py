"""nilearn's interactive viewer of a volume over a scan, as a page that loads nothing from a network."""

from __future__ import annotations

import re
import warnings

import numpy as np

from crow.extras import extra

with extra("scans"):
    import nibabel as nib

MAX_LENGTH = 1_200_000  # characters of a viewer
FAVICON = re.compile(r"<link[^>]*rel=[\"'](?:shortcut )?icon[\"'][^>]*>", re.IGNORECASE)
MAX_SPACING = 6.0  # mm


def viewer(volume: nib.Nifti1Image, background: nib.Nifti1Image, limit: float, threshold: float) -> str | None:
    """The HTML of `nilearn.plotting.view_img`: ``volume`` from -limit to limit over ``background``.

    The volumes are downsampled until the viewer is small enough for a page; None if they would be too coarse. nilearn's
    page loads its icon from an address, which is removed; None if another address remains.
    """
    with extra("scans"):
        from nilearn import image, plotting

    spacing = float(np.min(background.header.get_zooms()[:3]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while True:
            shown = plotting.view_img(
                volume, bg_img=background, threshold=threshold, vmax=limit, symmetric_cmap=True, cmap="RdBu_r",
                black_bg=True, title=None, width_view=700, colorbar=True,
            )  # fmt: skip
            page = FAVICON.sub("", shown.html)
            if len(page) <= MAX_LENGTH:
                return None if _loads(page) else page
            spacing = max(spacing * 1.3, 2.0)
            if spacing > MAX_SPACING:
                return None
            background = image.resample_img(background, np.diag([spacing] * 3), force_resample=True, copy_header=True)
            volume = image.resample_to_img(volume, background, force_resample=True, copy_header=True)


def _loads(page: str) -> bool:
    """Whether a page loads anything from an address."""
    loads = re.findall(r"(?:\b(?:src|href)\s*=\s*[\"']?|url\(\s*[\"']?|@import\s+[\"'])\s*(?:https?:)?//", page)
    return bool(loads)
