"""A subject that is written in several ways is one subject, and subjects that share a number are reported."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from simulated_tables import assert_read, dated, save

from crow.cohort import Cohort, read_cohort

WRITINGS = [
    lambda name, visit: name.lower() if visit == 1 else name,
    lambda name, visit: f"sub-{name}" if visit == 1 else name,
    lambda name, visit: f"{name[0]} {name[1:]}" if visit == 1 else name,
    lambda name, visit: [name, f"{name[0]}-{name[1:]}", f"{name[0]}_{name[1:]}"][visit],
    lambda name, visit: str(int(name[1:]) + 1) if visit == 1 else f"{int(name[1:]) + 1:03d}",
    lambda name, visit: f"{int(name[1:]) + 1}.0" if visit == 1 else f"{int(name[1:]) + 1}",
]


def codes(cohort: Cohort) -> set[str]:
    return {finding.code for finding in cohort.findings}


@pytest.mark.parametrize("write", WRITINGS)
def test_a_subject_in_several_writings_is_one(tmp_path: Path, write: Callable[[str, int], str]) -> None:
    truth = dated()
    table = truth.assign(subject=[write(name, row % 3) for row, name in enumerate(truth["subject"])])
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert len(cohort.subjects) == 14
    assert_read(cohort, truth)
    assert "subject-writings" in codes(cohort)


def test_subjects_of_two_sexes_are_two(tmp_path: Path) -> None:
    table = dated()
    other = table.assign(subject=table["subject"].str.lower(), sex=table["sex"].map({"M": "F", "F": "M"}))
    cohort = read_cohort(save(pd.concat([table, other]), tmp_path / "t.csv"))
    assert len(cohort.subjects) == 28


def test_letters_without_width_make_no_other_subject(tmp_path: Path) -> None:
    truth = dated()
    text = save(truth, tmp_path / "t.csv").read_text().replace("S03", "S03\u200b", 1)
    (tmp_path / "t.csv").write_text("\ufeff" + text.replace("subject", "\u200bsubject"))
    cohort = read_cohort(tmp_path / "t.csv")
    assert cohort.schema.subject == "subject"
    assert_read(cohort, truth)


def test_numbers_that_start_again_at_every_site_are_reported_with_the_remedy(tmp_path: Path) -> None:
    truth = dated()
    number = truth["subject"].str[1:].astype(int)
    table = truth.assign(subject=number % 7 + 1, site=number // 7).drop(columns="date")
    cohort = read_cohort(save(table, tmp_path / "t.csv"), strict=False)
    finding = next(finding for finding in cohort.findings if finding.code == "mixed-subjects")
    assert finding.column == "sex"
    assert "write site and subject into one column" in finding.message
