"""The spread of latents is that of held-out people, part by part, and the density stays one."""

import pytest
import torch
from bijections import contract
from torch import nn

from crow.bijections.principal import PrincipalComponents
from crow.bijections.temperature import LatentTemperature, calibrate_temperature
from crow.data.examples import Examples


def test_keeps_the_contract() -> None:
    def build() -> LatentTemperature:
        bijection = LatentTemperature([2, 3]).double()
        bijection.log_sd.normal_()
        return bijection

    bijection, x = build(), torch.randn(3, 5).double()
    contract.check_round_trip(bijection, x, None, 1e-9)
    contract.check_log_det(bijection, x, None)
    contract.check_gradients(bijection, x, None, context_matters=False)
    contract.check_batch(bijection, x, None)
    contract.check_state_dict(bijection, x, None, build)
    with pytest.raises(ValueError, match=r"LatentTemperature expects \[batch, 5\], got \[3, 4\]"):
        bijection(x[:, :4])


def test_each_part_has_its_own_and_few_values_move_it_little() -> None:
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([2.0, 2.0, 0.5, 0.5, 0.5])
    spread = LatentTemperature([2, 3])
    assert torch.equal(spread(x)[0], x)
    spread.fit(x)
    torch.testing.assert_close(spread.log_sd.exp(), torch.tensor([2.0, 0.5]), atol=0.1, rtol=0)
    spread.fit(x[:1])
    assert spread.log_sd.abs().max() < 0.2


def test_it_is_fitted_to_what_the_flow_gives_it() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spread = LatentTemperature([4])
            self.components = PrincipalComponents((2, 2), 3)
            self.components.directions[:2, 0] = torch.eye(2)
            self.components.log_sd[:2] = 3.0

        def loss(self, batch: Examples) -> torch.Tensor:
            assert not self.training
            return self.spread(2 * batch.x)[0].sum()

    flow, x = Twice(), torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    calibrate_temperature(flow, (Examples(part) for part in x.split(300)))
    assert flow.spread.log_sd.exp().item() == pytest.approx(2, rel=0.05)
    assert not flow.spread._forward_pre_hooks
    expected = 3 - flow.spread.log_sd * torch.tensor([1.0, 1.0, 0.0]) - torch.tensor([0.0, 0.0, 3.0])
    torch.testing.assert_close(flow.components.log_sd, expected)
