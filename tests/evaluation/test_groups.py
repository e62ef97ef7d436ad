"""Effects of groups, their concordance, and counts at the real sample size."""

import numpy as np
import pytest
from scipy import stats

from crow.errors import CohortError
from crow.evaluation.groups import at_sample_size, cohens_d, concordance, effects, significant


def test_effects_of_known_size() -> None:
    rng = np.random.default_rng(0)
    wanted = np.array([0.0, 0.5, -1.5])
    first, second = rng.normal(size=(400, 3)), rng.normal(wanted, 1, (400, 3))
    table = effects(first, second, ["a", "b", "c"], draws=300)
    np.testing.assert_allclose(table["d"], wanted, atol=0.15)
    assert (table["d_low"] < table["d"]).all() and (table["d"] < table["d_high"]).all()
    np.testing.assert_allclose(table["d_high"] - table["d_low"], 2 * 1.96 * np.sqrt(2 / 400), rtol=0.3)
    assert table["p"].iloc[2] < 1e-20 and significant(table["p"]) == 2


def test_by_hand() -> None:
    """Means 1 and 4, variances 1 and 4 of three each: d = 3 / sqrt(2.5)."""
    first, second = np.array([[0.0], [1.0], [2.0]]), np.array([[2.0], [4.0], [6.0]])
    assert cohens_d(first, second)[0] == pytest.approx(3 / np.sqrt(2.5))
    assert effects(first, second, ["a"], draws=5)["p"][0] == pytest.approx(stats.ttest_ind(first, second).pvalue[0])


def test_concordance_is_no_correlation() -> None:
    d = np.array([0.0, 1.0, 2.0, 3.0])
    assert concordance(d, d) == pytest.approx(1)
    assert concordance(d, d + 1) == pytest.approx(2 * 1.25 / (1.25 + 1.25 + 1))
    assert concordance(d, 0.25 * d) < 0.4 and concordance(d, -d + 3) == pytest.approx(-1)


def test_counts_fall_with_the_sample() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2000, 20)), rng.normal(0.4, 1, (2000, 20))
    many, few = (at_sample_size(first, second, n, n, draws=50)[0] for n in (1000, 20))
    assert many == 20 and few < 6


def test_a_group_of_one() -> None:
    with pytest.raises(CohortError, match="groups of 1 and 5 people"):
        effects(np.zeros((1, 2)), np.zeros((5, 2)), ["a", "b"])
