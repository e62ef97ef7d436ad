"""Visits written back in the table's own columns read as the same visits."""

from pathlib import Path

import pandas as pd
import pytest
from simulated_tables import adnimerge, oasis2, plain, save, tadpole, wide

from crow.cohort import read_cohort
from crow.cohort.writing import table_text, to_table

TABLES = {"plain": plain, "adnimerge": adnimerge, "tadpole": tadpole, "oasis2": oasis2, "wide": wide}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("separator", [",", ";"])
def test_round_trip(tmp_path: Path, name: str, separator: str) -> None:
    cohort = read_cohort(save(TABLES[name](), tmp_path / "t.csv", sep=separator))
    back = tmp_path / "back.csv"
    back.write_text(table_text(to_table(cohort.visits, cohort.schema, cohort.start), cohort.schema))
    found = read_cohort(back)
    assert found.schema.layout == cohort.schema.layout
    assert (found.regions, found.covariates) == (cohort.regions, cohort.covariates)
    assert found.schema.age_is_baseline == cohort.schema.age_is_baseline
    columns = [column for column in cohort.visits if column != "session"]
    pd.testing.assert_frame_equal(found.visits[columns], cohort.visits[columns], atol=2e-3)


def test_invented_people_get_a_start(tmp_path: Path) -> None:
    cohort = read_cohort(save(adnimerge(), tmp_path / "t.csv"))
    visits = cohort.visits.head(4).assign(subject="new-1", time=[0.0, 0.52, 1.0, 7.0])
    table = to_table(visits, cohort.schema)
    assert table["EXAMDATE"].iloc[0] == "2000-01-01"
    assert table["VISCODE"].tolist() == ["bl", "m06", "m12", "m84"]
    assert table["AGE"].tolist() == [cohort.visits["age"].iloc[0]] * 4


def test_visits_beyond_the_last_wave_are_counted_on(tmp_path: Path) -> None:
    cohort = read_cohort(save(wide(), tmp_path / "t.csv"))
    visits = pd.concat([cohort.visits.head(3), cohort.visits.iloc[[2]].assign(time=14.0, age=64.0)])
    table = to_table(visits, cohort.schema, cohort.start)
    assert len(table) == 1
    assert table["AgeMRI_W4"].iloc[0] == 64
    assert "Sex_W1" not in table
