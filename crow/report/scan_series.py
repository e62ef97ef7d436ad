"""The follow-up scans of a subject in order of time as one file: a 4-D NIfTI, or an animated GIF for a talk."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crow.errors import OutputError
from crow.extras import extra
from crow.files import writing
from crow.report.scan_figures import PLANES, brain_top, canonical, canonical_spacing, crossing

with extra("report"):
    from PIL import Image, ImageDraw

with extra("scans"):
    import nibabel as nib

Volume = NDArray[np.float32]

MILLISECONDS = 250  # per frame
LAST_FRAMES = 4  # times that the last frame is shown
HEIGHT, LINE = 240, 18  # pixels of a plane and of the caption


class ScanSeries:
    """Collects the last scan and its follow-ups, on the grid of ``like``, and writes them to one file.

    Volumes wait in a temporary file, so that memory does not grow with their number.
    """

    def __init__(self, like: nib.Nifti1Image, facts: dict[str, Any]) -> None:
        self.like, self.facts = like, facts
        self.years: list[float] = []
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the object

    def add(self, scan: Volume, years: float) -> None:
        """Add the scan ``[X, Y, Z]``, ``years`` after the last one."""
        self._file.write(np.ascontiguousarray(scan.T, np.float32).tobytes())
        self.years.append(round(years, 6))

    def save(self, path: Path, overwrite: bool = False) -> None:
        """Write the series; raises OutputError if the file exists and ``overwrite`` is False."""
        self._file.flush()
        shape = (len(self.years), *reversed(self.like.shape[:3]))
        scans = np.memmap(self._file, np.float32, "r", shape=shape).T  # [X, Y, Z, time]
        if path.suffix.lower() == ".gif":
            frames = _frames(scans, self.like, self.years)
            with writing(path, overwrite) as temporary:
                times = [MILLISECONDS] * (len(frames) - 1) + [LAST_FRAMES * MILLISECONDS]
                frames[0].save(temporary, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
            return
        ending = next((one for one in (".nii.gz", ".nii") if path.name.lower().endswith(one)), None)
        if ending is None:
            raise OutputError(f"{path}: a series is written as .gif, .nii or .nii.gz. Choose one of these endings.")
        image = nib.Nifti1Image(scans, self.like.affine, _header(self.like, self.years))
        facts = {**self.facts, "YearsSinceLastScan": self.years}
        beside = path.with_name(f"{path.name[: -len(ending)]}.json")
        with writing(path, overwrite) as temporary, writing(beside, overwrite) as sidecar:
            whole = temporary.with_name(temporary.name + ending)  # nibabel chooses the format by the file name
            try:
                nib.save(image, whole)
                whole.replace(temporary)
            finally:
                whole.unlink(missing_ok=True)
            sidecar.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _header(like: nib.Nifti1Image, years: list[float]) -> nib.Nifti1Header:
    header = like.header.copy()
    header.set_data_dtype(np.float32)
    header.set_data_shape((*like.shape[:3], len(years)))
    steps = np.diff(years)
    header["pixdim"][4] = steps[0] if len(steps) and np.allclose(steps, steps[0], atol=1e-4) else 0
    header["cal_max"] = header["cal_min"] = 0
    return header


def _frames(scans: Volume, like: nib.Nifti1Image, years: list[float]) -> list[Image.Image]:
    """Three planes through the largest change, with the time below."""
    first = canonical(np.asarray(scans[..., 0]), like.affine)
    cut = crossing(canonical(np.asarray(scans[..., -1]), like.affine) - first)
    spacing, top = canonical_spacing(like.affine), brain_top(first[first > 0], first)
    frames = []
    for k, time in enumerate(years):
        scan = canonical(np.asarray(scans[..., k]), like.affine)
        planes = [_plane(scan, axis, int(cut[axis]), spacing, top) for axis, _, _ in PLANES.values()]
        frame = Image.new("L", (sum(plane.width for plane in planes), HEIGHT + LINE))
        left = 0
        for plane, (_, near, far) in zip(planes, PLANES.values(), strict=True):
            frame.paste(plane, (left, 0))
            pen = ImageDraw.Draw(frame)
            pen.text((left + 2, HEIGHT - 14), near, fill=255)
            pen.text((left + plane.width - 10, HEIGHT - 14), far, fill=255)
            left += plane.width
        text = "last scan" if time == 0 else f"synthetic, {time:.2f} years after the last scan"
        ImageDraw.Draw(frame).text((4, HEIGHT + 3), text, fill=255)
        frames.append(frame)
    return frames


def _plane(scan: Volume, axis: int, cut: int, spacing: NDArray[np.float64], top: float) -> Image.Image:
    data = np.take(scan, cut, axis).T[::-1]
    grey = Image.fromarray((255 * np.clip(data / top, 0, 1)).astype(np.uint8))
    across, up = np.delete(spacing, axis)
    width = round(HEIGHT * data.shape[1] * across / (data.shape[0] * up))
    return grey.resize((width, HEIGHT), Image.Resampling.BICUBIC)
