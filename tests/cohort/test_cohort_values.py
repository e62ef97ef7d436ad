"""Numbers, and what stands in their place."""

import numpy as np
import pandas as pd
import pytest

from crow.cohort.values import numbers


def cells(*texts: str) -> pd.Series:
    return pd.Series(texts, dtype=object)


def test_every_word_for_missing_is_missing() -> None:
    read = numbers(cells("1", "", "NA", "n/a", "NaN", "xx", ".", "2.5"))
    assert read.values.notna().tolist() == [True, *[False] * 6, True]
    assert read.text.empty


def test_censored_values_are_read_as_their_bound_and_listed() -> None:
    read = numbers(cells(">1700", "850.5", "<200", ">= 80"))
    assert read.values.tolist() == [1700, 850.5, 200, 80]
    assert read.bounds == [0, 2, 3]


def test_text_is_listed_and_not_guessed() -> None:
    read = numbers(cells("1", "2", "3", "4", "5 or 6", "6"))
    assert read.text.tolist() == ["5 or 6"]
    assert read.is_number


@pytest.mark.parametrize(
    ("column", "adni", "missing"),
    [
        (["4012.5", "3987.1", "-4"], False, [2]),
        (["29", "0", "-1", "30"], False, [2]),
        (["0", "0.5", "-1", "1.0"], True, [2]),
        (["0", "1", "-1"], False, []),
        (["-2.5", "1.5", "-1", "0.3"], True, []),
        (["12", "14", "-9999", "-4"], False, [2, 3]),
    ],
)
def test_negative_codes_are_missing_only_where_they_cannot_be_values(
    column: list[str], adni: bool, missing: list[int]
) -> None:
    assert numbers(cells(*column), adni=adni).coded.index.tolist() == missing


def test_a_kept_code_is_doubtful_and_given_codes_decide() -> None:
    assert numbers(cells("0", "1", "-1")).doubtful == (-1.0,)
    assert numbers(cells("0", "1", "-1"), codes=[-1]).coded.index.tolist() == [2]
    assert numbers(cells("29", "30", "-1"), codes=[-9]).coded.empty


def test_infinity_is_found() -> None:
    assert numbers(cells("1", "inf", "-Infinity")).infinite == [1, 2]
    assert np.isinf(numbers(cells("1", "inf")).values).any()
