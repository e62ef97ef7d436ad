"""The quality-control page shows every scan, worst first, and is self-contained."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from simulated_scans import cohort

from crow.pipelines.prepare import prepare
from crow.scans.picture import BRAIN, draw
from crow.scans.template import load_template

TEMPLATE = load_template(8.0)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("qc")
    table = cohort(folder)
    frame = pd.read_csv(table)
    frame["subject"] = ["<b>A</b>", "<b>A</b>", "B", "B"]
    frame.to_csv(table, index=False)
    (folder / frame["scan"][3]).write_bytes(b"no scan")
    done = prepare(table, folder / "store", resolution=8.0, registration="none", jobs=1)
    assert done.page == folder / "store" / "qc" / "index.html"
    text = done.page.read_text(encoding="utf-8")
    assert all((done.page.parent / name).is_file() for name in re.findall(r'src="([^"]+)"', text))
    return text


def test_every_scan_is_shown_and_the_failed_one_first(page: str) -> None:
    assert page.count("<figure") == 4
    assert page.count("<img") == 3
    first = page.split("<figure")[1]
    assert "Failed: cannot be read as NIfTI" in first
    assert "<b>B" in first


def test_names_are_escaped(page: str) -> None:
    assert "&lt;b&gt;A&lt;/b&gt;" in page
    assert "<b>A</b>" not in page


def test_the_page_is_self_contained(page: str) -> None:
    assert "http" not in page
    assert re.findall(r'src="([^"]+)"', page) == re.findall(r'src="(scan-\d+\.png)"', page)


def test_a_picture_has_the_outline_and_left_on_the_left(tmp_path: Path) -> None:
    right = TEMPLATE.t1.copy()
    right[: len(right) // 2] = 0
    draw(right, TEMPLATE, tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert pixels.shape[1] > 500
    assert (pixels == BRAIN).all(-1).sum() > 300
    axial = pixels[:, -int(len(right) * 8 * 1.2) :]
    half = axial.shape[1] // 2
    assert axial[:, half:].mean() > 3 * axial[:, :half].mean()
