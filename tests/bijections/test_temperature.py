"""The sd of latent values is fitted per part on the validation set, and the density stays exact."""

import pytest
import torch
from bijections import contract
from torch import nn

from crow.bijections.principal import PrincipalComponents
from crow.bijections.temperature import LatentTemperature
from crow.data.examples import Examples
from crow.training.calibrate import calibrate_temperature


def test_keeps_the_contract() -> None:
    def build() -> LatentTemperature:
        bijection = LatentTemperature([2, 3]).double()
        bijection.log_sd.normal_()
        return bijection

    bijection, x = build(), torch.randn(3, 5).double()
    contract.check_round_trip(bijection, x, None)
    contract.check_log_det(bijection, x, None)
    contract.check_gradients(bijection, x, None, context_matters=False)
    contract.check_batch(bijection, x, None)
    contract.check_state_dict(bijection, x, None, build)
    with pytest.raises(ValueError, match=r"LatentTemperature expects \[batch, 5\], got \[3, 4\]"):
        bijection(x[:, :4])


def test_each_part_has_its_own_sd_and_few_values_are_shrunk_to_one() -> None:
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([2.0, 2.0, 0.5, 0.5, 0.5])
    temperature = LatentTemperature([2, 3])
    assert torch.equal(temperature(x)[0], x)
    temperature.fit(x)
    torch.testing.assert_close(temperature.log_sd.exp(), torch.tensor([2.0, 0.5]), atol=0.1, rtol=0)
    temperature.fit(x[:1])
    assert temperature.log_sd.abs().max() < 0.2


def test_calibration_uses_the_inputs_of_the_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.temperature = LatentTemperature([4])
            self.components = PrincipalComponents((2, 2), 3)
            self.components.directions[:2, 0] = torch.eye(2)
            self.components.log_sd[:2] = 3.0

        def loss(self, batch: Examples) -> torch.Tensor:
            assert not self.training
            return self.temperature(2 * batch.x)[0].sum()

    flow, x = Twice(), torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    calibrate_temperature(flow, (Examples(part) for part in x.split(300)))
    assert flow.temperature.log_sd.exp().item() == pytest.approx(2, rel=0.05)
    assert not flow.temperature._forward_pre_hooks
    expected = 3 - flow.temperature.log_sd * torch.tensor([1.0, 1.0, 0.0]) - torch.tensor([0.0, 0.0, 3.0])
    torch.testing.assert_close(flow.components.log_sd, expected)
