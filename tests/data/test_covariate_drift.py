"""Covariates that are carried forward change as those of other subjects did."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from crow.cohort import Cohort, Schema
from crow.cohort.covariate_paths import future_visits
from crow.data.covariate_drift import CovariateDrift
from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.flows.ensemble import FlowEnsemble
from crow.models.crow import CRow

MIXED = {"model": {"members": 1, "initialise": "mixed_model"}, "training": {"max_epochs": 0}}
SUBJECTS, VISITS = 400, 5


@pytest.fixture(scope="module")
def data() -> Sequences:
    """A random walk with a drift, a constant with noise of each measurement, and a channel that never changes."""
    rng = torch.Generator().manual_seed(0)
    time = torch.rand(SUBJECTS, VISITS, generator=rng).add(0.5).cumsum(1)
    time = time - time[:, :1]
    steps = torch.diff(time, dim=1, prepend=torch.zeros(SUBJECTS, 1))
    normal = torch.randn(4, SUBJECTS, VISITS, generator=rng)
    walk = normal[0, :, :1] + (0.3 * steps + 0.5 * steps.sqrt() * normal[1]).cumsum(1)
    noisy = normal[2, :, :1] + normal[3]
    fixed = normal[3, :, :1].expand(-1, VISITS)
    mask = torch.ones(SUBJECTS, VISITS, dtype=torch.bool)
    return Sequences(torch.zeros(SUBJECTS, VISITS, 1), torch.stack([walk, noisy, fixed], -1), time, mask)


@pytest.fixture(scope="module")
def drift(data: Sequences) -> CovariateDrift:
    found = CovariateDrift.fit(data, [0, 1], torch.ones(SUBJECTS, VISITS, 2, dtype=torch.bool))
    assert found is not None
    return found


def moved(drift: CovariateDrift, context: list[float], years: float, known: int | None = None) -> torch.Tensor:
    """Draws of one visit whose channels were carried for so many years, but one."""
    n = 20000
    carried = torch.full((n, 1, 3), years)
    if known is not None:
        carried[..., known] = 0.0
    one = torch.ones(n, 1)
    data = Sequences(torch.zeros(n, 1, 1), torch.tensor(context).expand(n, 1, 3), 9 * one, one.bool(), None, carried)
    normal = torch.randn(n, 2, generator=torch.Generator().manual_seed(1))
    found = drift.moved(data, normal)
    assert found.carried is None
    return found.context[:, 0]


def test_a_random_walk_goes_on_and_noise_is_measured_again(drift: CovariateDrift) -> None:
    for years in (1.0, 3.0):
        found = moved(drift, [0.0, 2.0, 0.5], years)
        assert found[:, 0].mean() == pytest.approx(0.3 * years, abs=0.15)
        assert found[:, 0].std() == pytest.approx(0.5 * years**0.5, rel=0.2)
        assert found[:, 1].mean() == pytest.approx(1.0, abs=0.25)  # half of the difference from 0 was noise
        assert found[:, 1].std() == pytest.approx(1.5**0.5, rel=0.15)
        assert (found[:, 2] == 0.5).all()


def test_a_known_value_stays(drift: CovariateDrift) -> None:
    found = moved(drift, [0.0, 2.0, 0.5], 2.0, known=1)
    assert (found[:, 1] == 2.0).all()
    assert found[:, 0].std() > 0.4


def test_what_is_known_at_the_later_visit_counts_as_it_is_there() -> None:
    """Between visits a year apart a score changes by half of the age at the first of them."""
    rng = torch.Generator().manual_seed(3)
    age = 3 * torch.rand(SUBJECTS, 1, generator=rng) + torch.arange(2.0)
    score = torch.randn(SUBJECTS, 1, generator=rng) + 0.5 * torch.stack([0 * age[:, 0], age[:, 0]], 1)
    mask = torch.ones(SUBJECTS, 2, dtype=torch.bool)
    data = Sequences(torch.zeros(SUBJECTS, 2, 1), torch.stack([score, age], -1), age - age[:, :1], mask)
    drift = CovariateDrift.fit(data, [0], mask.unsqueeze(-1))
    assert drift is not None
    visit = Sequences(torch.zeros(1, 1, 1), torch.tensor([[[0.0, 3.0]]]), torch.ones(1, 1), mask[:1, :1], None,
                      torch.tensor([[[1.0, 0.0]]]))  # fmt: skip
    assert float(drift.moved(visit, torch.zeros(1, 1)).context[0, 0, 0]) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    "change",
    [{"channels": [0, 9]}, {"channels": [1, 1]}, {"noise": [-1.0, 1.0]}, {"walk": [1.0]}, {"root": [[1.0, 0.0]]},
     {"longest": float("nan")}, {"at_once": [[float("inf"), 0.0]] * 4}],
    ids=str,
)  # fmt: skip
def test_a_forged_one_is_refused(change: dict[str, object], drift: CovariateDrift) -> None:
    assert CovariateDrift.model_validate(drift.model_dump()) == drift
    with pytest.raises(ValidationError, match="drift"):
        CovariateDrift.model_validate(drift.model_dump() | change)


def test_no_longer_than_visits_of_the_training_are_apart(drift: CovariateDrift) -> None:
    assert torch.equal(moved(drift, [0.0, 2.0, 0.5], 50.0), moved(drift, [0.0, 2.0, 0.5], drift.longest))


def test_a_typing_error_hardly_matters(data: Sequences, drift: CovariateDrift) -> None:
    context = data.context.clone()
    context[0, 2, 0] = 100.0
    known = torch.ones(SUBJECTS, VISITS, 2, dtype=torch.bool)
    found = CovariateDrift.fit(replace(data, context=context), [0, 1], known)
    assert found is not None
    own, clean = (moved(each, [0.0, 2.0, 0.5], 2.0)[:, 0] for each in (found, drift))
    assert own.std() < 1.2 * clean.std()


def test_few_subjects_have_none(data: Sequences) -> None:
    known = torch.ones(SUBJECTS, VISITS, 1, dtype=torch.bool)
    assert CovariateDrift.fit(data.rows(slice(0, 10)), [0], known[:10]) is None
    assert CovariateDrift.fit(data.columns(slice(0, 1)), [0], known[:, :1]) is None


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """A region that follows a score, which is a random walk."""
    rng = np.random.default_rng(2)
    count = 150
    time = np.tile(np.arange(VISITS, dtype=float), count)
    score = (rng.normal(size=(count, VISITS)) * [2, 1, 1, 1, 1]).cumsum(1).ravel()
    visits = pd.DataFrame({
        "subject": np.repeat([f"s{k:03d}" for k in range(count)], VISITS), "session": np.tile(list("12345"), count),
        "time": time, "age": 70 + time, "score": score, "region": score + rng.normal(0, 0.3, count * VISITS),
    })  # fmt: skip
    schema = Schema(layout="plain", subject="subject", time="age", time_kind="age", age="age",
                    covariates={"score": "numeric"}, regions=["region"])  # fmt: skip
    return Cohort(visits, schema, visits.groupby("subject")["age"].first())


@pytest.fixture(scope="module")
def model(cohort: Cohort) -> CRow:
    return CRow(**MIXED).fit(cohort)


@pytest.mark.parametrize("path", [False, True])
def test_a_forecast_contains_how_covariates_change(cohort: Cohort, model: CRow, path: bool) -> None:
    last = cohort.visits.groupby("subject").tail(1)
    asked = last[["subject"]].assign(time=6.0)
    unknown = model.forecast(cohort, asked, draws=100, path=path)
    known = model.forecast(cohort, last[["subject", "score"]].assign(time=6.0), draws=100, path=path)
    assert list(unknown.visits) == ["subject", "time", "age", "score"]
    np.testing.assert_allclose(known.values.mean(1), last["score"].to_numpy()[:, None], atol=0.4)
    assert known.values.std(1).mean() < 0.5
    assert unknown.values.std(1).mean() == pytest.approx((2 + 0.3**2) ** 0.5, rel=0.15)


def test_density_of_a_forecast_is_that_of_its_draws(cohort: Cohort, model: CRow) -> None:
    """On a grid it integrates to 1, and has the mean and sd of the draws."""
    one = cohort.of(["s000"])
    ahead = future_visits(one, pd.DataFrame({"subject": ["s000"], "time": [6.0]}))
    grid = np.linspace(-15, 15, 301) + one.visits["region"].iloc[-1]
    rows = pd.concat(
        [pd.concat([one.visits, ahead.assign(session="6", region=value)]).assign(subject=f"{k:03d}")
         for k, value in enumerate(grid)], ignore_index=True
    )  # fmt: skip
    start = rows.groupby("subject")["age"].first()
    found = model.log_prob(Cohort(rows, cohort.schema, start)).groupby("subject")["log_prob"].last()
    density = np.exp(found.to_numpy()) * (grid[1] - grid[0])
    assert density.sum() == pytest.approx(1, abs=1e-3)
    mean = (density * grid).sum()
    draws = model.forecast(one, ahead[["subject", "time"]], draws=4000).values
    assert draws.mean() == pytest.approx(mean, abs=0.1)
    assert draws.std() == pytest.approx(((density * grid**2).sum() - mean**2) ** 0.5, rel=0.08)
    before = model.log_prob(one)["log_prob"]
    every = model.log_prob(Cohort(rows, cohort.schema, start))
    np.testing.assert_allclose(every[every["subject"] == "000"]["log_prob"][: len(before)], before, rtol=1e-4)


def test_who_leaves_one_level_of_a_category_enters_another() -> None:
    """In few subjects as well: a third of 24 go from the second level to the third, nobody from the first."""
    subjects = 24
    second = (torch.arange(subjects) % 3 > 0).float()
    goes = (torch.arange(subjects) % 3 == 2).float()
    before, after = torch.stack([second, 0 * second], -1), torch.stack([second - goes, goes], -1)
    context = torch.cat([torch.stack([before, after], 1), torch.zeros(subjects, 2, 1)], -1)
    years = 1 + 0.5 * torch.linspace(0, 1, subjects)
    time, mask = torch.stack([0 * years, years], 1), torch.ones(subjects, 2, dtype=torch.bool)
    data = Sequences(torch.zeros(subjects, 2, 1), context, time, mask)
    drift = CovariateDrift.fit(data, [0, 1], mask.unsqueeze(-1).expand(-1, -1, 2))
    assert drift is not None
    found = moved(drift, [1.0, 0.0, 0.0], 1.0)
    assert found[:, 0].std() > 0.2, "the level is unknown"
    assert found[:, :2].sum(1).std() < 0.01


@pytest.mark.parametrize("levels", [False, True])
def test_visits_before_what_is_carried_are_evaluated_once(drift: CovariateDrift, levels: bool) -> None:
    """The density at all points is that of whole sequences, whichever visit is the first that carries a covariate."""
    rng = torch.Generator().manual_seed(3)
    flows = [CRowFlow(2, 3, "standard", 1, 8).double() for _ in range(2)]
    for parameter in (parameter for flow in flows for parameter in flow.parameters()):
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng)
    if levels:
        for flow in flows:
            flow.bounds.step.fill_(0.5)
    ensemble = FlowEnsemble(flows).double().eval()
    ensemble.drift = drift
    time, mask = torch.arange(4.0).double().expand(6, 4), torch.arange(4) < torch.tensor([4, 4, 3, 4, 2, 4])[:, None]
    x, context = (torch.randn(6, 4, count, generator=rng, dtype=torch.double) for count in (2, 3))
    carried = torch.zeros(6, 4, 3, dtype=torch.double)
    for row, first in enumerate([0, 2, 2, 3, 1]):
        carried[row, first:, 0] = 1 + torch.arange(4 - first)
    data = Sequences(x, context, time, mask, carried=carried * mask.unsqueeze(-1))
    found = ensemble.log_prob(data)
    points = drift.points(data)
    every = ensemble.log_prob(points).unflatten(0, (6, -1)).cumsum(2)
    whole = torch.logsumexp(every, 1) - np.log(every.shape[1])
    expected = torch.diff(whole, dim=1, prepend=torch.zeros(6, 1).double())
    torch.testing.assert_close(found, torch.where(mask, expected, 0.0), rtol=1e-9, atol=1e-9)
