"""The mixed model of changes: its parameters, its likelihood, and forecasts from small cohorts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from crow.bijections.change_fit import fit_change_model
from crow.bijections.innovation import MixedModelInnovation, Moments
from crow.bijections.innovation_fit import fit_mixed_model
from crow.bijections.innovation_sums import Sums, VisitValues

COVARIATES = 6


def drawn(subjects: int, seed: int, sigma: float = 0.6, visits: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Changes ``[subject, visit, 2]``, context (time, covariates), and true rates ``[subject, 2]``.

    Rate 1 + 0.4 c1 + 0.4 c2 + N(0, 0.4^2); visits about a year apart; every change has the error of the first scan.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(1, visits + 1) + rng.uniform(-0.2, 0.2, (subjects, visits))
    c = rng.normal(size=(subjects, COVARIATES))
    rate = (1 + 0.4 * c[:, 0] + 0.4 * c[:, 1])[:, None] + 0.4 * rng.normal(size=(subjects, 2))
    error = sigma * rng.normal(size=(subjects, visits + 1, 2))
    x = time[..., None] * rate[:, None] + error[:, 1:] - error[:, :1]
    context = np.concatenate([time[..., None], np.repeat(c[:, None], visits, 1)], 2)
    return torch.tensor(x), torch.tensor(context), torch.tensor(rate)


def model_of(regions: int = 2, covariates: int = COVARIATES) -> MixedModelInnovation:
    return MixedModelInnovation(regions, range(1 + covariates), trends=range(1, 1 + covariates)).double()


def everywhere(x: Tensor) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def test_the_parameters_of_many_subjects_are_the_true_ones() -> None:
    x, context, _ = drawn(600, 0)
    model = model_of()
    fit_change_model(model, x, context, everywhere(x))
    beta = model.beta.detach().numpy()
    slope = beta[2 + COVARIATES : 2 + 2 * COVARIATES]
    np.testing.assert_allclose(beta[1], 1, atol=0.08)
    np.testing.assert_allclose(slope[:2], 0.4, atol=0.08)
    assert np.abs(slope[2:]).max() < 0.08
    np.testing.assert_allclose(model.log_sigma.exp().detach(), 0.6, atol=0.05)
    g = (model.factor[2] * model.log_sigma.exp()).detach().numpy()
    np.testing.assert_allclose(g, 0.4, atol=0.06)


def test_nothing_has_changed_at_time_zero() -> None:
    x, context, _ = drawn(16, 1)
    model = model_of()
    fit_change_model(model, x, context, everywhere(x))
    context[:, :, 0] = 1e-9
    prediction, _ = model.predict(torch.zeros_like(x), context)
    assert prediction.mean[:, 0].abs().max() < 1e-6
    errors = prediction.sd[:, 0] / model.log_sigma.exp()
    np.testing.assert_allclose(errors.detach(), 2**0.5, rtol=1e-6)  # of this scan and of the first


def test_a_covariate_that_changes_has_an_effect_and_age_has_none_beside_time() -> None:
    x, context, _ = drawn(600, 4)
    moved = torch.tensor(np.random.default_rng(5).normal(size=(600, 2)))
    context[:, 1:, 3] += moved
    context[..., 4] += 0.3 * context[..., 0]
    x[:, 1:] += 0.5 * moved[..., None]
    model = model_of()
    fit_change_model(model, x, context, everywhere(x))
    now, then = model.beta[2 : 2 + COVARIATES], model.beta[2 + 2 * COVARIATES :]
    np.testing.assert_allclose(now[2].detach(), 0.5, atol=0.06)
    torch.testing.assert_close(now, -then)
    assert now[3].abs().max() < 1e-6


def test_the_integrated_likelihood_is_that_of_the_normal_distribution() -> None:
    """Of all values of a region at once, whose covariance is that of errors, slopes and effects of covariates."""
    x, context, _ = drawn(12, 2)
    model = model_of()
    data = VisitValues.of(x, context, everywhere(x), None)
    rows = [1, *range(2 + COVARIATES, 2 + 2 * COVARIATES)]
    sums = Sums.of(data, model, rows).combined(torch.eye(1 + COVARIATES, dtype=torch.double))
    slope, precision = 0.7, torch.tensor([0.0] + [3.0] * COVARIATES, dtype=torch.double)
    factor = torch.tensor([1.0, 0.0, slope], dtype=torch.double)[:, None].expand(3, 2).contiguous()
    _, sigma, log_lik, _ = sums.shrunk(factor, precision)
    t, c = context[..., 0].flatten().numpy(), context[..., 1:].flatten(0, 1).numpy()
    subject = np.repeat(np.arange(12), 3)
    same = subject[:, None] == subject
    v = np.eye(36) + same + slope**2 * same * np.outer(t, t) + np.outer(t, t) * (c @ c.T) / 3.0
    inverse, count = np.linalg.inv(v), 35
    for region in range(2):
        y = x[..., region].flatten().numpy()
        mean = (t @ inverse @ y) / (t @ inverse @ t)
        square = (y - mean * t) @ inverse @ (y - mean * t)
        of_mean = np.log(t @ inverse @ t)
        expected = -0.5 * (
            count * (np.log(square / count) + 1 + np.log(2 * np.pi)) + np.linalg.slogdet(v)[1] + of_mean
        )
        assert float(sigma[region]) == pytest.approx((square / count) ** 0.5, rel=1e-6)
        assert float(log_lik[region]) == pytest.approx(expected, rel=1e-6)


def test_the_share_of_change_is_that_of_the_normal_distribution() -> None:
    x, context, _ = drawn(40, 3)
    model = model_of()
    fit_change_model(model, x, context, everywhere(x))
    model.loadings.zero_()
    sigma, g = model.log_sigma.exp().detach(), model.factor[2].detach() ** 2
    t, since = context[:, :2, 0], context[:, 1:2, 0]
    target = since + 1.5
    _, past = model.predict(x[:, :2], context[:, :2])
    later = context[:, :1].clone()
    later[..., 0] = target
    prediction, _ = model.predict(torch.zeros_like(x[:, :1]), later, past)
    found = model.share_of_change(target, since, past, prediction.sd[:, 0])
    for k in range(3):
        for region in range(2):
            z = np.r_[t[k].numpy(), target[k].numpy()]
            own = float(g[region]) * np.outer(z, z) + np.ones((3, 3)) + np.eye(3)
            gain = np.linalg.solve(own[:2, :2], np.c_[own[:2, 2], float(g[region]) * z[:2]])
            measured = own[2, 2] - own[2, :2] @ gain[:, 0]
            slope = float(g[region]) - float(g[region]) * z[:2] @ gain[:, 1]
            sd = float(prediction.sd[k, 0, region] / sigma[region])
            assert sd == pytest.approx(measured**0.5, rel=1e-5)
            assert float(found[k, region]) == pytest.approx(1.5 * (slope / measured) ** 0.5, rel=1e-5)
    before = model.share_of_change(target, torch.zeros_like(since), None, prediction.sd[:, 0])
    alone = target * g.sqrt() * sigma / prediction.sd[:, 0]
    torch.testing.assert_close(before, alone)


def rate_ahead(model: MixedModelInnovation, x: Tensor, context: Tensor) -> Tensor:
    """The expected change in the year after the visits, from the expected level at the last of them."""
    _, past = model.predict(x, context)
    levels = []
    for ahead in (0.0, 1.0):
        later = context[:, -1:].clone()
        later[..., 0] += ahead
        levels.append(model.predict(torch.zeros_like(x[:, :1]), later, past)[0].mean[:, 0])
    return (levels[1] - levels[0]).detach()


def test_a_small_cohort_forecasts_better_than_its_mean_change_a_regression_and_the_own_change() -> None:
    """Sixteen training subjects with two changes each, as in a small study of three scans; eight such cohorts.

    The mixed model of levels, which has an intercept and effects on it, is worse, too.
    """
    errors: dict[str, list[float]] = {}
    covered = []
    for seed in range(8):
        x, context, _ = drawn(16, 10 + seed, visits=2)
        later, its_context, rate = drawn(200, 100 + seed, visits=1)
        model, of_levels = model_of(), model_of()
        fit_change_model(model, x, context, everywhere(x))
        fit_mixed_model(of_levels, x, context, everywhere(x))
        rates = (context[..., :1] * x).sum(1) / context[..., :1].square().sum(1)
        design = torch.cat([torch.ones(16, 1), context[:, 0, 1:]], 1).double()
        asked = torch.cat([torch.ones(200, 1), its_context[:, 0, 1:]], 1).double()
        regression = torch.linalg.lstsq(design, rates).solution
        forecasts = {
            "change": rate_ahead(model, later, its_context), "levels": rate_ahead(of_levels, later, its_context),
            "mean": rates.mean(0).expand(200, 2), "regression": asked @ regression,
            "own": later[:, 0] / its_context[:, 0, :1],
        }  # fmt: skip
        for name, forecast in forecasts.items():
            errors.setdefault(name, []).append(float((forecast - rate).abs().mean()))
        _, past = model.predict(later, its_context)
        since = its_context[:, 0, :1]
        unit = torch.ones_like(later[:, 0])
        sd = model.share_of_change(since + 1, since, Moments(*past), unit).detach()
        covered.append(float(((forecasts["change"] - rate).abs() < 1.645 * sd).double().mean()))
    means = {name: float(np.mean(each)) for name, each in errors.items()}
    assert means["change"] < 0.9 * min(means[name] for name in ("mean", "regression", "own", "levels")), means
    assert 0.8 < np.mean(covered) < 0.96, covered
    print(means, covered)


def test_both_sides_share_their_effects_and_variances_and_a_midline_region_is_as_before() -> None:
    x, context, _ = drawn(24, 5)
    x = torch.cat([x, 0.5 * x[..., :1] + 0.1], 2)
    alone, together = model_of(3), model_of(3)
    fit_change_model(alone, x, context, everywhere(x))
    fit_change_model(together, x, context, everywhere(x), other_side=[1, 0, 2])
    for name in ("beta", "log_sigma", "factor"):
        found, before = getattr(together, name).detach(), getattr(alone, name).detach()
        torch.testing.assert_close(found[..., 0], found[..., 1])
        torch.testing.assert_close(found[..., 2], before[..., 2], atol=1e-6, rtol=1e-4)
    low, high = alone.beta.detach()[1, :2].sort().values
    assert low - 0.02 < together.beta.detach()[1, 0] < high + 0.02
