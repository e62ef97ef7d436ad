"""Numbers in every spelling: decimal and thousands marks by column, bounds, words, codes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_tables import plain, save

from crow.cohort import read_cohort
from crow.cohort.number_marks import Marks, find_marks
from crow.cohort.values import numbers
from crow.errors import CohortError

VOLUMES = st.lists(
    st.decimals(min_value=1000, max_value=9_999_999, places=1, allow_nan=False), min_size=3, max_size=40, unique=True
)
SPELLINGS = {"1,234.5": (",", "."), "1.234,5": (".", ","), "1 234.5": (" ", "."), "1 234,5": (" ", ","),
             "1'234.5": ("'", "."), "1234,5": ("", ","), "1234.5": ("", ".")}  # fmt: skip


def column(texts: list[str]) -> pd.Series:
    return pd.Series(texts, dtype=object)


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(values=VOLUMES)
def test_every_spelling_of_a_number_is_read_as_the_number(spelling: str, values: list) -> None:
    thousands, decimal = SPELLINGS[spelling]
    texts = [f"{value:,}".replace(",", "t").replace(".", decimal).replace("t", thousands) for value in values]
    read = numbers(column(texts), codes=[])
    assert read.text.empty
    assert read.values.to_numpy() == pytest.approx(np.array(values, float))


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30))
def test_plain_floats_are_read_exactly(values: list[float]) -> None:
    assert numbers(column([repr(value) for value in values]), codes=[]).values.tolist() == values


@settings(max_examples=200)
@given(st.lists(st.text(max_size=12), max_size=20))
def test_any_text_is_read_without_an_error(texts: list[str]) -> None:
    read = numbers(column([text.strip() for text in texts]))
    assert len(read.values) == len(texts)
    assert int(read.values.notna().sum()) + len(read.text) <= len(texts)


@pytest.mark.parametrize(
    ("cells", "decimal", "mixed", "marks"),
    [
        (["7,107", "985", "12,004"], ".", False, Marks(".", ",")),
        (["7,107", "8,250"], ".", False, Marks(".", ",", "7,107")),
        (["2,512", "2,498"], ".", True, Marks(",", "", "2,512")),
        (["0,512", "2,498"], ".", False, Marks(",")),
        (["7,107", "2500"], ".", False, Marks(",")),
        (["1,450,000", "1,502,100"], ",", False, Marks(".", ",")),
        (["12.345", "985"], ",", False, Marks(",", ".")),
        (["2.5125", "2.498"], ",", False, Marks(".")),
    ],
)
def test_a_mark_before_three_digits_is_decided_by_the_other_cells(
    cells: list[str], decimal: str, mixed: bool, marks: Marks
) -> None:
    assert find_marks(cells, decimal, mixed) == marks


@pytest.mark.parametrize("text", ["89+", "≥89", ">= 89", ">89", "89 or older"])
def test_bounds_are_read_as_the_number(text: str) -> None:
    read = numbers(column(["70.5", text]))
    assert (read.values.tolist(), read.bounds) == ([70.5, 89.0], [1])


@pytest.mark.parametrize(
    ("others", "code"),
    [
        (np.arange(0, 31), 99), (np.arange(0, 31), 999), (np.linspace(2000, 5000, 90), -99999), ([0, 1, 2] * 20, 9),
        (np.linspace(-3, 3, 90), -999), (np.linspace(2500, 4500, 90), 999), (np.linspace(50.5, 150.3, 90), 88888),
    ],
)  # fmt: skip
def test_a_code_far_from_all_others_is_missing(others: np.ndarray, code: float) -> None:
    read = numbers(column([f"{value:g}" for value in [*others, code, code]]))
    assert read.codes == (float(code),)
    assert len(read.coded) == 2


@pytest.mark.parametrize(
    ("others", "value"),
    [(np.arange(60, 96), 99), (np.arange(0, 101), 99), (np.arange(1, 9), 9), (np.linspace(900, 1100, 60), 999)],
)
def test_a_number_among_the_others_is_a_value(others: np.ndarray, value: float) -> None:
    assert numbers(column([f"{other:g}" for other in [*others, value]])).codes == ()


def test_a_repeated_code_among_measurements_is_missing() -> None:
    values = np.linspace(900.25, 1100.5, 60)
    assert numbers(column([f"{value:.2f}" for value in values] + ["999"] * 6)).codes == (999.0,)


@pytest.mark.parametrize("value", [-1, -4, -9])
def test_small_negative_numbers_are_times_in_a_column_of_times(value: int) -> None:
    days = column(["0", "348", "724", str(value)])
    assert numbers(days, time=True).values.tolist() == [0, 348, 724, value]
    assert numbers(column(["0", "348", "724", "-9999"]), time=True).codes == (-9999.0,)


def test_words_of_all_columns_are_reported_at_once(tmp_path: Path) -> None:
    table = plain()
    table.loc[2, "Hippocampus"] = "n.v."
    table.loc[5, "Ventricles"] = "not done"
    cohort = read_cohort(save(table, tmp_path / "t.csv"), missing="impute")
    [finding] = [one for one in cohort.findings if one.code == "text-code"]
    assert finding.rows == (4, 7)
    assert "Hippocampus: 'n.v.'; Ventricles: 'not done'" in finding.message
    table.loc[2, "Hippocampus"] = "see note"
    table.loc[[5, 6], "Ventricles"] = "moved"
    with pytest.raises(
        CohortError, match=r"line 4, column Hippocampus: found 'see note'.*Ventricles: 'moved' in 2 rows"
    ):
        read_cohort(save(table, tmp_path / "t.csv"))
    read = read_cohort(tmp_path / "t.csv", missing_codes=["see note", "moved"], missing="impute")
    assert read.visits[["Hippocampus", "Ventricles"]].isna().sum().tolist() == [1, 2]


def test_a_column_of_which_a_third_is_not_done_is_one_of_numbers(tmp_path: Path) -> None:
    table = plain()
    table.loc[table.index % 3 == 2, "Ventricles"] = "nicht gemessen"
    assert numbers(table["Ventricles"]).is_number
    assert not numbers(column(["yes", "no", "1", "yes", "no", "no"])).is_number


def test_numbers_beyond_any_measurement_are_missing(tmp_path: Path) -> None:
    table = plain()
    table.loc[4, "Ventricles"] = "1e99"
    cohort = read_cohort(save(table, tmp_path / "t.csv"), missing="impute")
    assert cohort.visits["Ventricles"].isna().sum() == 1
    [finding] = [one for one in cohort.findings if one.code == "impossible-number"]
    assert (finding.column, finding.rows) == ("Ventricles", (6,))
    assert "1e99" in finding.message


def test_thousands_and_decimal_commas_of_some_columns(tmp_path: Path) -> None:
    table = plain()
    clean = read_cohort(save(table, tmp_path / "clean.csv"))
    table["Ventricles"] = [f"{float(value):,.1f}" for value in table["Ventricles"]]
    thousands = read_cohort(save(table, tmp_path / "t.csv"))
    assert thousands.visits.equals(clean.visits)
    assert "thousands" in {one.code for one in thousands.findings}
    table["Ventricles"] = [value.replace(",", "").replace(".", ",") for value in table["Ventricles"]]
    mixed = read_cohort(save(table, tmp_path / "m.tsv", sep="\t"))
    assert mixed.visits.equals(clean.visits)
    [finding] = [one for one in mixed.findings if one.code == "mixed-decimals"]
    assert "decimal commas in Ventricles" in finding.message
