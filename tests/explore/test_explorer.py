"""The answers of the page: those of crow generate, with levels, differences, resemblance and names on a brain."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import done, refused
from served_page import EVIL_REGION, EVIL_SUBJECT, REGIONS

from crow.explore.brain import drawing, shapes_of
from crow.explore.explorer import SHARES, Explorer
from crow.explore.question import Course, NewSubject, Question, Step, TypedVisit, Whose, times_of

NINE = Course(steps={"CDRSB": [Step(value="9", at=1.5)], "DX": [Step(value="MCI", at=1.5)]})
NEW = NewSubject(
    age="71", covariates={"sex": "F"},
    visits=[TypedVisit(covariates={"CDRSB": "1", "DX": "CN"}, regions={"lh_entorhinal": "1.2"}),
            TypedVisit(time=1.5, covariates={"DX": "MCI"}, regions={"lh_entorhinal": "1.25", EVIL_REGION: "1,3"})],
)  # fmt: skip


@pytest.mark.parametrize("whose", [Whose(subject=EVIL_SUBJECT), Whose(new=NEW)], ids=["cohort", "new"])
@pytest.mark.parametrize("course", [Course(), NINE, Course(future="linear")], ids=["carry", "steps", "trend"])
def test_the_command_gives_the_same_numbers(
    explorer: Explorer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: Whose, course: Course
) -> None:
    monkeypatch.chdir(folder)
    question = Question(subject=whose.subject, new=whose.new, horizon=3, courses=[course])
    answer = explorer.forecast(question)
    if table := explorer.subject(whose, 3)["table"]:
        (tmp_path / table["name"]).write_text(table["text"], encoding="utf-8")
        monkeypatch.chdir(tmp_path)
    done([*shlex.split(answer["courses"][0]["command"])[1:], "--out", tmp_path / "out.csv"])
    found = pd.read_csv(tmp_path / "out.csv")
    for region in REGIONS:
        bands = np.array(answer["courses"][0]["bands"][region])
        for share, statistic in ((0.05, "q05"), (0.5, "median"), (0.95, "q95")):
            np.testing.assert_allclose(bands[:, SHARES.index(share)], found[f"{region}_{statistic}"], rtol=1e-5)


def test_the_difference_is_that_of_paired_draws(explorer: Explorer) -> None:
    same = explorer.forecast(Question(subject=EVIL_SUBJECT, courses=[NINE, NINE]))
    assert not np.any([same["difference"][region] for region in REGIONS])
    other = explorer.forecast(Question(subject=EVIL_SUBJECT, courses=[Course(), NINE]))
    difference = np.array(other["difference"]["lh_entorhinal"])
    assert not difference[np.array(other["times"]) < 1.5].any()
    assert (np.diff(difference, axis=1) >= 0).all() and difference[-1].any()


def test_levels_have_an_interval_and_covariates_their_course(explorer: Explorer) -> None:
    subject = explorer.subject(Whose(subject=EVIL_SUBJECT), 5)
    levels = np.array(subject["observed"]["levels"]["lh_entorhinal"])
    assert len(levels) == len(subject["observed"]["times"]) > 1
    assert (levels[:, -1] > levels[:, 0]).all()
    answer = explorer.forecast(Question(subject=EVIL_SUBJECT, horizon=3, courses=[NINE]))
    changed = [value == 9 for value in answer["courses"][0]["covariates"]["CDRSB"]]
    assert changed == [time >= 1.5 for time in answer["times"]]


def test_reference_centiles_are_of_healthy_subjects(explorer: Explorer) -> None:
    reference = explorer.subject(Whose(subject=EVIL_SUBJECT), 4)["reference"]
    assert reference["label"] == "subjects with DX CN"
    assert reference["times"][-1] == 4
    bands = np.array(reference["bands"]["lh_entorhinal"])
    assert bands.shape == (9, 5) and (np.diff(bands, axis=1) > 0).all()


def test_resemblance_is_none_for_a_combination_that_no_subject_had(explorer: Explorer) -> None:
    def alike(course: Course) -> dict[str, object]:
        found = explorer.forecast(Question(subject=explorer.cohort.subjects[3], horizon=0.05, courses=[course]))
        return dict(found["courses"][0]["alike"])

    assert alike(Course(steps={"CDRSB": [Step(value="16")], "DX": [Step(value="CN")]}))["count"] == 0
    visits = explorer.cohort.visits
    usual = visits[visits["subject"] == explorer.cohort.subjects[3]].iloc[-1]
    near = (visits["age"] - usual["age"] - 0.05).abs() <= visits["age"].std() / 2
    near &= (visits["CDRSB"] - usual["CDRSB"]).abs() <= visits["CDRSB"].std() / 2
    near &= visits["DX"] == usual["DX"]
    assert alike(Course()).items() >= {"of": 30, "count": visits["subject"][near].nunique()}.items()


def test_times_are_round_and_end_at_the_horizon() -> None:
    for horizon in (0.5, 1, 2.5, 3, 5, 7.3, 12, 40):
        times = times_of(horizon)
        assert times[-1] == horizon and len(times) <= 13 and min(np.diff([0, *times])) > 0


@pytest.mark.parametrize(("name", "shapes"), [
    ("lh_entorhinal_thickness", ["left medial/entorhinal"]),
    ("CTX_RH_ENTORHINAL_SUVR", ["right medial/entorhinal"]),
    ("Left-Hippocampus", ["coronal/hippocampus_left"]),
    ("Hippocampus", ["coronal/hippocampus_left", "coronal/hippocampus_right"]),
    ("hippocampus_right", ["coronal/hippocampus_right"]),
    ("Right-Lateral-Ventricle", ["coronal/lateralventricle_right"]),
    ("MidTemp", ["left lateral/middletemporal", "right lateral/middletemporal"]),
    ("rh.superiorfrontal.volume", ["right lateral/superiorfrontal", "right medial/superiorfrontal"]),
    ("ROI01", []), ("WholeBrain", []), ("", []), ("l", []), ("<b>", []),
])  # fmt: skip
def test_regions_are_found_on_the_brain_by_their_names(name: str, shapes: list[str]) -> None:
    assert shapes_of(name) == shapes


def test_no_drawing_without_known_names() -> None:
    assert drawing(["ROI01", "ROI02"]) is None
    assert [view["title"] for view in (drawing(["Entorhinal"]) or {})["views"]] == ["left medial"]


def test_runs_and_options_that_do_not_fit_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["explore", "--run", folder / "run", "--cohort", folder / "cohort.csv"]
    assert "has no subject nobody" in refused(capsys, *run, "--subject", "nobody")
    assert "--export needs --subject" in refused(capsys, *run, "--export", tmp_path / "page.html")
    assert "--what-if is for --export" in refused(capsys, *run, "--what-if", "CDRSB=9")
    saved = [*run, "--subject", EVIL_SUBJECT, "--export"]
    assert ".html" in refused(capsys, *saved, tmp_path / "page.pdf")
    assert "CDRSB" in refused(capsys, *saved, tmp_path / "page.html", "--what-if", "CDRSB=x")
    assert "sex" in refused(capsys, *saved, tmp_path / "page.html", "--what-if", "sex=M")
    (voxels,) = (Path(__file__).parents[1] / "data").glob("runs-v*/voxels")
    assert "Use crow generate" in refused(capsys, "explore", "--run", voxels)
    assert not list(tmp_path.iterdir())
