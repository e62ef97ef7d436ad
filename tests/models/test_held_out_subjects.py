"""The test set of a run: it keeps salted hashes of their names, and evaluates nobody else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_cohorts import small_cohort, with_visits

import crow
from crow import CRow
from crow.cohort.split import salted_hashes
from crow.errors import RunError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("held_out") / "run"
    quick = {"model": {"members": 1, "initialise": "mixed_model"}, "training": {"max_epochs": 0}}
    CRow(**quick, split={"test": 0.3}).fit(small_cohort(), out=out)
    return out


def test_a_run_keeps_salted_hashes_and_no_names(run: Path) -> None:
    cohort, model = small_cohort(), crow.load(run)
    test = model.test_set(cohort)
    kept = json.loads((run / "model.json").read_text())["description"]["test_subjects"]
    assert 0 < len(test) < len(cohort.subjects) and kept["hashes"] == salted_hashes(test, kept["salt"])
    assert kept["hashes"] != salted_hashes(test, "another salt") and not set(test) & set(kept["hashes"])


def test_a_new_test_subject_is_refused_with_the_number(run: Path) -> None:
    cohort, model = small_cohort(), crow.load(run)
    one = model.test_set(cohort)[0]
    renamed = replace(cohort, visits=cohort.visits.replace({"subject": {one: f"{one}x"}}))
    with pytest.raises(RunError, match=r"left out: 1 of \d+ may be training subjects. Restore the table"):
        model.test_set(renamed)


def test_a_test_subject_may_be_missing(run: Path) -> None:
    cohort, model = small_cohort(), crow.load(run)
    test = model.test_set(cohort)
    gone = [test[0], *[name for name in cohort.subjects if name not in test][:2]]
    fewer = with_visits(cohort, cohort.visits[~cohort.visits["subject"].isin(gone)])
    assert set(model.test_set(fewer)) == set(test[1:])
