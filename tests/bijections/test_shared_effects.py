"""Random effects that regions share: exact beside a dense normal distribution, and only if the data have them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from crow.bijections.innovation import MixedModelInnovation, posterior
from crow.bijections.innovation_fit import fit_mixed_model
from crow.bijections.shared_effects import Evidence, expected, most_factors

REGIONS, VISITS = 4, 5


def model_with(loadings: float) -> MixedModelInnovation:
    model = MixedModelInnovation(REGIONS, [0]).double().requires_grad_(False)
    g = torch.Generator().manual_seed(0)
    model.beta.copy_(torch.randn(model.beta.shape, generator=g, dtype=torch.double))
    model.log_sigma.copy_(0.3 * torch.randn(REGIONS, generator=g, dtype=torch.double))
    model.factor.copy_(torch.tensor([[1.5], [0.3], [0.5]]) * torch.rand(3, REGIONS, generator=g, dtype=torch.double))
    model.loadings.copy_(loadings * torch.randn(model.loadings.shape, generator=g, dtype=torch.double).clamp(-1, 1))
    return model


def dense(model: MixedModelInnovation, x: Tensor, time: Tensor, measured: Tensor, visit: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of a visit of one subject, from the covariance of all values of all regions."""
    u = model.loadings.flatten(0, 1)
    phi = u @ u.T + torch.diag(1 - u.square().sum(1))
    l11, l21, l22 = model.factor
    z = torch.cat([torch.block_diag(*(l11 + l21 * t)[:, None]) @ phi[:REGIONS] + torch.block_diag(*(l22 * t)[:, None])
                   @ phi[REGIONS:] for t in time])  # fmt: skip
    full = torch.cat([torch.cat([torch.diag(l11 + l21 * t), torch.diag(l22 * t)], 1) for t in time])
    sigma = model.log_sigma.exp().repeat(len(time))
    covariance = sigma[:, None] * (z @ full.T + torch.eye(len(z))) * sigma
    mean = (model.beta[0] + time[:, None] * model.beta[1]).flatten()
    known = torch.cat([measured[:visit].flatten(), torch.zeros((len(time) - visit) * REGIONS, dtype=torch.bool)])
    asked = slice(visit * REGIONS, (visit + 1) * REGIONS)
    gain = torch.linalg.solve(covariance[known][:, known], covariance[known, asked]).T
    centred = (x.flatten() - mean)[known]
    return mean[asked] + gain @ centred, (covariance[asked, asked] - gain @ covariance[known, asked]).diagonal()


@pytest.mark.parametrize("share", [0.0, 0.5], ids=["complete", "half missing"])
def test_predictions_are_those_of_all_regions_together(share: float) -> None:
    model, g = model_with(0.6), torch.Generator().manual_seed(1)
    time = torch.rand(VISITS, generator=g, dtype=torch.double).cumsum(0)
    measured = torch.rand(VISITS, REGIONS, generator=g) >= share
    x = torch.randn(VISITS, REGIONS, generator=g, dtype=torch.double) * measured
    prediction, _ = model.predict(x[None], time[None, :, None], None, measured[None] if share else None)
    for visit in range(VISITS):
        mean, variance = dense(model, x, time, measured, visit)
        torch.testing.assert_close(prediction.mean[0, visit], mean)
        torch.testing.assert_close(prediction.sd[0, visit], variance.sqrt())


def test_regions_that_share_nothing_are_predicted_one_by_one() -> None:
    g = torch.Generator().manual_seed(2)
    factor, sigma = torch.rand(3, REGIONS, generator=g), torch.ones(REGIONS)
    n, t, tt = (torch.tensor([[3.0]]), torch.tensor([[2.0]]), torch.tensor([[4.0]]))
    r, tr = torch.randn(2, 1, REGIONS, generator=g)
    c00, c01, c11, _ = posterior(factor, n, t, tt)
    evidence = Evidence.of(factor, sigma, n, t, tt, r, tr)
    later = torch.tensor([[5.0]])
    z = factor[0] + factor[1] * later, factor[2] * later
    mean, variance = expected(evidence, torch.zeros(2, REGIONS, most_factors(REGIONS)), *z)
    torch.testing.assert_close(mean, c00 * r + c01 * (tr + later * r) + c11 * later * tr)
    torch.testing.assert_close(variance, c00 + 2 * c01 * later + c11 * later.square())


def cohort(shared: float, subjects: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """x, context (time) and which values were measured: half, and all of the last visit."""
    g = torch.Generator().manual_seed(seed)
    level = shared**0.5 * torch.randn(subjects, 1, 1, generator=g) + (1 - shared) ** 0.5 * torch.randn(
        subjects, 1, REGIONS, generator=g
    )
    measured = torch.rand(subjects, VISITS, REGIONS, generator=g) < 0.5
    measured[:, -1] = True
    x = (level + 0.5 * torch.randn(subjects, VISITS, REGIONS, generator=g)) * measured
    return x, torch.arange(float(VISITS)).expand(subjects, VISITS)[..., None], measured


def test_a_region_that_was_seldom_measured_borrows_from_the_others() -> None:
    x, time, measured = cohort(0.8, 200, seed=0)
    model = MixedModelInnovation(REGIONS, [0])
    fit_mixed_model(model, x, time, torch.ones(x.shape[:2], dtype=torch.bool), measured)
    x, time, measured = cohort(0.8, 500, seed=1)
    alone = MixedModelInnovation(REGIONS, [0])
    alone.load_state_dict({**model.state_dict(), "loadings": torch.zeros_like(model.loadings)})
    with torch.no_grad():
        error, of_alone = (
            float((x - each.predict(x, time, None, measured)[0].mean)[:, -1].square().mean()) for each in (model, alone)
        )
        sd = model.predict(x, time, None, measured)[0].sd[:, -1]
    assert error < 0.9 * of_alone
    assert error == pytest.approx(float(sd.square().mean()), rel=0.1)


def test_regions_without_anything_in_common_share_nothing() -> None:
    x, time, measured = cohort(0.0, 200, seed=0)
    model = MixedModelInnovation(REGIONS, [0])
    fit_mixed_model(model, x, time, torch.ones(x.shape[:2], dtype=torch.bool), measured)
    assert not model.loadings.any()
