"""Cohorts that nothing can be learned from, and cells that cannot be read, are refused with the place and the cure."""

from pathlib import Path

import pytest
from simulated_tables import adnimerge, plain, save

from crow.cohort import read_cohort
from crow.errors import CohortError


def test_text_in_a_number_column_is_refused_with_line_and_column(tmp_path: Path) -> None:
    table = adnimerge()
    table.loc[[4, 9], "Hippocampus"] = "see note"
    path = save(table, tmp_path / "t.csv")
    with pytest.raises(CohortError, match=r"line 6, column Hippocampus: found 'see note'.*also in 1 row \(line 11\)"):
        read_cohort(path)
    assert "Hippocampus" not in read_cohort(path, exclude=["Hippocampus"]).regions


def test_infinite_values_are_refused_with_their_lines(tmp_path: Path) -> None:
    table = plain()
    table.loc[[3, 8], "Ventricles"] = "inf"
    with pytest.raises(CohortError, match=r"column Ventricles: infinite values in 2 rows \(lines 5, 10\)"):
        read_cohort(save(table, tmp_path / "t.csv"))


def test_no_time_column(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"no time column .* --time COLUMN"):
        read_cohort(save(plain().drop(columns="age"), tmp_path / "t.csv"))


def test_numbered_visits_are_no_time(tmp_path: Path) -> None:
    table = plain().drop(columns="age")
    table["visit"] = [f"wave{1 + k % 3}" for k in range(len(table))]
    with pytest.raises(CohortError, match=r"wave1, wave2, wave3\) tell the order of visits"):
        read_cohort(save(table, tmp_path / "t.csv"))


def test_one_row_a_subject(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="one row only"):
        read_cohort(save(plain(visits=1), tmp_path / "t.csv"))


def test_one_usable_visit_a_subject(tmp_path: Path) -> None:
    table = plain(visits=3)
    table.loc[table.index % 3 == 1, "Hippocampus"] = ""
    table.loc[table.index % 3 == 2, "Ventricles"] = ""
    path = save(table, tmp_path / "t.csv")
    with pytest.raises(CohortError, match="one usable visit"):
        read_cohort(path, missing="drop-visit")
    assert len(read_cohort(path)) == 36
    table.loc[table.index % 3 > 0, ["Hippocampus", "Ventricles"]] = ""
    with pytest.raises(CohortError, match="one usable visit"):
        read_cohort(save(table, tmp_path / "u.csv"), regions=["Hippocampus", "Ventricles"])


def test_fewer_than_ten_subjects_can_be_looked_at_but_not_learned_from(tmp_path: Path) -> None:
    path = save(plain(subjects=9), tmp_path / "t.csv")
    with pytest.raises(CohortError, match="9 subjects are too few"):
        read_cohort(path)
    assert len(read_cohort(path, strict=False).subjects) == 9
    assert len(read_cohort(save(plain(subjects=10), tmp_path / "u.csv")).subjects) == 10


def test_nothing_to_model(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no column is a repeated measure"):
        read_cohort(save(plain()[["subject", "age", "sex"]], tmp_path / "t.csv"))
