"""A page in a real browser: the slider, the choice of pictures, the viewer, and the content security policy."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from browser import opened, wait_for
from markupsafe import escape
from PIL import Image

from crow.report.blocks import Block, Compare, Section, Table, Viewer, paragraph
from crow.report.embed import image
from crow.report.names import without_ending
from crow.report.numbers import percent, short
from crow.report.page import render
from crow.report.viewer import viewer

COLOURS = {"last scan": (200, 30, 30), "real": (30, 200, 30), "synthetic": (30, 30, 200)}


def written(folder: Path, *blocks: Block) -> Path:
    path = folder / "page.html"
    page = render("A page", "of blocks", [Section("scans", "Scans", tuple(blocks))], "the end")
    path.write_text(page, encoding="utf-8")
    return path


def compare() -> Compare:
    pictures = ((name, image(Image.new("RGB", (400, 100), colour), name)) for name, colour in COLOURS.items())
    return Compare("sub-1", tuple(pictures))


def colour(shown: Any, x: int) -> str:
    """The name of the picture that is visible at ``x`` percent of the width."""
    box = shown.query_selector(".over").bounding_box()
    clip = {"x": box["x"] + box["width"] * x / 100, "y": box["y"] + box["height"] * 0.8, "width": 2, "height": 2}
    with Image.open(io.BytesIO(shown.screenshot(clip=clip))) as pixels:
        found = np.asarray(pixels.convert("RGB"))[0, 0].astype(int)
    return min(COLOURS, key=lambda name: int(np.abs(found - np.array(COLOURS[name])).sum()))


def test_the_slider_moves_with_the_keys_and_shows_two_of_three_pictures(tmp_path: Path) -> None:
    with opened(written(tmp_path, compare())) as (shown, seen):
        assert (colour(shown, 10), colour(shown, 90)) == ("last scan", "real")
        assert (colour(shown, 45), colour(shown, 55)) == ("last scan", "real")
        slider = shown.get_by_label("From one scan to the other: sub-1")
        slider.focus()
        for _ in range(20):
            shown.keyboard.press("ArrowRight")
        assert slider.input_value() == "70" and slider.get_attribute("aria-valuetext") == "70 % last scan, 30 % real"
        assert (colour(shown, 55), colour(shown, 80)) == ("last scan", "real")
        shown.keyboard.press("Home")
        assert colour(shown, 5) == "real"
        shown.get_by_label("last scan with real").focus()
        shown.keyboard.press("ArrowDown")
        assert shown.get_by_label("last scan with synthetic").is_checked()
        assert colour(shown, 50) == "synthetic"
    assert (seen.requests, seen.errors) == ([], [])


def test_the_viewer_draws_and_reacts_without_a_network(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    brain = np.zeros((20, 24, 18), np.float32)
    brain[4:16, 4:20, 4:14] = 1
    affine = np.diag([8.0, 8, 8, 1])
    html = viewer(nib.Nifti1Image(brain * rng.normal(size=brain.shape).astype(np.float32), affine),
                  nib.Nifti1Image(brain, affine), 2.0, 0.5)  # fmt: skip
    assert html is not None and len(html) < 400_000 and "favicon" not in html
    with opened(written(tmp_path, Viewer("viewer of a change", html))) as (shown, seen):
        frame = shown.query_selector("iframe").content_frame()
        wait_for(frame, "document.querySelector('canvas').width > 300")
        pixels = (
            "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
            ".filter((_, k) => k % 4 === 0).reduce((a, b) => a + b, 0)"
        )
        canvas = frame.query_selector("canvas")
        before = canvas.evaluate(pixels)
        box = canvas.bounding_box()
        shown.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.4 * box["height"])
        assert before > 0 and canvas.evaluate(pixels) != before
    assert (seen.requests, seen.errors) == ([], [])


def test_the_policy_blocks_markup_that_was_not_escaped(tmp_path: Path) -> None:
    """Markup in a name neither runs nor loads, even if it were not escaped."""
    evil = '<img src="http://127.0.0.1:9/x.png" onerror="document.title=\'run\'"><script>document.title="run"</script>'
    path = written(tmp_path, paragraph(evil))
    text = path.read_text(encoding="utf-8")
    assert str(escape(evil)) in text and evil not in text
    path.write_text(text.replace(str(escape(evil)), evil), encoding="utf-8")
    with opened(path) as (shown, seen):
        assert shown.title() == "A page" and shown.query_selector("main img") is not None
        stopped = [error for error in seen.errors if "Content Security Policy" in error]
        assert any("x.png" in error for error in stopped) and any("inline script" in error for error in stopped)


def test_numbers_are_right_aligned_and_text_is_escaped(tmp_path: Path) -> None:
    path = written(tmp_path, Table("a < b", ("who", "n"), (("<i>x</i>", 1234.5678), ("y", None))))
    text = path.read_text(encoding="utf-8")
    assert "&lt;i&gt;x&lt;/i&gt;" in text and "<i>" not in text
    assert '<td class="number">1,235</td>' in text and '<td class="number">–</td>' in text


def test_numbers_have_few_significant_digits() -> None:
    assert [short(x) for x in (0.012345, 48.0453, 123.456, 891, -0.5, 12345.6, 1e-7, None, float("nan"))] == [
        "0.0123", "48.0", "123", "891", "−0.500", "12,346", "1.0e-07", "–", "–"
    ]  # fmt: skip
    assert [percent(x) for x in (0.9, 0.9014, -0.02, None)] == ["90 %", "90.1 %", "−2 %", "–"]


def test_figures_omit_the_common_ending_of_all_regions() -> None:
    short_ones = ["CTX_LH_CUNEUS", "CTX_RH_CUNEUS", "CSF"]
    assert list(without_ending(f"{name}_UCBERKELEYAV45_10_17_16" for name in short_ones).values()) == short_ones
    for names in (["ROI01", "ROI11", "ROI21"], ["a_left", "b_left"], ["_x_volume", "a_x_volume", "_x_volume"], []):
        assert list(without_ending(names)) == list(without_ending(names).values()) == list(dict.fromkeys(names))
