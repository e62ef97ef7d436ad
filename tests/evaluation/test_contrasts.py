"""Contrasts: published or own paths, the subjects that follow them, and synthetic subjects on paths."""

import numpy as np
import pandas as pd
import pytest
from small_cohorts import in_memory

from crow.cohort import Cohort
from crow.errors import ConfigError
from crow.evaluation.contrasts import Contrast, contrasts_of, group_members, path_visits, subject_paths


def cohort(**covariates: list[list[object]]) -> Cohort:
    """Subjects s0, s1, ... with visits at 0, 1 and 2 years, where the k-th list holds the k-th subject's values."""
    subjects = len(next(iter(covariates.values())))
    names = np.repeat([f"s{k}" for k in range(subjects)], 3)
    age = np.tile([70.0, 71.0, 72.0], subjects) + np.repeat(np.arange(subjects), 3)
    table = pd.DataFrame({"subject": names, "age": age})
    for name, values in covariates.items():
        table[name] = [value for row in values for value in row]
    table["sex"], table["ROI"] = np.where(np.arange(len(names)) // 3 % 2, "F", "M"), np.arange(len(names), dtype=float)
    kinds = {name: "numeric" if pd.api.types.is_numeric_dtype(table[name]) else "categorical" for name in covariates}
    return in_memory(table, ["ROI"], {"sex": "categorical", **kinds})


def test_published_paths_are_used_if_ten_subjects_are_near_each() -> None:
    subjects = cohort(CDRSB=[[0, 0, 0.5]] * 12 + [[0, 4, 9]] * 10 + [[1, 2, 4], [0, np.nan, np.nan]])
    (contrast,), left_out = contrasts_of(subjects)
    assert contrast.published and contrast.paths == "stable CDRSB 0 against CDRSB 0 to 10" and not left_out
    stable, declining = group_members(subjects, contrast)
    assert stable == [f"s{k}" for k in range(12)] and declining == [f"s{k}" for k in range(12, 22)]


def test_other_paths_are_those_of_the_cohort_and_a_falling_mmse_is_a_decline() -> None:
    falling = [[30, 30, 29]] * 4 + [[28, 26, 24]] * 4 + [[26, 22, 18]] * 4
    subjects = cohort(MMSE=falling, CDRSB=[[0, 1, 2], [0, 0, 1]] * 6)
    contrasts, _ = contrasts_of(subjects)
    mmse, cdr = contrasts
    assert mmse.first == (30, 30, 29) and mmse.second == (26, 22, 18) and not cdr.published
    assert group_members(subjects, mmse) == ([f"s{k}" for k in range(4)], [f"s{k}" for k in range(8, 12)])
    assert "mean paths" in mmse.rule and "30-30-29 against 26-22-18" in mmse.rule


def test_diagnoses_are_converted_to_stages() -> None:
    subjects = cohort(DX=[["CN", "CN", "CN"]] * 3 + [["MCI", None, "Dementia"]] * 3 + [["CN", "CN", "MCI"]] * 3)
    (contrast,), _ = contrasts_of(subjects)
    assert contrast.paths == "stable DX CN against DX MCI to Dementia"
    assert subject_paths(subjects, "DX").loc["s3"].tolist() == [1.0, 1.5, 2.0]
    first, second = path_visits(subjects, contrast, 5)
    assert first["DX"].tolist() == ["CN"] * 15 and second["DX"].tolist() == ["MCI", "Dementia", "Dementia"] * 5


def test_impossible_contrasts_are_left_out_with_the_reason() -> None:
    found, left_out = contrasts_of(
        cohort(DX=[["yes", "no", "no"]] * 6, MMSE=[[30, 30, 30]] * 6, weight=[[1, 2, 3]] * 6)
    )
    reasons = dict(left_out)
    assert not found and set(reasons) == {"group_effects.DX", "group_effects.MMSE"}
    assert "'yes' is no stage" in reasons["group_effects.DX"] and "hardly differs" in reasons["group_effects.MMSE"]
    _, left_out = contrasts_of(cohort(weight=[[1, 2, 3]] * 6))
    assert left_out[0][0] == "group_effects" and "its covariates: sex, weight" in left_out[0][1]


def test_subjects_on_the_two_paths_differ_only_in_the_covariate() -> None:
    """Ages and sex are equal on both paths; covariates that change with it are consistent with it."""
    cdr = [[0, 0, 0]] * 20 + [[0, 5, 10]] * 20
    subjects = cohort(CDRSB=cdr, weight=[[90.0, 90.0, 90.0]] * 20 + [[90.0, 60.0, 40.0]] * 20)
    contrast = contrasts_of(subjects)[0][0]
    first, second = path_visits(subjects, contrast, 50, seed=1)
    same = ["subject", "time", "age", "sex"]
    pd.testing.assert_frame_equal(first[same], second[same])
    assert first["time"].tolist()[:3] == [0, 1, 2] and first["CDRSB"].eq(0).all()
    assert second["CDRSB"].tolist()[:3] == [0, 5, 10] and second["weight"].tolist()[:3] == [90.0, 60.0, 40.0]
    assert first["age"].nunique() > 20


@pytest.mark.parametrize("second", [(0.0, 5.0), ()])
def test_paths_of_different_lengths_are_refused(second: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=f"covariate paths of CDRSB: found 3 and {len(second)} values"):
        Contrast("CDRSB", (0.0, 0.0, 0.0), second)
