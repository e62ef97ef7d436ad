"""Regions are located in an atlas, and their values are drawn there."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from crow.report.brain_maps import Map, glass_brains, places
from crow.scans.template import STRUCTURES, load_template

LUT = {1: "ctx-lh-precuneus", 2: "ctx-rh-precuneus", 3: "Left-Hippocampus", 4: "Right-Hippocampus", 5: "csf"}


def test_names_match_in_any_order_and_case_and_without_a_side_both_sides() -> None:
    regions = ["CTX_LH_PRECUNEUS", "hippocampus_right", "Hippocampus", "Entorhinal"]
    assert places(regions, LUT, loose=False) == {
        "CTX_LH_PRECUNEUS": [1], "hippocampus_right": [4], "Hippocampus": [3, 4]
    }  # fmt: skip


def test_extra_words_of_a_name_are_ignored_only_for_an_atlas_that_the_user_chose() -> None:
    regions = ["CTX_RH_PRECUNEUS_UCBERKELEYAV45_10_17_16", "CSF_TAU"]
    assert places(regions, LUT, loose=False) == {}
    assert places(regions, LUT, loose=True) == {regions[0]: [2], "CSF_TAU": [5]}


def test_a_map_needs_half_of_the_regions_unless_the_user_chose_the_atlas() -> None:
    labels = np.zeros((2, 2, 2), np.int32)
    regions = ["Hippocampus", "a", "b"]
    assert Map(labels, np.eye(4), LUT, given=False).of(regions) == {}
    assert set(Map(labels, np.eye(4), LUT, given=False).of(regions[:2])) == {"Hippocampus"}
    assert set(Map(labels, np.eye(4), LUT, given=True).of(regions)) == {"Hippocampus"}


def test_glass_brains_colour_the_correct_hemisphere() -> None:
    template = load_template(6.0)
    located = places(["cortex_left", "cortex_right"], STRUCTURES, loose=False)
    real = {"cortex_left": 1.0, "cortex_right": 0.0}
    labels = template.structures.astype(np.int32)
    figure = glass_brains({"real": real}, located, labels, template.grid.matrix, "d", True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    red = (pixels[..., 0] - pixels[..., 2] > 50).nonzero()[1] / pixels.shape[1]
    from_above = [((red > low) & (red < high)).sum() for low, high in ((0.73, 0.8), (0.83, 0.9))]
    assert from_above[0] > 1000 and from_above[1] == 0
    assert [text.get_text() for text in figure.texts if text.get_text() == "real"]
