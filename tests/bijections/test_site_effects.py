"""Effects of sites: the likelihood that they maximise, and the effects that they recover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from crow.bijections.innovation import MixedModelInnovation
from crow.bijections.innovation_fit import fit_mixed_model
from crow.bijections.site_effects import SiteEstimate, estimate_sites
from crow.bijections.site_likelihood import SiteModel
from crow.bijections.site_visits import SiteVisits

COUNTS = [2, 3]
BATCH, TIME, REGIONS = 7, 4, 2


def double(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@pytest.fixture
def visits() -> SiteVisits:
    values = torch.rand(BATCH, TIME, REGIONS, generator=torch.Generator().manual_seed(1)) < 0.8
    choose = torch.Generator().manual_seed(2)
    codes = torch.stack(
        [torch.randint(-1, 2, (BATCH, TIME), generator=choose), torch.randint(2, 5, (BATCH, TIME), generator=choose)],
        -1,
    )
    return SiteVisits.of(double(BATCH, TIME, REGIONS, seed=3), values, codes, COUNTS)


@pytest.fixture
def model() -> SiteModel:
    t = torch.arange(TIME, dtype=torch.double).expand(BATCH, TIME).unsqueeze(-1)
    f = torch.cat([torch.ones_like(t), t, double(BATCH, TIME, 1, seed=4)], -1)
    factor = torch.tensor([[1.5, 0.8], [0.1, -0.2], [0.3, 0.5]], dtype=torch.double)
    sigma = torch.tensor([0.5, 0.8], dtype=torch.double)
    return SiteModel(double(5, REGIONS, seed=5), 0.2 * double(5, REGIONS, seed=6), double(3, REGIONS, seed=7),
                     sigma.log(), factor, f, t)  # fmt: skip


def of_each_subject(visits: SiteVisits, model: SiteModel, d: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of region d: rows that were measured, and mean and covariance of y there."""
    found = []
    lower = torch.tensor([[model.factor[0, d], 0.0], [model.factor[1, d], model.factor[2, d]]], dtype=torch.double)
    for i in range(BATCH):
        rows = visits.there[i, :, d].bool()
        z = torch.cat([torch.ones(TIME, 1), model.t[i]], 1)[rows]
        covariance = torch.exp(2 * model.log_sigma[d]) * (torch.eye(len(z)) + z @ lower @ lower.T @ z.T)
        scale = visits.of_visits(model.log_scale)[i, rows, d].exp()
        mean = visits.of_visits(model.level)[i, rows, d] + scale * (model.f[i, rows] @ model.beta[:, d])
        found.append((rows, mean, scale[:, None] * covariance * scale))
    return found


def test_the_likelihood_is_that_of_the_dense_normal(visits: SiteVisits, model: SiteModel) -> None:
    for d in range(REGIONS):
        expected = sum(
            multivariate_normal(mean.numpy(), covariance.numpy()).logpdf(visits.y[i, rows, d].numpy())
            for i, (rows, mean, covariance) in enumerate(of_each_subject(visits, model, d))
            if rows.any()
        )
        constant = -0.5 * float(np.log(2 * np.pi)) * float(visits.there[..., d].sum())
        assert float(model.log_prob(visits)[d]) + constant == pytest.approx(float(expected), rel=1e-10)


