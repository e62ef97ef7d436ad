"""The state of one subject's history answers as the model does, and its levels are those of the mixed model."""

import numpy as np
import pandas as pd
import pytest
import torch
from site_cohorts import site_cohort
from small_cohorts import small_cohort

from crow.bijections.innovation import MixedModelInnovation
from crow.cohort import Cohort
from crow.cohort.covariate_paths import future_visits
from crow.models.crow import CRow
from crow.models.history_state import HistoryState

QUICK = {"training": {"max_epochs": 2, "steps_per_epoch": 2}, "model": {"members": 3}}


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return small_cohort(24)


@pytest.fixture(scope="module")
def model(cohort: Cohort) -> CRow:
    torch.manual_seed(0)
    return CRow(**QUICK).fit(cohort)


def test_draws_are_those_of_a_forecast(cohort: Cohort, model: CRow) -> None:
    for subject in cohort.subjects[:4]:
        one = cohort.of([subject])
        asked = pd.DataFrame({"subject": subject, "time": one.visits["time"].max() + np.array([0.5, 1.0, 4.0])})
        expected = model.forecast(one, asked, draws=31, seed=5)
        found = HistoryState.of(model, one).forecast(future_visits(one, asked), draws=31, seed=5)
        np.testing.assert_allclose(found, expected.values, rtol=1e-5)


def test_two_courses_at_one_time_have_the_same_random_numbers(cohort: Cohort, model: CRow) -> None:
    one = cohort.of(cohort.subjects[:1])
    asked = pd.DataFrame({"subject": cohort.subjects[0], "time": [one.visits["time"].max() + 1.0] * 3})
    visits = pd.concat([future_visits(one, asked.iloc[[0]])] * 3, ignore_index=True)
    visits.loc[2, "CDRSB"] = 9.0
    a, same, other = HistoryState.of(model, one).forecast(visits, draws=20, seed=1)
    np.testing.assert_array_equal(a, same)
    assert np.abs(a - other).max() > 0


def test_level_at_a_visit_has_an_interval_narrower_than_that_of_a_measurement(cohort: Cohort, model: CRow) -> None:
    one = cohort.of([cohort.visits["subject"].value_counts().index[0]])
    levels = HistoryState.of(model, one).levels([0.05, 0.5, 0.95])
    assert levels.shape == (len(one.visits), 3, len(cohort.regions))
    width = levels[:, 2] - levels[:, 0]
    assert (width > 0).all()
    assert (width[-1] < width[0]).all()
    _, sd = model.predict(one, draws=400)
    assert (width[-1] < 2 * 1.645 * sd.to_numpy()[-1]).all()


@pytest.mark.parametrize("site", ["site1", "a new one"])
def test_draws_are_those_of_the_site(site: str) -> None:
    cohort = site_cohort(40).cohort
    model = CRow(**QUICK).fit(cohort)
    one = cohort.of(["s003"])
    asked = pd.DataFrame({"subject": "s003", "time": one.visits["time"].max() + np.array([1.0, 2.0]), "site": site})
    expected = model.forecast(one, asked, draws=40, seed=2)
    state = HistoryState.of(model, one)
    np.testing.assert_allclose(state.forecast(future_visits(one, asked), draws=40, seed=2), expected.values, rtol=1e-4)
    values, levels = one.visits[cohort.regions].to_numpy(), state.levels([0.5])[:, 0]
    assert np.abs(levels - values).max() < 4 * values.std()


@pytest.mark.parametrize("shared", [0.0, 0.6], ids=["regions apart", "shared factors"])
def test_levels_of_the_mixed_model_are_its_posterior(shared: float) -> None:
    """Against the normal equations of all effects, ``b | x ~ N(V Z' S^-1 r, V)``, ``V = (G^-1 + Z' S^-1 Z)^-1``."""
    torch.manual_seed(3)
    regions, time = 3, torch.tensor([0.0, 0.4, 1.1, 2.0]).double()
    model = MixedModelInnovation(regions, [1]).double()
    for parameter in (model.beta, model.log_sigma, model.factor):
        parameter.data.copy_(torch.randn_like(parameter) * 0.7)
    model.loadings.copy_(shared * torch.randn_like(model.loadings).sign())
    model.loadings[..., 1:] = 0.0
    context = torch.stack([time, torch.randn(4).double()], -1)[None]
    x = torch.randn(1, 4, regions).double()
    measured = torch.rand(1, 4, regions) > 0.3
    mean, sd = (found.detach() for found in model.filtered(x, context, measured))
    sigma, (l11, l21, l22) = model.log_sigma.detach().exp(), model.factor.detach()
    u = model.loadings.flatten(0, 1)  # one set of factors for levels and slopes
    correlation = u @ u.T + torch.diag(1 - u.square().sum(1))
    level, slope = torch.cat([torch.diag(l11), torch.diag(l21)]), torch.cat([0 * torch.diag(l11), torch.diag(l22)])
    roots = torch.cat([sigma, sigma])[:, None] * torch.cat([level, slope], 1)
    g = roots @ correlation @ roots.T  # of the levels of all regions, then of their slopes
    fixed = torch.stack([torch.ones(4).double(), context[0, :, 1]], 1) @ model.beta.detach()
    for k in range(4):
        eye = torch.eye(regions).double()
        rows = torch.cat([torch.cat([eye, t * eye], 1) for t in time[: k + 1]])[measured[0, : k + 1].flatten()]
        weight = sigma.square().reciprocal().repeat(k + 1)[measured[0, : k + 1].flatten()]
        r = (x[0, : k + 1] - fixed[: k + 1])[measured[0, : k + 1]]
        v = torch.linalg.inv(torch.linalg.inv(g) + rows.T @ (weight[:, None] * rows))
        now = torch.cat([eye, time[k] * eye], 1)
        torch.testing.assert_close(mean[0, k], fixed[k] + now @ v @ rows.T @ (weight * r))
        torch.testing.assert_close(sd[0, k], (now @ v @ now.T).diagonal().sqrt())
