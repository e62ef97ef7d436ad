"""The regression of every voxel on attributes: exact, and as good as least squares if there are effects."""

import pytest
import torch
from bijections import contract

from crow.bijections.voxel_regression import VoxelRegression


@pytest.mark.parametrize("event", [(5,), (2, 3), (1, 2, 2), (1, 2, 2, 2)])
def test_keeps_the_contract(event: tuple[int, ...]) -> None:
    def build() -> VoxelRegression:
        bijection = VoxelRegression(event, 3).double()
        bijection.level.normal_()
        bijection.effect.normal_()
        bijection.sd.uniform_(0.5, 1.5)
        return bijection

    bijection, x, context = build(), torch.randn(3, *event).double(), torch.randn(3, 3).double()
    contract.check_round_trip(bijection, x, context)
    contract.check_log_det(bijection, x, context)
    contract.check_gradients(bijection, x, context, context_matters=True)
    contract.check_batch(bijection, x, context)
    contract.check_state_dict(bijection, x, context, build)
    assert not list(bijection.parameters())
    with pytest.raises(ValueError, match="VoxelRegression expects"):
        bijection(torch.cat([x, x], 1), context)
    with pytest.raises(ValueError, match=r"needs a context \[batch, 3\], got none"):
        bijection(x)


def attributes(n: int, generator: torch.Generator) -> torch.Tensor:
    """Two classes, whose columns add up to 1, and a number."""
    first = torch.randint(2, (n, 1), generator=generator).float()
    return torch.cat([first, 1 - first, torch.randn(n, 1, generator=generator)], 1)


def test_recovers_effects_and_the_sd_of_new_images() -> None:
    generator = torch.Generator().manual_seed(0)
    effect, sd = torch.randn(3, 1, 4, 5, generator=generator), 0.2 + torch.rand(1, 4, 5, generator=generator)

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        c = attributes(n, generator)
        noise = torch.randn(n, 1, 4, 5, generator=generator)
        return 3 + (c @ effect.flatten(1)).view(n, 1, 4, 5) + sd * noise, c

    x, c = draw(500)
    found = VoxelRegression((1, 4, 5), 3)
    assert torch.equal(found(x, c)[0], x)
    found.fit(zip(x.split(7), c.split(7), strict=True), 0.0)
    z, _ = found(*draw(4000))
    torch.testing.assert_close(z.std(0), torch.ones(1, 4, 5), atol=0.1, rtol=0)
    assert z.mean(0).abs().max() < 0.25
    class_effect, expected = found.effect[0] - found.effect[1], effect[0] - effect[1]
    assert (class_effect - expected).abs().max() < 0.25 and (found.effect[2] - effect[2]).abs().max() < 0.15
    few = VoxelRegression((1, 4, 5), 3)
    few.fit([draw(10)], 0.0)
    assert few(*draw(2000))[0].square().mean() == pytest.approx(1.3, abs=0.5)


def test_noise_and_constants_have_no_effect() -> None:
    generator = torch.Generator().manual_seed(0)
    x, c = torch.randn(20, 1, 3000, generator=generator), attributes(20, generator)
    found = VoxelRegression((1, 3000), 3)
    found.fit([(x, c)], 0.0)
    plain = torch.linalg.lstsq(c - c.mean(0), (x - x.mean(0))[:, 0]).solution
    assert found.effect.square().mean() < 0.4 * plain.square().mean()
    assert (found.effect.abs().sum((0, 1)) == 0).float().mean() > 0.5
    constant = VoxelRegression((1, 2), 3)
    constant.fit([(torch.ones(20, 1, 2), c)], 0.1)
    torch.testing.assert_close(constant.sd, torch.full((1, 2), 0.1), atol=1e-4, rtol=0)
    assert torch.equal(constant.effect, torch.zeros(3, 1, 2))
