"""The page of a run of scans: last scan, follow-up and change, in three planes or one, and in a saved page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import opened, wait_for
from commands import done, refused
from PIL import Image
from served_page import Served, serving
from small_stores import ball, make_store, with_files

from crow.errors import CohortError
from crow.explore.open_run import open_run
from crow.explore.question import Course, Question, ScanQuestion, Step, Whose
from crow.explore.scan_explorer import ScanExplorer
from crow.models.scans import ScanModel

QUICK = {"training": {"max_epochs": 1, "steps_per_epoch": 2}, "model": {"members": 1}, "scans": {"components": 2}}
OLDER = Course(future="linear")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and a run of a subspace."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("scans")
    ScanModel(**QUICK).fit(with_files(make_store(folder / "store", ball())), folder / "run")
    return folder


@pytest.fixture(scope="module")
def explorer(scans: Path) -> ScanExplorer:
    found = open_run(scans / "run", scans / "store", draws=40)
    assert isinstance(found, ScanExplorer)
    return found


@pytest.fixture(scope="module")
def served(scans: Path) -> Iterator[Served]:
    with serving(scans, cohort="store") as found:
        yield found


def pixels(address: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_pictures_are_those_of_the_follow_up(explorer: ScanExplorer) -> None:
    model, store = explorer.scans, explorer.store
    own = model.cohort(store).visits
    visit = own[own["subject"] == "s01"].tail(1)[["subject", "time"]]
    forecast = model.forecast(store, visit.assign(time=visit["time"] + 2), draws=40, seed=0)
    expected = model.follow_up(store, forecast, 0, "template")
    median, change = explorer._follow_up("s01", Course(), 2.0)
    np.testing.assert_allclose(median, expected.median, rtol=1e-4)
    np.testing.assert_allclose(change, expected.change, atol=1e-3)
    found = explorer.scan(ScanQuestion(subject="s01", at=2))
    assert found["command"].endswith("--at 2 --draws 40 --seed 0 --space template")
    assert (pixels(found["last"]) != pixels(found["follow_up"])).any()


def test_one_plane_at_a_chosen_slice(explorer: ScanExplorer) -> None:
    first, second, beyond = (
        explorer.scan(ScanQuestion(subject="s01", at=2, planes="axial", slice=k)) for k in (3, 5, 500)
    )
    assert (first["slice"], second["slice"], beyond["slice"], first["slices"]) == (3, 5, 8, 9)
    assert first["place"] == "z = 6 mm"
    assert (pixels(first["last"]) != pixels(second["last"])).any()


def test_the_last_scan_itself_has_no_change_and_no_command(explorer: ScanExplorer) -> None:
    found = explorer.scan(ScanQuestion(subject="s01", at=0))
    assert found["last"] == found["follow_up"] and found["command"] == ""
    assert found["signed"]["low"] == -found["signed"]["high"]


def test_memory_is_bounded(explorer: ScanExplorer) -> None:
    for subject in explorer.cohort.subjects:
        explorer.scan(ScanQuestion(subject=subject, at=1))
    assert len(explorer._anatomies) == len(explorer._pictures) == 4


def test_fans_are_of_the_coefficients_if_there_is_nothing_else(explorer: ScanExplorer) -> None:
    assert [one["name"] for one in explorer.start()["regions"]] == explorer.basis.names
    assert len(explorer.subject(Whose(subject="s02"), 3)["observed"]["times"]) == 3
    answer = explorer.forecast(Question(subject="s02", courses=[Course(), OLDER]))
    assert not np.any(answer["difference"]["mode_01"])  # no covariate of this cohort changes


def test_other_subjects_and_tables_are_refused(
    explorer: ScanExplorer, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CohortError, match="no subject nobody"):
        explorer.scan(ScanQuestion(subject="nobody"))
    with pytest.raises(CohortError, match="never changed"):
        explorer.scan(ScanQuestion(subject="s01", course=Course(steps={"sex": [Step(value="M")]})))
    table = tmp_path / "scans.csv"
    table.write_text("subject,age,scan\nA,70,a.nii.gz\n")
    assert "crow prepare" in refused(capsys, "explore", "--run", scans / "run", "--cohort", table, "--no-browser")


def test_the_page_shows_scans_and_moves_them_in_time_and_space(served: Served) -> None:
    with opened(served.url, 1300, 1000) as (page, seen):
        page.wait_for_selector("#scan img")
        address = "document.querySelectorAll('#scan figure img')[{}].src"
        assert page.inner_text("#scan-text") == "5 years" and "--at 5 " in page.inner_text("#commands")
        before = page.evaluate(address.format(1))
        page.focus("#scan-at")
        page.keyboard.press("Home")
        wait_for(page, "document.querySelector('#scan-text').textContent === 'last scan'")
        wait_for(page, f"{address.format(0)} === {address.format(1)}")
        assert page.evaluate(address.format(1)) != before
        page.keyboard.press("ArrowRight")
        wait_for(page, "document.querySelector('#commands').textContent.includes('--at 0.5 ')")
        assert page.inner_text("#at-text").startswith("0.5 years")
        page.select_option("#planes", "coronal")
        wait_for(page, "!document.querySelector('#slice-row').hidden")
        seen_before = page.evaluate(address.format(0))
        page.focus("#slice")
        page.keyboard.press("Home")
        wait_for(page, f"{address.format(0)} !== {seen_before!r}")
        names = page.evaluate("[...document.querySelectorAll('#scan figure img')].map((one) => one.alt)")
        assert names[2].startswith("Change, 0.5 years after it, coronal, y = ")
        ends = page.evaluate("[...document.querySelectorAll('#scan .scale')].map((one) => one.textContent)")
        assert ends[0].endswith("intensity") and ends[1].startswith("−")
        assert not page.is_visible("#tab-new") and not page.is_visible("#brain-card")
        assert (seen.requests, seen.errors) == ([], [])


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1000, True)])
def test_it_fits_the_window(served: Served, width: int, dark: bool) -> None:
    with opened(served.url, width, 1000, dark) as (page, _):
        page.wait_for_selector("#scan img")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_saved_page_has_the_scans(scans: Path, tmp_path: Path) -> None:
    saved = tmp_path / "page.html"
    run = ["explore", "--run", scans / "run", "--cohort", scans / "store", "--draws", "20", "--horizon", "2"]
    done([*run, "--subject", "s03", "--export", saved])
    with opened(saved, 1300, 1000) as (page, seen):
        page.wait_for_selector("#scan img")
        now = page.evaluate("document.querySelectorAll('#scan figure img')[1].src")
        page.focus("#scan-at")
        page.keyboard.press("Home")
        wait_for(page, f"document.querySelectorAll('#scan figure img')[1].src !== {now!r}")
        assert not page.is_visible("#planes")
        assert (seen.requests, seen.errors) == ([], [])
