"""Effects that a small cohort hardly knows are shrunk, and their uncertainty is part of its intervals."""

import math
import warnings

import numpy as np
import pytest
import statsmodels.api as sm
import torch

from crow.bijections.effect_shrinkage import shrink_effects
from crow.bijections.innovation import MixedModelInnovation
from crow.bijections.innovation_fit import fit_mixed_model
from crow.bijections.innovation_sums import Sums, VisitValues
from crow.bijections.spread_fit import likeliest_factor

REGIONS = 3


def drawn(subjects, seed, covariates=6, effect=0.0, visits=4, missing=0.0):
    """Lines of subjects with noise; ``effect`` of the first covariate on the level, none of the others."""
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(0.5, 1.5, (subjects, visits)), 1)
    time = (time - time[:, :1]) / 3
    c = np.repeat(rng.normal(size=(subjects, 1, covariates)), visits, 1)
    b0, b1 = rng.normal(size=(2, subjects, 1, REGIONS))
    x = effect * c[..., :1] + 0.8 * b0 + 0.4 * (time[..., None] + b1 * time[..., None])
    x = torch.tensor(x + 0.3 * rng.normal(size=x.shape))
    measured = torch.tensor(rng.random(x.shape) >= missing) if missing else None
    context, mask = torch.tensor(np.concatenate([time[..., None], c], -1)), torch.ones(x.shape[:2], dtype=torch.bool)
    return x, context, mask, measured


def model_of(covariates=6, trends=()):
    return MixedModelInnovation(REGIONS, range(1 + covariates), trends).double()


def sums_of(data, model, rows):
    values = VisitValues.of(*data)
    return values, Sums.of(values, model, rows)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_gradient_of_the_integrated_likelihood_is_that_of_autograd(missing):
    model = model_of(2, trends=(1, 2))
    _, sums = sums_of(drawn(12, 0, 2, missing=missing), model, list(range(7)))
    precision = torch.rand(REGIONS, 7, generator=torch.Generator().manual_seed(0)).double()
    precision[:, :2] = 0
    factor = torch.tensor([[1.0, 0.5, 2.0], [0.3, -0.2, 0.0], [0.4, 0.8, 0.2]]).double().requires_grad_()
    value = sums.shrunk(factor, precision)[2]
    (expected,) = torch.autograd.grad(value.sum(), factor)
    found, gradient = sums.slope(factor.detach(), precision)
    torch.testing.assert_close(found, value.detach())
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-8)


