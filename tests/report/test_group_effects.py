"""The figure of group effects: FreeSurfer's regions by hemisphere and lobe, other regions in one row each."""

import numpy as np
import pandas as pd
import pytest

from crow.report.group_effects import _map, group_figure, locate
from crow.simulate import simulate_av45


def table(regions: list[str]) -> pd.DataFrame:
    d = np.linspace(-1, 1, len(regions))
    rows = pd.DataFrame({"contrast": "CDRSB", "region": regions, "d_real": d, "d_synthetic": d / 2})
    for name in ("d_real", "d_synthetic"):
        rows[f"{name}_low"], rows[f"{name}_high"] = rows[name] - 0.2, rows[name] + 0.2
    return rows


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("CTX_LH_PRECUNEUS_UCBERKELEYAV45_10_17_16", ("parietal", "precuneus", "left")),
        ("RIGHT_ACCUMBENS_AREA_UCBERKELEYAV45_10_17_16", ("subcortical", "accumbensarea", "right")),
        ("lh_bankssts_thickness", ("temporal", "bankssts", "left")),
        ("Left-VentralDC", ("subcortical", "ventraldc", "left")),
        ("Hippocampus", None), ("ROI01", None),
    ],
)  # fmt: skip
def test_regions_of_freesurfer_are_located(region: str, expected: tuple[str, str, str] | None) -> None:
    assert locate(region) == expected


def test_every_region_of_av45_has_its_row_and_hemisphere() -> None:
    names = [name for name in simulate_av45(2).table if "UCBERKELEY" in name]
    rows = table(names)
    values, lobes = _map(rows)
    assert values.shape == (41, 4) and not values.isna().any(axis=None) and lobes[0] == "frontal"
    expected = rows.set_index("region")["d_real"]["CTX_RH_PRECUNEUS_UCBERKELEYAV45_10_17_16"]
    assert values.loc["precuneus", "right\nreal"] == pytest.approx(expected)
    figure = group_figure(rows, note="41 and 12 subjects")
    assert "CDRSB" in figure.get_suptitle() and len(figure.axes) == 3


def test_other_regions_are_ordered_by_their_effect() -> None:
    values, lobes = _map(table([f"ROI{k:02d}" for k in range(100)]))
    assert len(values) == 60 and not lobes and values["real"].is_monotonic_increasing
    assert len(group_figure(table(["A", "B"])).axes) == 3


def test_names_of_close_dots_do_not_overlap() -> None:
    rows = table([f"region {k}" for k in range(14)])
    rows[["d_real", "d_synthetic"]] = np.random.default_rng(0).normal(0.5, 0.01, (14, 2))
    rows.loc[0, ["d_real", "d_synthetic"]] = -1
    axes = group_figure(rows).axes[0]
    named = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert 4 < len(named) < 14 and "region 0" in named
    boxes = list(named.values())
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)
