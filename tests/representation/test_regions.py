"""Region tables: what flows see of a cohort, and the way back."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_cohorts import in_memory, small_cohort, with_visits

from crow.cohort import Cohort
from crow.cohort.schema import Schema
from crow.cohort.value_kinds import ValueKind
from crow.errors import CohortError
from crow.representation.regions import RegionTable


@pytest.fixture
def cohort() -> Cohort:
    return small_cohort()


@pytest.fixture
def table(cohort: Cohort) -> RegionTable:
    return RegionTable.fit(cohort)


def test_visits_become_padded_sequences(cohort: Cohort, table: RegionTable) -> None:
    data = table.encode(cohort.visits)
    counts = cohort.visits.groupby("subject", sort=False).size()
    assert data.x.dtype == torch.float32
    assert data.mask.sum(1).tolist() == counts.tolist()
    assert data.x.shape == (len(counts), counts.max(), 2)
    assert (data.mask[:, 1:] <= data.mask[:, :-1]).all(), "pads at the end"
    for padded in (data.x, data.context, data.time):
        assert (padded[~data.mask] == 0).all()
    np.testing.assert_allclose(data.time[data.mask], cohort.visits["time"], atol=1e-6)
    np.testing.assert_allclose(data.x[data.mask].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.x[data.mask].std(0), 1, atol=1e-5)


def test_decode_is_the_way_back(cohort: Cohort, table: RegionTable) -> None:
    data = table.encode(cohort.visits)
    np.testing.assert_allclose(table.decode(data.x[data.mask]), cohort.visits[cohort.regions], rtol=1e-6)
    assert table.log_scale == pytest.approx(np.log(cohort.visits[cohort.regions].std()).sum())


def test_context_is_age_levels_numbers_and_whether_they_are_known(cohort: Cohort, table: RegionTable) -> None:
    data = table.encode(cohort.visits)
    assert [c.name for c in table.covariates] == ["age", "sex", "CDRSB"]
    age, male, cdr, unknown = data.context[data.mask].double().numpy().T
    visits = cohort.visits
    np.testing.assert_allclose(age, (visits["age"] - visits["age"].mean()) / visits["age"].std(), atol=1e-5)
    np.testing.assert_array_equal(male, visits["sex"] == "M")
    np.testing.assert_array_equal(unknown, visits["CDRSB"].isna())
    standardised = (visits["CDRSB"] - visits["CDRSB"].mean()) / visits["CDRSB"].std()
    np.testing.assert_allclose(cdr, standardised.fillna(0), atol=1e-5)
    assert table.channels == 4


def test_levels_are_indicators_but_for_the_first(cohort: Cohort) -> None:
    group = pd.Series(["b", "a", "c", None]).take(np.arange(len(cohort.visits)) % 4).to_numpy()
    cohort.schema.covariates["group"] = "categorical"
    cohort = with_visits(cohort, cohort.visits.assign(group=group))
    table = RegionTable.fit(cohort)
    data = table.encode(cohort.visits)
    channels = data.context[data.mask][:, -3:].numpy()
    np.testing.assert_array_equal(channels, np.stack([group == "b", group == "c", pd.isna(group)], 1))


def test_a_covariate_that_is_the_same_everywhere_says_nothing(cohort: Cohort) -> None:
    table = RegionTable.fit(with_visits(cohort, cohort.visits.assign(sex="F", age=np.nan)))
    assert [c.name for c in table.covariates] == ["CDRSB"]


def test_a_covariate_may_be_missing_later_only(cohort: Cohort) -> None:
    """An age that training knew everywhere: a gap is the mean, without an indicator."""
    table = RegionTable.fit(cohort)
    data = table.encode(cohort.visits.assign(age=np.nan))
    assert (data.context[..., 0] == 0).all()


def test_gaps_are_filled_from_the_past(cohort: Cohort, table: RegionTable) -> None:
    name = cohort.subjects[1]
    visits = cohort.visits[cohort.visits["subject"].isin([name, cohort.subjects[2]])].reset_index(drop=True)
    assert len(visits[visits["subject"] == name]) == 4
    visits.loc[[0, 2], "ROI01"] = np.nan
    values = table.decode(table.encode(visits).x)[0, :, 0]
    expected = [table.mean[0], *visits["ROI01"][[1, 1, 3]]]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_it_survives_json(cohort: Cohort, table: RegionTable) -> None:
    again = RegionTable.model_validate_json(table.model_dump_json())
    assert again == table
    assert torch.equal(again.encode(cohort.visits).context, table.encode(cohort.visits).context)


def test_no_name_of_a_subject_is_kept(cohort: Cohort, table: RegionTable) -> None:
    assert not [name for name in cohort.subjects if name in table.model_dump_json()]


def test_what_cannot_be_encoded_is_refused(cohort: Cohort, table: RegionTable) -> None:
    visits = cohort.visits
    far = visits.assign(ROI02=visits["ROI02"].where(visits.index != 3, 1e30))
    for changed, message in (
        (visits.assign(sex="X"), r"cohort\.csv: column sex holds 'X'.*\(known: F, M\)\. Correct the value"),
        (visits.drop(columns="sex"), r"cohort\.csv: there is no column sex"),
        (visits[:0], r"cohort\.csv: holds no visit"),
        (visits.iloc[::-1], r"have to be sorted by subject and time"),
        (visits.sort_values("time", kind="stable"), r"have to be sorted by subject and time"),
        (far, rf"subject {visits['subject'][3]}, .*column ROI02: found 1e\+30, but the training visits lie around"),
        (visits.assign(CDRSB=np.inf), r"column CDRSB: found inf, but the training visits"),
        (visits.assign(time=365.25 * visits["time"]), r"years after the first visit; .* --time-kind"),
    ):
        with pytest.raises(CohortError, match=message):
            table.encode(changed, "cohort.csv")


@pytest.mark.parametrize(
    ("value", "message"),
    [(1.0, "column ROI01: found one value only"), (1e300, r"column ROI01: found 1e\+300, too large")],
)
def test_regions_without_a_usable_spread_are_refused(cohort: Cohort, value: float, message: str) -> None:
    values = np.where((cohort.visits.index > 0) & (value > 1), cohort.visits["ROI01"], value)
    with pytest.raises(CohortError, match=message):
        RegionTable.fit(with_visits(cohort, cohort.visits.assign(ROI01=values)))


def test_age_as_a_covariate_stands_once(cohort: Cohort) -> None:
    plain = in_memory(cohort.visits[["subject", "age", "ROI01"]], ["ROI01"], {})
    assert [c.name for c in RegionTable.fit(plain).covariates] == ["age"]


def test_draws_at_a_bound_are_the_bound() -> None:
    """A share from 0 to 1 that is 0 in some visits: a draw of the bound, in single precision, is 0 and not 3e-9."""
    share = pd.Series([0.0, 0.0, 0.31, 0.72, 0.55, 0.13, 0.93, 0.41])
    visits = pd.DataFrame({"subject": list("aabbccdd"), "session": list("12121212"), "time": [0.0, 1.0] * 4})
    visits = visits.assign(age=70.0, share=share, never=share + 0.1)
    kinds = {"share": ValueKind(kind="bounded", lower=0, upper=1), "never": ValueKind(kind="positive", lower=0)}
    schema = Schema(layout="plain", subject="subject", time="time", time_kind="years", regions=["share", "never"])
    start = visits.groupby("subject")["age"].first()
    made = RegionTable.fit(Cohort(visits, schema.model_copy(update={"values": kinds}), start))
    bounds = made.bounds
    assert bounds is not None
    values = made.draws(torch.stack([bounds.least, bounds.most.clamp_max(9.0), bounds.least + 1e-5]))
    assert values[:2, 0].tolist() == [0.0, 1.0]
    assert 1e-6 < values[2, 0] < 1e-5  # what is farther away than rounding stays
