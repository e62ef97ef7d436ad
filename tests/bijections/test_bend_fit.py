"""The likeliest bend of a covariate: its density is that of the model, and no bend near it is likelier."""

import pytest
import torch
from torch import Tensor

from crow.bijections.bend_fit import Residuals, likeliest_bend
from crow.bijections.innovation import KNOTS, MixedModelInnovation, effects
from crow.bijections.innovation_fit import fit_mixed_model
from crow.bijections.innovation_sums import Sums, VisitValues

REGIONS, ROW = 3, 1


def cohort(missing: bool) -> tuple[MixedModelInnovation, VisitValues]:
    """40 subjects with 1 to 5 visits and a covariate that counts only below 0; a model that is fitted without bends."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.double)

    mask = torch.arange(5) < torch.randint(1, 6, (40, 1), generator=generator)
    time, c = torch.arange(5.0).double().expand(40, 5).unsqueeze(-1), normal(40, 5, 1)
    x = c.clamp_max(0) * torch.tensor([1.0, -2.0, 0.5]) + normal(40, 1, REGIONS) + 0.3 * normal(40, 5, REGIONS)
    measured = torch.rand(x.shape, generator=generator) > 0.2 if missing else None
    model = MixedModelInnovation(REGIONS, [0, 1], [1]).double()
    context = torch.cat([time, c], -1)
    fit_mixed_model(model, x, context, mask, measured)
    model.bend.zero_()
    model.knots[ROW] = torch.tensor([-0.7, 0.0, 0.7])
    model.loadings = model.loadings[..., :0]
    return model, VisitValues.of(x, context, mask, measured)


def density(model: MixedModelInnovation, data: VisitValues) -> float:
    z, log_det, _ = model(data.x, data.context, None, data.measured)
    return float((log_det - 0.5 * z.square().sum(-1))[data.mask].sum())


@pytest.mark.parametrize("missing", [False, True])
@torch.no_grad()
def test_the_density_is_that_of_the_model(missing: bool) -> None:
    model, data = cohort(missing)
    residuals, found = Residuals.of(model, data), []
    for shift in (0.0, 0.3):
        model.beta += shift
        model.log_sigma += shift
        fixed = effects(model, data.context, data.context[:, 0, model.trends]) @ model.beta
        found.append(float(residuals.log_prob(fixed, model.log_sigma.exp())) - density(model, data))
    assert found[0] == pytest.approx(found[1], rel=1e-9)


@pytest.mark.parametrize("missing", [False, True])
@torch.no_grad()
def test_no_bend_near_it_is_likelier(missing: bool) -> None:
    model, data = cohort(missing)
    rows = [0, 1, 2, 3, 4]  # with the effects of the first value on slope and level

    def penalised(bend: Tensor) -> float:
        model.bend[ROW] = bend
        beta, sigma, _ = Sums.of(data, model, rows).profile(model.factor)
        model.beta[rows], model.log_sigma[:] = beta, sigma.log()
        return density(model, data) - 0.5 * float(bend.square().sum())

    best = likeliest_bend(model, ROW, data, rows)
    assert best[1] < -0.1 and not model.bend.any()
    top = penalised(best)
    for step in 0.02 * torch.cat([torch.eye(KNOTS), -torch.eye(KNOTS)]).double():
        assert penalised(best + step) < top
