"""The forecasting task: who is judged, what is given, and how draws are scored."""

import numpy as np
import pandas as pd
import pytest
from protocol import judge, split, task

from crow.cohort.cohort import Cohort, Schema

REGIONS = ["A", "B"]


def cohort(counts: dict[str, int]) -> Cohort:
    rows = [
        {"subject": s, "session": str(t), "time": float(t), "age": 60.0 + t, "A": 10.0 * t, "B": 0.1 * t}
        for s, n in counts.items()
        for t in range(n)
    ]
    schema = Schema(layout="long", subject="subject", time="age", time_kind="age", regions=REGIONS)
    return Cohort(pd.DataFrame(rows), schema, pd.Series(60.0, index=list(counts)))


@pytest.mark.parametrize(("visits", "given"), [(1, 0), (3, 0), (4, 2), (5, 3), (8, 4)])
def test_the_first_half_rounded_up_is_given_of_subjects_with_four_visits(visits, given):
    history, targets = split(cohort({"s": visits}))
    assert list(history.visits["time"]) == list(range(given))
    assert list(targets["time"]) == (list(range(given, visits)) if given else [])


def test_every_fourth_subject_by_name_is_judged_and_none_of_them_learned_from():
    found = task(cohort({f"s{k:02d}": 4 for k in (8, 3, 1, 2, 7, 6, 5, 4, 9)}), "invented", standardised=False)
    assert sorted(found.test.subjects) == ["s04", "s08"]
    assert sorted(found.training.subjects) == [f"s{k:02d}" for k in (1, 2, 3, 5, 6, 7, 9)]
    assert set(found.targets["subject"]) == set(found.history.subjects) == {"s04", "s08"}


def test_draws_are_scored_by_their_median_their_spread_and_their_intervals():
    spread = np.linspace(-1, 1, 201)
    draws = np.broadcast_to(spread[None, :, None], (2, 201, 2))
    scores = judge(draws, np.array([[0.0, 0.4], [0.6, 2.0]]), np.ones(2))
    assert scores["MAE"] == pytest.approx((0 + 0.4 + 0.6 + 2.0) / 4, abs=1e-5)
    assert scores["50 %"] == 0.5
    assert scores["90 %"] == 0.75
    # CRPS of a uniform on (-1, 1) is y^2 / 2 + 1 / 6 inside it, and |y| - 1 / 3 outside
    assert scores["CRPS"] == pytest.approx((1 / 6 + 0.08 + 1 / 6 + 0.18 + 1 / 6 + 5 / 3) / 4, abs=0.005)


def test_standardised_errors_do_not_depend_on_the_units_of_a_region():
    found = task(cohort({f"s{k}": 6 for k in range(8)}), "invented", standardised=True)
    draws = found.truth[:, None] + found.scale * np.linspace(0.5, 1.5, 11)[:, None]
    assert judge(draws, found.truth, found.scale)["MAE"] == pytest.approx(1)