def test_without_priors_it_is_the_restricted_likelihood_of_statsmodels():
    data = drawn(15, 1, 3, effect=0.5)
    model = model_of(3)
    _, sums = sums_of(data, model, list(range(5)))
    flat = torch.zeros(REGIONS, 5).double()
    factor = likeliest_factor(sums, torch.ones(REGIONS, dtype=torch.bool), False, None, flat)
    beta, sigma, _, covariance = sums.shrunk(factor, flat)
    x, context, mask, _ = data
    design = np.column_stack([np.ones(int(mask.sum())), context[mask].numpy()])
    for region in range(REGIONS):
        other = sm.MixedLM(x[mask][:, region].numpy(), design, np.nonzero(mask.numpy())[0], design[:, :2])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits = [other.fit(reml=True, method=method, maxiter=500) for method in ("bfgs", "powell")]
        expected = max(fits, key=lambda fit: fit.llf)
        l11, l21, l22 = factor[:, region].tolist()
        g = np.array([[l11, 0], [l21, l22]])
        np.testing.assert_allclose(beta[:, region], expected.fe_params, atol=5e-3)
        assert float(sigma[region]) ** 2 == pytest.approx(expected.scale, rel=2e-2)
        np.testing.assert_allclose(g @ g.T * float(sigma[region]) ** 2, expected.cov_re, atol=2e-2)
        information = np.zeros((5, 5))  # statsmodels' standard errors contain those of the variances
        for own in np.split(design, len(x)):
            v = np.eye(len(own)) + own[:, :2] @ g @ g.T @ own[:, :2].T
            information += own.T @ np.linalg.solve(v, own)
        np.testing.assert_allclose(covariance[region], np.linalg.inv(information), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_what_is_unknown_of_effects_is_the_spread_of_subjects_lines(missing):
    """That of lines through what draws of the effects predict at the visits, weighted by what these say of a line."""
    model = model_of(2, trends=(1,))
    values, sums = sums_of(drawn(12, 0, 2, missing=missing), model, list(range(5)))
    rng = np.random.default_rng(0)
    root = rng.normal(size=(REGIONS, 5, 5))
    covariance = root @ root.transpose(0, 2, 1)
    found = sums.uncertainty(torch.tensor(covariance))
    c = values.context.numpy()
    f = np.concatenate([np.ones_like(c[..., :1]), c, c[..., :1] * c[:, :1, 1:2]], -1)
    there = values.there.expand(values.x.shape).numpy().astype(bool)
    for region in range(REGIONS):
        total, weights = 0.0, 0.0
        for k in range(len(c)):
            z = np.column_stack([np.ones(there[k, :, region].sum()), c[k, there[k, :, region], 0]])
            if len(z) < 2:
                continue
            line = np.linalg.pinv(z) @ f[k, there[k, :, region]]
            weight = np.linalg.det(z.T @ z) ** 2
            total, weights = total + weight * line @ covariance[region] @ line.T, weights + weight
        np.testing.assert_allclose(found[..., region], total / weights, rtol=1e-6)


def test_effects_of_nothing_are_shrunk_and_a_strong_one_is_not():
    found = {0.0: [], 3.0: []}
    plain, rows, slopes = [], list(range(8)), torch.ones(REGIONS, dtype=torch.bool)
    for seed in range(6):
        data = drawn(20, seed)
        values = VisitValues.of(*data)
        for effect, into in found.items():
            own = values._replace(x=values.x + effect * values.context[..., 1:2])
            model = model_of()
            sums = Sums.of(own, model, rows)
            factor = likeliest_factor(sums, slopes, True)
            with torch.no_grad():
                shrink_effects(model, own, rows, slopes, factor)
            into.append(model.beta[rows].detach())
            if not effect:
                plain.append(sums.profile(factor)[0])
    shrunk, likeliest = (float(torch.stack(each)[:, 3:].square().mean().sqrt()) for each in (found[0.0], plain))
    assert shrunk < 0.6 * likeliest
    assert float(torch.stack(found[3.0])[:, 2].mean()) == pytest.approx(3, abs=0.15)


def test_intervals_of_small_cohorts_cover_new_subjects():
    """Of 20 subjects with 6 covariates: by maximum likelihood, those of first and last visits are far too narrow."""
    covered = {True: [], False: []}
    for seed in range(12):
        data, (x, context, _, _) = drawn(20, seed), drawn(300, 100 + seed)
        for plain, into in covered.items():
            model = model_of(trends=range(1, 7))
            fit_mixed_model(model, *data, plain=plain)
            with torch.no_grad():
                prediction = model.predict(x, context)[0]
                first, later = model.correlation.norm(dim=-1)
            sd = prediction.sd * torch.where(prediction.new, first, later)
            inside = ((x - prediction.mean).abs() < 1.645 * sd).double()
            into.append([float(inside[:, 0].mean()), float(inside[:, -1].mean())])
    assert (np.mean(covered[True], 0) < [0.75, 0.85]).all(), covered
    assert (np.abs(np.mean(covered[False], 0) - 0.9) < 0.03).all(), covered


def test_subjects_with_one_visit_leave_the_level_unknown():
    data = drawn(15, 0, visits=1)
    model = model_of(trends=range(1, 7))
    fit_mixed_model(model, *data)
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
    with torch.no_grad():
        assert math.isfinite(float(model.predict(data[0], data[1])[0].sd.sum()))
