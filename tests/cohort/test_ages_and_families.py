"""Ages as years and months, ages of which some are bounds, words for missing, and families of half siblings."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_tables import dated, save

from crow.cohort import read_cohort
from crow.cohort.values import numbers
from crow.errors import CohortError


@pytest.mark.parametrize("form", ["{years};{months}", "{years};{months:02d}", "{years}:{months:02d}"])
def test_ages_in_years_and_months(tmp_path: Path, form: str) -> None:
    truth = dated().drop(columns="date")
    months = (truth["age"] * 12).astype(int)
    cells = [form.format(years=all_ // 12, months=all_ % 12) for all_ in months]
    cohort = read_cohort(save(truth.assign(age=cells), tmp_path / "t.csv"))
    np.testing.assert_allclose(cohort.visits["age"], months / 12, atol=1e-3)
    assert "written-ages" in {finding.code for finding in cohort.findings}


def test_bands_of_ages_are_reported_and_no_age(tmp_path: Path) -> None:
    truth = dated()
    bands = [f"{int(age) // 5 * 5}-{int(age) // 5 * 5 + 4}" for age in truth["age"]]
    cohort = read_cohort(save(truth.assign(Age=bands).drop(columns="age"), tmp_path / "t.csv"))
    finding = next(finding for finding in cohort.findings if finding.code == "unread-time")
    assert finding.column == "Age"
    assert cohort.schema.age is None
    with pytest.raises(CohortError, match=r"the cells of Age, such as '\d\d-\d\d', are no age"):
        read_cohort(save(truth.assign(Age=bands).drop(columns=["age", "date"]), tmp_path / "u.csv"))


def test_an_age_that_is_a_bound_is_known_from_the_other_ages_and_the_dates(tmp_path: Path) -> None:
    truth = dated()
    limit = truth["age"].median()
    first = truth.groupby("subject")["age"].transform("first")
    cells = [
        f"{limit:g}+" if age > limit and begun <= limit else f"{age}"
        for age, begun in zip(truth["age"], first, strict=True)
    ]
    cohort = read_cohort(save(truth.assign(age=cells), tmp_path / "t.csv"))
    np.testing.assert_allclose(cohort.visits["age"], truth["age"], atol=0.02)


@pytest.mark.parametrize(
    "word",
    ["nicht erhoben", "non renseign\u00e9", "no aplica", "non disponibile", "niet gedaan", "#WERT!", "#VALEUR!", "#NV",
     "1.#IND", "-nan", "\\N", "(null)", "NA_real_", ".."],
)  # fmt: skip
def test_words_for_missing_of_other_languages_and_programs(word: str) -> None:
    read = numbers(pd.Series([f"{3500 + row}.5" for row in range(20)] + [word] * 2, dtype=object))
    assert read.text.empty
    assert int(read.values.isna().sum()) == 2


def test_half_siblings_are_one_family(tmp_path: Path) -> None:
    truth = dated(subjects=20)
    number = truth["subject"].str[1:].astype(int)
    mother = np.where(number < 6, number // 2, 100 + number)
    father = np.where(number < 6, (number + 1) // 2, 200 + number)
    cohort = read_cohort(save(truth.assign(mother_id=mother, father_id=father), tmp_path / "t.csv"))
    assert cohort.schema.group == "mother_id"
    sizes = cohort.groups.value_counts()
    assert sizes.max() == 6 and len(sizes) == 15


def test_a_parent_without_a_number_joins_nobody(tmp_path: Path) -> None:
    truth = dated(subjects=20)
    number = truth["subject"].str[1:].astype(int)
    cohort = read_cohort(save(truth.assign(mother_id=number // 2, father_id=0), tmp_path / "t.csv"))
    assert cohort.groups.value_counts().max() == 2