def test_levels_solve_the_generalised_least_squares_with_flat_fixed_effects(
    visits: SiteVisits, model: SiteModel
) -> None:
    left, right = model.equations(visits, eliminate=True)
    for d in range(REGIONS):
        columns, targets = [], []
        for i, (rows, _, covariance) in enumerate(of_each_subject(visits, model, d)):
            weights = torch.linalg.inv(torch.linalg.cholesky(covariance))
            scale = visits.of_visits(model.log_scale)[i, rows, d].exp()
            w = torch.nn.functional.one_hot(visits.codes[i], 6).sum(1)[rows, :5].double()
            columns.append(weights @ torch.cat([scale[:, None] * model.f[i, rows], w], 1))
            targets.append(weights @ visits.y[i, rows, d])
        a, y = torch.cat(columns), torch.cat(targets)
        f, w = a[:, :3], a[:, 3:]
        rest = torch.eye(len(a)) - f @ torch.linalg.solve(f.T @ f, f.T)
        variance = torch.exp(2 * model.log_sigma[d])
        torch.testing.assert_close(left[d] / variance, w.T @ rest @ w, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(right[d] / variance, w.T @ rest @ y, rtol=1e-6, atol=1e-8)


def test_the_curvature_is_the_second_derivative(visits: SiteVisits, model: SiteModel) -> None:
    b = model.log_scale.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(replace(model, log_scale=b).log_prob(visits).sum(), b, create_graph=True)
    rows = [
        [torch.autograd.grad(gradient[j, d], b, retain_graph=True)[0][j, d] for d in range(REGIONS)] for j in range(5)
    ]
    expected = -torch.tensor(rows)
    found, first = model.curvature(visits)
    count = torch.nn.functional.one_hot(visits.codes, 6).sum(2).double().permute(2, 0, 1).flatten(1)[:5]
    least = 0.5 * count @ visits.there.flatten(0, 1)
    torch.testing.assert_close(found, torch.maximum(expected, least))
    one = [torch.autograd.grad(_of_subject(visits, model, i, b).sum(), b)[0].square() for i in range(BATCH)]
    torch.testing.assert_close(first, torch.stack(one).sum(0))


def _of_subject(visits: SiteVisits, model: SiteModel, i: int, log_scale: Tensor) -> Tensor:
    alone = replace(visits, y=visits.y[i : i + 1], there=visits.there[i : i + 1], codes=visits.codes[i : i + 1])
    return replace(model, f=model.f[i : i + 1], t=model.t[i : i + 1], log_scale=log_scale).log_prob(alone)


class Simulated:
    """Visits of a mixed model of one region per column, at sites with known effects; subjects change sites."""

    def __init__(self, subjects: int, sites: int, regions: int, seed: int, spread: float, scale_spread: float) -> None:
        random = torch.Generator().manual_seed(seed)
        normal = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.double)  # noqa: E731
        self.level, self.log_scale = spread * normal(sites, regions), scale_spread * normal(sites, regions)
        self.level, self.log_scale = (v - v.mean(0) for v in (self.level, self.log_scale))
        first = torch.randint(0, sites, (subjects, 1), generator=random)
        change = torch.rand(subjects, 1, generator=random) < 0.5
        later = torch.arange(5) >= torch.randint(1, 5, (subjects, 1), generator=random)
        other = (first + torch.randint(1, sites, (subjects, 1), generator=random)) % sites
        self.codes = torch.where(change & later, other, first).unsqueeze(-1)
        t = torch.arange(5, dtype=torch.double).expand(subjects, 5).unsqueeze(-1) / 3
        self.context = torch.cat([t, torch.zeros(subjects, 5, 2), normal(subjects, 1, 1).expand(-1, 5, 1)], -1)
        x = (
            0.5 * self.context[..., 3:]
            - 0.3 * t
            + normal(subjects, 1, regions)
            + 0.2 * t * normal(subjects, 1, regions)
        )
        x = x + 0.2 * normal(subjects, 5, regions)
        self.x = x
        self.y = self.level[self.codes[..., 0]] + self.log_scale[self.codes[..., 0]].exp() * x
        self.mask = torch.ones(subjects, 5, dtype=torch.bool)

    def estimate(self, counts: list[int]) -> SiteEstimate:
        visits = SiteVisits.of(self.y, torch.ones_like(self.y).bool(), self.codes, counts)
        mixed = MixedModelInnovation(self.y.shape[2], [0, 3], [3]).double()
        found = SiteEstimate.none(counts, self.y.shape[2])
        for _ in range(2):
            fit_mixed_model(mixed, visits.adjusted(found.level, found.log_scale), self.context, self.mask)
            found = estimate_sites(visits, mixed, self.context, found)
        return found


@pytest.mark.parametrize("sites", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_effects_are_recovered_within_their_intervals(sites: int) -> None:
    z = []
    for seed in range(3):
        simulated = Simulated(120, sites, 4, seed, spread=0.6, scale_spread=0.15)
        found = simulated.estimate([sites])
        z.append((found.level - simulated.level) / found.level_sd)
        z.append((found.log_scale - simulated.log_scale) / found.log_scale_sd)
        assert (found.level - simulated.level).abs().max() < 0.2
        assert (found.log_scale - simulated.log_scale).abs().max() < 0.2
    inside = (torch.cat([each.flatten() for each in z]).abs() < 1.645).double().mean()
    assert 0.8 < float(inside) < 0.98


def test_without_differences_between_sites_none_are_found() -> None:
    found = Simulated(120, 8, 4, seed=5, spread=0.0, scale_spread=0.0).estimate([8])
    assert found.level.abs().max() < 0.05
    assert found.log_scale.abs().max() < 0.05


def test_a_site_with_few_subjects_borrows_from_the_others() -> None:
    simulated = Simulated(120, 8, 4, seed=6, spread=0.3, scale_spread=0.0)
    rows = (simulated.codes[..., 0] != 7).all(1)
    rows[(~rows).nonzero()[0]] = True  # one subject of the last site stays
    for name in ("codes", "context", "y", "mask"):
        setattr(simulated, name, getattr(simulated, name)[rows])
    found = simulated.estimate([8])
    assert found.level_sd[7].mean() > 1.5 * found.level_sd[:7].mean()
    assert found.level[7].abs().max() < 0.8


def test_what_age_explains_is_no_effect_of_a_site() -> None:
    simulated = Simulated(200, 2, 3, seed=7, spread=0.0, scale_spread=0.0)
    # Subjects of the second site are 2 sd older, nobody changes site, and sites do not differ.
    older = torch.arange(200) % 2
    simulated.codes = older[:, None, None].expand(-1, 5, 1).clone()
    simulated.context[..., 3] += 2.0 * older[:, None]
    simulated.y = simulated.x + older[:, None, None] * 2.0 * 0.5
    found = simulated.estimate([2])
    assert (simulated.y[older == 1].mean() - simulated.y[older == 0].mean()) > 0.8
    assert ((found.level[1] - found.level[0]).abs() < 0.35).all()
