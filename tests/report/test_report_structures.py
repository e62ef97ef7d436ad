"""The report of a run of scans names structures and their change in percent, and what it lacks in part."""

import numpy as np
import pandas as pd
import pytest

from crow.pipelines.report import _missing
from crow.pipelines.report_structures import UNIT, Structures, title_of
from crow.report.blocks import Heading, Note, Section
from crow.report.sections.forecasts import SubjectForecast, WhatIf
from crow.representation.deformation import Deformation
from crow.representation.structure_means import StructureMeans
from crow.representation.structure_volumes import NAMES
from crow.representation.subspace import Subspace

VOLUME = "log_volume_hippocampus_left"
QUANTILES = ["median", "q05", "q25", "q75", "q95"]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("hippocampus_left", "Hippocampus, left"),
        ("white_matter_right", "White matter, right"),
        ("csf", "CSF"),
        ("deep_gray", "Deep gray"),
        ("brainstem", "Brainstem"),
    ],
)
def test_structures_are_named_in_words(name: str, title: str) -> None:
    assert title_of(name) == title


def structures() -> Structures:
    found = Structures.of(Deformation.__new__(Deformation), ["MMSE_score"])
    assert found is not None
    return found


def rows(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"time": 2.0, "age": 72.0, "region": names, **dict.fromkeys(QUANTILES, np.log(0.9))})


def subspace(*structures: str) -> Subspace:
    found = Subspace.__new__(Subspace)
    voxels = len(structures) + 1
    labels = np.arange(voxels, dtype=np.uint8)
    found.structures = StructureMeans.of(list(structures), labels, np.zeros(voxels), np.ones(voxels))
    return found


def test_a_representation_without_structures_is_shown_as_it_is() -> None:
    assert Structures.of(subspace(), []) is None


def test_means_of_structures_are_shown_as_they_are() -> None:
    found = Structures.of(subspace("hippocampus_left", "csf"), ["MMSE_score"])
    assert found is not None
    names = ["mean_hippocampus_left", "mean_csf", "MMSE_score"]
    visits = pd.DataFrame({"time": [0.0, 1.0], "mode_01": [1.0, 3.0], **{name: [1.25, np.nan] for name in names}})
    one = found.subject(SubjectForecast("s", visits, rows("mode_01", *names), None, "chosen"))
    assert list(one.forecast["region"]) == ["Hippocampus, left", "CSF", "MMSE_score"]
    np.testing.assert_allclose(one.forecast[QUANTILES], np.log(0.9))
    np.testing.assert_array_equal(one.given["CSF"], [1.25, np.nan])
    assert one.units == {}


def test_forecasts_of_log_volumes_are_changes_in_percent() -> None:
    visits = pd.DataFrame({"time": [0.0, 1.0], "age": [70.0, 71.0], "mode_01": [np.nan, 3.0], "MMSE_score": [0.0, 4.0]})
    visits = visits.assign(**{name: [np.nan, np.log(1.1)] for name in NAMES})
    forecast = rows("mode_01", VOLUME, "MMSE_score")
    one = structures().subject(SubjectForecast("s", visits, forecast, visits.iloc[1:], "chosen", band=forecast))
    assert list(one.forecast["region"]) == ["Hippocampus, left", "MMSE_score, change"]
    np.testing.assert_allclose(one.forecast[QUANTILES].to_numpy(), [[-10] * 5, [np.log(0.9)] * 5])
    np.testing.assert_allclose(one.given["Hippocampus, left"], [0, 10])
    np.testing.assert_allclose(one.given["MMSE_score, change"], [0, 4])
    assert one.later is not None and one.band is not None
    np.testing.assert_allclose(one.later["Hippocampus, left"], [10])
    pd.testing.assert_frame_equal(one.band, one.forecast)
    assert one.units["Hippocampus, left"] == UNIT and "MMSE_score, change" not in one.units
    what_if = structures().what_if(WhatIf("s", visits, {"path": forecast}, "text", bands={"path": forecast}))
    assert what_if.bands is not None
    for shown in (what_if.paths["path"], what_if.bands["path"]):
        pd.testing.assert_frame_equal(shown, one.forecast)


def test_a_section_that_shows_something_is_left_out_in_part() -> None:
    reason = Note("Not evaluated yet.")
    sections = [Section("a", "Scans", (reason, Heading("s1"))), Section("b", "Privacy", (reason,))]
    assert _missing(sections) == [("Scans (in part), Privacy", "Not evaluated yet.")]
