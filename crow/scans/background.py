"""The background of a structural scan, which crow needs at 0, and masks or labels in place of intensities.

Scans that were standardised to z-scores, or shifted otherwise, have a background below 0. It is subtracted, and kept as
the offset of the scan, so that a generated follow-up has the values of the scan.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]

MAX_READ = 1_000_000  # voxels that are looked at
SHARE_BELOW = 0.02  # of the voxels, that noise leaves below the background
NEGATIVE = 0.05  # of the range of the tissue: the depth below 0 from which values are not just ringing
CONSTANT = 0.9  # share of a scan's faces with one value, if its background is constant
SAME_AS_NEXT = 0.8  # share of voxels equal to the next one, from which an image consists of labels


def background_level(values: Volume) -> tuple[float, float | None]:
    """The offset of a scan ``[X, Y, Z]``, and the constant value of its background if that is not the lowest value.

    The offset is 0 if hardly any value is below 0. If the brain was masked and standardised, the background is a
    constant among the brain's values; the offset is then the lowest of these.
    """
    faces = np.concatenate([np.take(values, end, axis).ravel() for axis in range(3) for end in (0, -1)])
    background = float(np.median(faces))
    seen = values.ravel()[:: max(1, values.size // MAX_READ)]
    tissue = seen[seen != background]
    if not len(tissue):
        return 0.0, None
    low, high = np.percentile(tissue, [1, 99], method="linear")
    if min(low, background) >= -NEGATIVE * (high - min(low, background)) or high <= background:
        return 0.0, None
    margin = SHARE_BELOW * (high - background)
    if float((seen < background - margin).mean()) < SHARE_BELOW:
        return background, None
    if float((faces == background).mean()) < CONSTANT:
        return float(seen.min()), None
    return float(np.percentile(tissue, 0.1, method="linear")), background


def above_background(values: Volume, offset: float, constant: float | None) -> Volume:
    """The scan less its offset, 0 in its background and nowhere below."""
    if offset == 0 and constant is None:
        return values
    out = np.maximum(values - np.float32(offset), 0)
    return out if constant is None else np.where(values == np.float32(constant), np.float32(0), out)


def label_note(values: Volume) -> str | None:
    """Why an image is a mask or a map of labels, if it is one."""
    seen = values.ravel()[:: max(1, values.size // MAX_READ)]
    levels, counts = np.unique(seen, return_counts=True)
    if len(levels) <= 2:
        return f"a mask: its only values are {' and '.join(f'{level:g}' for level in levels)}"
    inside = values != levels[counts.argmax()]
    pairs = inside[1:] & inside[:-1]
    if pairs.sum() and (values == np.rint(values)).all():
        same = float((values[1:] == values[:-1])[pairs].mean())
        if same > SAME_AS_NEXT:
            return f"a map of labels: {same:.0%} of its voxels have the value of the next one"
    return None
