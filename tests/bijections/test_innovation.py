"""The mixed model that the flow starts at, against statsmodels and in the corners of small cohorts."""

import math
import warnings

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from torch import Tensor

from crow.bijections.innovation import MixedModelInnovation
from crow.bijections.innovation_fit import fit_mixed_model
from crow.bijections.priors import StandardPrior

SUBJECTS, VISITS = 60, 5


def drawn(
    subjects: int = SUBJECTS,
    visits: int = VISITS,
    regions: int = 2,
    slope: float = 0.4,
    trend: float = 0.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """x, context (time, a covariate that stays, one that moves) and mask of 2 to ``visits`` irregular visits.

    ``x = 1 + 0.5 t - 0.8 c1 + 0.3 c2 + trend c1 t + b0 + b1 t + eps``, sd of b0 0.9, of b1 ``slope``, of eps 0.3,
    correlation of b0 and b1 0.6.
    """
    rng = np.random.default_rng(seed)
    mask = np.arange(visits) < rng.integers(2, visits + 1, size=(subjects, 1))
    time = np.cumsum(rng.uniform(0.3, 1.5, (subjects, visits)), 1)
    time -= time[:, :1]
    stays = np.repeat(rng.normal(size=(subjects, 1)), visits, 1)
    moves = rng.normal(size=(subjects, visits))
    e0, e1 = rng.normal(size=(2, subjects, 1, regions))
    b0, b1 = 0.9 * e0, slope * (0.6 * e0 + 0.8 * e1)
    t, c1, c2 = time[..., None], stays[..., None], moves[..., None]
    x = 1 + 0.5 * t - 0.8 * c1 + 0.3 * c2 + trend * c1 * t + b0 + b1 * t + 0.3 * rng.normal(size=(*mask.shape, regions))
    context = np.stack([time, stays, moves], -1)
    return torch.tensor(x * mask[..., None]), torch.tensor(context * mask[..., None]), torch.tensor(mask)


def fitted(
    x: Tensor, context: Tensor, mask: Tensor, trends: tuple[int, ...] = ()
) -> tuple[MixedModelInnovation, np.ndarray]:
    """By maximum likelihood, as statsmodels: without the prior of slopes."""
    model = MixedModelInnovation(x.shape[2], range(context.shape[2]), trends).double()
    log_lik = fit_mixed_model(model, x, context, mask, plain=True)
    assert all(bool(v.isfinite().all()) for v in (log_lik, *model.state_dict().values()))
    return model, log_lik.numpy()


def reference(
    x: Tensor,
    context: Tensor,
    mask: Tensor,
    region: int,
    trends: tuple[int, ...] = (),
    methods: tuple[str, ...] = ("bfgs",),
) -> sm.MixedLM:
    """statsmodels' maximum likelihood fit (not REML) of a region, by the method that gets furthest.

    Random slopes only where subjects have more than two visits, as in crow.
    """
    c = context[mask].numpy()
    effects = np.column_stack([np.ones(len(c)), c, *(c[:, 0] * c[:, k] for k in trends)])
    groups = np.nonzero(mask.numpy())[0]
    random = np.column_stack([np.ones(len(c)), c[:, 0]])[:, : min(2, mask.shape[1] - 1)]
    model = sm.MixedLM(x[mask][:, region].numpy(), effects, groups, random)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits = [model.fit(reml=False, method=method, maxiter=500) for method in methods]
    return max(fits, key=lambda fit: fit.llf)


def covariance(model: MixedModelInnovation, region: int) -> np.ndarray:
    """G of a region: its random effects' covariance."""
    l11, l21, l22 = model.factor[:, region].tolist()
    factor = np.array([[l11, 0.0], [l21, l22]])
    return factor @ factor.T * math.exp(2 * model.log_sigma[region].item())


def independent_log_lik(model: MixedModelInnovation, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
    """Log-likelihood of all visits under the model's own density, with regions independent."""
    with torch.no_grad():
        model.correlation.copy_(torch.eye(x.shape[2]).repeat(2, 1, 1))
        model.loadings.zero_()
        z, log_det, _ = model(x, context)
        return (StandardPrior((x.shape[2],)).log_prob(z) + log_det)[mask].sum()


@pytest.mark.parametrize("slope", [0.4, 0.1], ids=["strong slopes", "weak slopes"])
@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_statsmodels(slope: float, seed: int) -> None:
    data = drawn(slope=slope, seed=seed)
    model, log_lik = fitted(*data)
    for region in range(2):
        expected = reference(*data, region, methods=("bfgs", "powell"))
        assert log_lik[region] == pytest.approx(expected.llf, rel=1e-4)
        np.testing.assert_allclose(model.beta[:, region].detach(), expected.fe_params, atol=2e-3)
        assert math.exp(2 * model.log_sigma[region].item()) == pytest.approx(expected.scale, rel=2e-2)
        np.testing.assert_allclose(covariance(model, region), expected.cov_re, atol=1e-2)


def test_trends_agree_with_statsmodels_and_are_left_out_where_they_are_nothing() -> None:
    data = drawn(trend=0.4)
    model, log_lik = fitted(*data, trends=(1,))
    for region in range(2):
        expected = reference(*data, region, trends=(1,))
        assert log_lik[region] == pytest.approx(expected.llf, rel=1e-4)
        np.testing.assert_allclose(model.beta[:-1, region].detach(), expected.fe_params, atol=2e-3)
    without = fitted(*drawn(), trends=(1,))[0]
    assert bool((without.beta[-2:] == 0).all()) and bool((without.beta[:-2] != 0).all())


def test_people_may_differ_by_more_than_one_of_them_changes() -> None:
    """0.3 within a person, 1.1 between people: the effect of the first visit is what statsmodels finds."""
    x, context, mask = drawn(subjects=100, regions=1)
    between = context[:, :1, 2:].expand(-1, x.shape[1], -1)
    x = x + 0.8 * between * mask[..., None]
    model, log_lik = fitted(x, context, mask, trends=(2,))
    expected = reference(x, torch.cat([context, between], -1), mask, 0)
    assert log_lik[0] == pytest.approx(expected.llf, rel=1e-4)
    np.testing.assert_allclose(model.beta[[0, 1, 2, 3, 5], 0].detach(), expected.fe_params, atol=2e-3)
    assert model.beta[4, 0] == 0


def test_a_covariate_is_bent_where_it_acts_so() -> None:
    """x rises with c to 0 and stays: the bend is found, and what it is bent to has the effects that statsmodels finds.
    A covariate that acts along a line is not bent."""
    x, context, mask = drawn(subjects=100, regions=1)
    assert not fitted(x, context, mask)[0].bend.any()
    moves = context[..., 2:]
    x = x + 1.2 * (moves.clamp_max(0) - moves / 4) * mask[..., None]
    model, log_lik = fitted(x, context, mask)
    assert model.bend[2].any() and not model.bend[:2].any()
    bent = moves + ((moves - model.knots[2]).clamp_min(0) * model.bend[2]).sum(-1, keepdim=True)
    expected = reference(x, torch.cat([context[..., :2], bent], -1), mask, 0)
    assert log_lik[0] == pytest.approx(expected.llf, rel=1e-4)
    np.testing.assert_allclose(model.beta[:, 0].detach(), expected.fe_params, atol=2e-3)
    far = torch.tensor([[0.0, 0, 0], [0, 0, -1.0], [0, 0, 1.0]], dtype=torch.double)[:, None]
    zero, low, high = model.predict(torch.zeros(3, 1, 1, dtype=torch.double), far)[0].mean[:, 0].detach()
    np.testing.assert_allclose(zero - low, 1.2, atol=0.15)
    np.testing.assert_allclose(high - zero, 0.0, atol=0.15)


def test_a_bend_is_seen_through_noise_that_all_regions_share() -> None:
    """24 regions differ in what c does to them, below 0 only, and share most of their noise, which is no bend."""
    x, context, mask = drawn(regions=1)
    noise, effect = np.random.default_rng(1), torch.linspace(-0.3, 0.3, 24).double()
    shared, own = noise.normal(size=(*mask.shape, 1)), 0.3 * noise.normal(size=(*mask.shape, 24))
    x = (x + torch.tensor(shared + own) + effect * context[..., 2:].clamp_max(0)) * mask[..., None]
    model = fitted(x, context, mask)[0]
    assert model.bend[2].any() and not model.bend[:2].any()
    far = torch.tensor([[0.0, 0, 0], [0, 0, -1.0], [0, 0, 1.0]], dtype=torch.double)[:, None]
    zero, low, high = model.predict(torch.zeros(3, 1, 24, dtype=torch.double), far)[0].mean[:, 0].detach()
    below, above = (float((rise - rise.mean()) @ effect / effect.square().sum()) for rise in (zero - low, high - zero))
    assert below > 0.75 and above < 0.25


def test_log_likelihood_is_that_of_the_flow_s_own_density() -> None:
    """Prediction by prediction it adds up to the marginal likelihood that the fit maximised."""
    data = drawn()
    model, log_lik = fitted(*data)
    assert independent_log_lik(model, *data).item() == pytest.approx(log_lik.sum(), rel=1e-7)


def test_nothing_near_it_is_likelier() -> None:
    data = drawn()
    model, log_lik = fitted(*data)
    generator = torch.Generator().manual_seed(0)
    for name in ("beta", "log_sigma", "factor"):
        parameter = getattr(model, name)
        best = parameter.detach().clone()
        for _ in range(10):
            with torch.no_grad():
                parameter.copy_(best + 0.02 * torch.randn(best.shape, generator=generator))
            assert independent_log_lik(model, *data) < log_lik.sum()
        with torch.no_grad():
            parameter.copy_(best)


def test_finds_what_the_data_were_drawn_from() -> None:
    model, _ = fitted(*drawn(subjects=2000, regions=1))
    np.testing.assert_allclose(model.beta[:, 0].detach(), [1, 0.5, -0.8, 0.3], atol=0.05)
    assert model.log_sigma.exp().item() == pytest.approx(0.3, rel=0.05)
    expected = np.array([[0.81, 0.6 * 0.9 * 0.4], [0.6 * 0.9 * 0.4, 0.16]])
    np.testing.assert_allclose(covariance(model, 0), expected, atol=0.06)


def test_correlation_of_innovations_is_found() -> None:
    """Two regions with one noise: first visits and later visits each get the correlation they have."""
    x, context, mask = drawn(subjects=400, regions=2)
    together = torch.cat([x[..., :1], 0.8 * x[..., :1] + 0.6 * x[..., 1:]], -1)
    model, _ = fitted(together, context, mask)
    for factor in model.correlation.detach():
        correlation = factor.tril() @ factor.tril().T
        assert correlation[0, 1] == pytest.approx(0.8, abs=0.06)
    z = model(together, context)[0][mask]
    np.testing.assert_allclose((z.T @ z / len(z)).detach(), np.eye(2), atol=0.05)


def test_slopes_without_variance() -> None:
    """The boundary: as likely as statsmodels' best, with nothing left of the slope's variance."""
    x, context, mask = drawn(slope=0.0, seed=3)
    model, log_lik = fitted(x, context, mask)
    for region in range(2):
        assert log_lik[region] >= reference(x, context, mask, region).llf - 1e-4 * abs(log_lik[region])
        assert covariance(model, region)[1, 1] < 0.01


def test_the_spread_of_slopes_is_pooled_and_never_0() -> None:
    """Maximum likelihood finds next to none in some of 12 regions whose slopes differ by 0.1; pooled, all have it."""
    x, context, mask = drawn(subjects=30, slope=0.1, regions=12, seed=3)
    alone, best = fitted(x, context, mask)
    model = MixedModelInnovation(12, range(3)).double()
    log_lik = fit_mixed_model(model, x, context, mask)
    spread, spread_alone = (
        np.array([covariance(each, region)[1, 1] ** 0.5 for region in range(12)]) for each in (model, alone)
    )
    assert spread_alone.min() < 0.03 and spread.min() > 0.06
    assert np.abs(spread - 0.1).mean() < np.abs(spread_alone - 0.1).mean()
    assert float(best.sum() - log_lik.sum()) / float(mask.sum()) < 0.04


def test_people_who_do_not_differ() -> None:
    rng = torch.Generator().manual_seed(0)
    _, context, mask = drawn()
    x = torch.randn(*mask.shape, 1, generator=rng, dtype=torch.float64) * mask[..., None]
    model, log_lik = fitted(x, context, mask)
    assert log_lik[0] >= reference(x, context, mask, 0).llf - 1e-4 * abs(log_lik[0])
    assert covariance(model, 0).max() < 0.1


@pytest.mark.parametrize(
    ("subjects", "visits", "regions"), [(60, 2, 2), (60, 5, 1), (10, 5, 2), (10, 2, 1), (10, 3, 30)], ids=str
)
def test_small_cohorts(subjects: int, visits: int, regions: int) -> None:
    """At least as likely as statsmodels finds, region by region, and a density that inverts."""
    x, context, mask = drawn(subjects, visits, regions, seed=5)
    model, log_lik = fitted(x, context, mask)
    for region in range(min(regions, 2)):
        assert log_lik[region] >= reference(x, context, mask, region).llf - 1e-4 * abs(log_lik[region])
    z, _, _ = model(x, context)
    torch.testing.assert_close(model.inverse(z, context)[0][mask], x[mask], atol=1e-8, rtol=1e-8)


def test_more_effects_than_a_few_visits_can_tell_are_not_fitted() -> None:
    """8 people, 16 visits and 8 effects that say nothing: other people's visits stay as likely as can be."""
    rng = np.random.default_rng(0)
    time = torch.tensor([0.0, 1.0]).expand(48, 2)[..., None].double()
    context = torch.cat([time, torch.tensor(rng.normal(size=(48, 2, 6)))], -1)
    x, mask = torch.tensor(rng.normal(size=(48, 2, 3))), torch.ones(48, 2, dtype=torch.bool)
    model, _ = fitted(x[:8], context[:8], mask[:8])
    assert bool((model.beta[2:] == 0).all()) and bool((model.beta[:2] != 0).all())
    z, log_det, _ = model(x[8:], context[8:])
    nats = 0.5 * (z.square().sum(-1) + 3 * np.log(2 * np.pi)) - log_det
    assert float(nats.mean().detach()) < 3 * (0.5 + 0.5 * np.log(2 * np.pi)) + 4


def test_two_visits_leave_an_error_for_the_third() -> None:
    """Lines through two points would fit them exactly, and forecast as if nothing were measured with error."""
    x, context, mask = drawn(60, 2, 2, seed=5)
    model, _ = fitted(x, context, mask)
    assert (model.log_sigma.exp() > 0.1).all()
    assert (model.factor[1:] == 0).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_covariate_has_no_effect(value: float) -> None:
    """It says the same as the intercept (or nothing): same likelihood and predictions as without it."""
    x, context, mask = drawn()
    constant = value * mask[..., None].double()
    log_lik = fitted(x, context, mask)[1]
    model, log_lik_with = fitted(x, torch.cat([context, constant], -1), mask)
    np.testing.assert_allclose(log_lik_with, log_lik, rtol=1e-6)
    mean = model.predict(x, torch.cat([context, constant], -1))[0].mean
    without = fitted(x, context, mask)[0].predict(x, context)[0].mean
    torch.testing.assert_close(mean[mask], without[mask], atol=1e-4, rtol=1e-4)


def test_what_stands_in_pads_does_not_matter() -> None:
    x, context, mask = drawn()
    pad = ~mask[..., None]
    wild = fitted(x.masked_fill(pad, 1e3), context.masked_fill(pad, math.nan), mask)[0]
    for found, expected in zip(
        wild.state_dict().values(), fitted(x, context, mask)[0].state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def with_gaps(x: Tensor, mask: Tensor, share: float = 0.3) -> tuple[Tensor, Tensor]:
    """x with a share of its values missing at random (0), and which are measured."""
    measured = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) >= share
    measured &= mask[..., None]
    return x.masked_fill(~measured, 0.0), measured


def test_missing_values_agree_with_statsmodels() -> None:
    """Each region is fitted to its measured values, as statsmodels fits it to the rows that have one."""
    x, context, mask = drawn(subjects=80)
    x, measured = with_gaps(x, mask)
    model = MixedModelInnovation(2, range(3)).double()
    log_lik = fit_mixed_model(model, x, context, mask, measured, plain=True)
    for region in range(2):
        expected = reference(x, context, measured[..., region], region, methods=("bfgs", "powell"))
        assert float(log_lik[region]) == pytest.approx(expected.llf, rel=1e-4)
        np.testing.assert_allclose(model.beta[:, region].detach(), expected.fe_params, atol=5e-3)
    with torch.no_grad():
        model.correlation.copy_(torch.eye(2).repeat(2, 1, 1))
        z, log_det, _ = model(x, context, None, measured)
        nats = torch.where(measured, -0.5 * z.square() - 0.5 * math.log(2 * math.pi), 0.0).sum(-1) + log_det
    assert float(nats[mask].sum()) == pytest.approx(float(log_lik.sum()), rel=1e-7)


def test_correlation_is_found_between_values_that_are_missing_at_random() -> None:
    x, context, mask = drawn(subjects=600, regions=2)
    together = torch.cat([x[..., :1], 0.8 * x[..., :1] + 0.6 * x[..., 1:]], -1)
    together, measured = with_gaps(together, mask)
    model = MixedModelInnovation(2, range(3)).double()
    fit_mixed_model(model, together, context, mask, measured)
    for factor in model.correlation.detach():
        correlation = factor.tril() @ factor.tril().T
        assert 0.65 < correlation[0, 1] < 0.86  # innovations given other pasts have less in common


def test_a_region_with_few_values_takes_nothing_from_the_others() -> None:
    """2 values: it stays at N(0, 1). 9 values: an intercept and time. Other regions are as without it."""
    x, context, mask = drawn(regions=1)
    alone = fitted(x, context, mask)[0]
    for count in (2, 9):
        measured = torch.zeros_like(x, dtype=torch.bool)
        measured[:count, 0] = True
        both, there = torch.cat([x, x * measured], -1), torch.cat([mask[..., None], measured], -1)
        model = MixedModelInnovation(2, range(3)).double()
        fit_mixed_model(model, both, context, mask, there, plain=True)
        torch.testing.assert_close(model.beta[:, 0], alone.beta[:, 0], atol=1e-6, rtol=1e-6)
        assert bool((model.beta[2:, 1] == 0).all()) and bool((model.factor[1:, 1] == 0).all())
        assert bool(model.log_sigma[1] == 0) == (count == 2)
        assert all(bool(v.isfinite().all()) for v in model.state_dict().values())
