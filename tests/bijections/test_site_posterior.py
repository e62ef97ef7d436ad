"""Unknown effects of sites given the past: the conditional distribution of a dense normal."""

from __future__ import annotations

import torch

from crow.bijections.innovation import MixedModelInnovation
from crow.bijections.site_posterior import UnknownEffects, normal_points
from crow.data.sequences import Sequences


def test_the_posterior_is_that_of_the_dense_normal() -> None:
    random = torch.Generator().manual_seed(0)
    batch, time, regions = 3, 4, 2
    mixed = MixedModelInnovation(regions, [0]).double()
    with torch.no_grad():
        mixed.beta.copy_(torch.randn(2, regions, generator=random))
        mixed.log_sigma.copy_(torch.tensor([-0.5, 0.2]))
        mixed.factor.copy_(torch.tensor([[1.5, 0.7], [0.2, -0.1], [0.4, 0.3]]))
    t = torch.arange(time, dtype=torch.double).expand(batch, time)
    x = torch.randn(batch, time, regions, generator=random, dtype=torch.double)
    measured = torch.rand(batch, time, regions, generator=random) < 0.8
    data = Sequences(x, t[..., :0, None], t, torch.ones(batch, time, dtype=torch.bool), measured)
    weight = torch.rand(batch, time, 2, regions, generator=random, dtype=torch.double)
    found = UnknownEffects.given(mixed, data, weight, t.unsqueeze(-1))
    factor, beta = mixed.factor.detach(), mixed.beta.detach()
    for i in range(batch):
        for d in range(regions):
            lower = torch.tensor([[factor[0, d], 0.0], [factor[1, d], factor[2, d]]], dtype=torch.double)
            for k in range(time + 1):
                rows = measured[i, :, d] & (torch.arange(time) < k)
                z = torch.stack([torch.ones(time), t[i]], 1)[rows].double()
                own = torch.exp(2 * mixed.log_sigma[d].detach()) * (torch.eye(len(z)) + z @ lower @ lower.T @ z.T)
                w = weight[i, rows, :, d]
                r = x[i, rows, d] - beta[0, d] - beta[1, d] * t[i, rows]
                precision = torch.eye(2) + w.T @ torch.linalg.inv(own) @ w
                mean = torch.linalg.solve(precision, w.T @ torch.linalg.inv(own) @ r)
                torch.testing.assert_close(found.mean[i, k, d], mean, rtol=1e-6, atol=1e-8)
                covariance = found.root[i, k, d] @ found.root[i, k, d].T
                torch.testing.assert_close(covariance, torch.linalg.inv(precision), rtol=1e-6, atol=1e-8)


def test_points_have_mean_zero_and_variance_one_and_stay_the_same() -> None:
    points = normal_points(32, 3, 4)
    torch.testing.assert_close(points.mean(0), torch.zeros(3, 4, dtype=torch.double))
    torch.testing.assert_close(points.square().mean(0), torch.ones(3, 4, dtype=torch.double))
    assert torch.equal(points, normal_points(32, 3, 4))
