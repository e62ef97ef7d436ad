"""Effect sizes, their concordance, and p-values."""

import numpy as np
import pytest
from scipy import stats

from crow.errors import CohortError
from crow.evaluation.groups import (
    bootstrapped,
    cohens_d,
    concordance,
    concordance_interval,
    effects,
    p_values,
    significant,
)


def test_effects_of_known_size() -> None:
    rng = np.random.default_rng(0)
    wanted = np.array([0.0, 0.5, -1.5])
    first, second = rng.normal(size=(400, 3)), rng.normal(wanted, 1, (400, 3))
    table = effects(first, second, ["a", "b", "c"], resamples=300)
    np.testing.assert_allclose(table["d"], wanted, atol=0.15)
    assert (table["d_low"] < table["d"]).all() and (table["d"] < table["d_high"]).all()
    np.testing.assert_allclose(table["d_high"] - table["d_low"], 2 * 1.96 * np.sqrt(2 / 400), rtol=0.3)
    assert table["p"].iloc[2] < 1e-20 and significant(table["p"]) == 2


def test_effect_and_p_value_by_hand() -> None:
    """Means 1 and 4, variances 1 and 4 of three each: d = 3 / sqrt(2.5)."""
    first, second = np.array([[0.0], [1.0], [2.0]]), np.array([[2.0], [4.0], [6.0]])
    assert cohens_d(first, second)[0] == pytest.approx(3 / np.sqrt(2.5))
    assert effects(first, second, ["a"], resamples=5)["p"][0] == pytest.approx(stats.ttest_ind(first, second).pvalue[0])


def test_missing_values_do_not_count() -> None:
    """Missing values count as if the subject were absent, by region; a region of a single subject has no effect."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 7, 3)), rng.normal(1, 2, size=(2, 5, 3))
    first[:, :3, 1] = second[:, 2, 1] = np.nan
    second[:, 1:, 2] = np.nan
    d, p = cohens_d(first, second), p_values(first, second)
    for replicate in range(2):
        a, b = first[replicate, 3:, 1:2], np.delete(second[replicate], 2, 0)[:, 1:2]
        assert d[replicate, 1] == pytest.approx(cohens_d(a, b)[0])
        assert p[replicate, 1] == pytest.approx(stats.ttest_ind(a, b).pvalue[0])
    assert np.isnan(d[:, 2]).all() and np.isnan(p[:, 2]).all() and not np.isnan(d[:, :2]).any()
    assert significant(np.array([0.02, np.nan])) == 1, "one region was tested, not two"


def test_concordance_is_one_only_if_both_are_equal() -> None:
    d = np.array([0.0, 1.0, 2.0, 3.0])
    assert concordance(d, d) == pytest.approx(1)
    assert concordance(d, d + 1) == pytest.approx(2 * 1.25 / (1.25 + 1.25 + 1))
    assert concordance(d, 0.25 * d) < 0.4 and concordance(d, -d + 3) == pytest.approx(-1)
    assert np.isnan(concordance(d[:2], d[:2])) and np.isnan(concordance(d, np.array([1, 2, np.nan, np.nan])))


def test_the_interval_of_the_concordance_contains_the_estimate() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.uniform(-1, 1, 20)
    first, second = rng.normal(size=(40, 20)), rng.normal(wanted, 1, (40, 20))
    d = cohens_d(first, second)
    low, high = concordance_interval(d, bootstrapped(first, second, 200), wanted)
    assert low < concordance(d, wanted) <= high <= 1 and high - low < 0.4


def test_a_group_of_one_subject_is_refused() -> None:
    with pytest.raises(CohortError, match="groups of 1 and 5 subjects"):
        effects(np.zeros((1, 2)), np.zeros((5, 2)), ["a", "b"])
