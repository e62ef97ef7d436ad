"""Principal components of an image, with variances that hold for new subjects."""

import pytest
import torch
from bijections import contract

from crow.bijections import principal
from crow.bijections.principal import PrincipalComponents


def made(event: tuple[int, ...]) -> PrincipalComponents:
    bijection = PrincipalComponents(event, 3).double()
    values = torch.Size(event).numel()
    bijection.directions.copy_(torch.linalg.qr(torch.randn(values, 3).double())[0].T.view(3, *event))
    bijection.log_sd.copy_(torch.tensor([1.5, 0.4, -0.3]))
    bijection.mean.copy_(torch.tensor([0.7, 0.0, -2.0]))
    return bijection


@pytest.mark.parametrize("event", [(5,), (2, 3), (1, 2, 2), (1, 2, 2, 2)])
def test_keeps_the_contract(event: tuple[int, ...]) -> None:
    bijection, x = made(event), torch.randn(3, *event).double()
    contract.check_round_trip(bijection, x, None)
    contract.check_log_det(bijection, x, None)
    contract.check_gradients(bijection, x, None, context_matters=False)
    contract.check_batch(bijection, x, None)
    contract.check_state_dict(bijection, x, None, lambda: made(event))
    assert not list(bijection.parameters())
    with pytest.raises(ValueError, match="PrincipalComponents expects"):
        bijection(torch.cat([x, x], 1))


def shared(n: int, values: int, sd: float, generator: torch.Generator) -> torch.Tensor:
    """``[n, 1, values]``: a common part of that sd along one direction, and noise of sd 1 (2 in the first half)."""
    u = torch.ones(values) / values**0.5
    noise = torch.randn(n, values, generator=generator) * torch.where(torch.arange(values) < values / 2, 2.0, 1.0)
    return (noise + sd * torch.randn(n, 1, generator=generator) * u)[:, None]


def test_new_images_are_whitened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images in chunks give the same components as all at once; every value has its own residual sd."""
    generator = torch.Generator().manual_seed(0)
    x, new = (shared(n, 60, 20.0, generator) for n in (200, 2000))
    found = PrincipalComponents((1, 60), 4)
    assert torch.equal(found(x)[0], x)
    left = found.fit(lambda rows: x[rows], torch.arange(200))
    assert left.shape == (1, 60) and found.log_sd[0].exp() * left.square().mean().sqrt() == pytest.approx(20, rel=0.15)
    torch.testing.assert_close(left[0, :30].mean(), torch.tensor(2.0), atol=0.15, rtol=0)
    torch.testing.assert_close(left[0, 30:].mean(), torch.tensor(1.0), atol=0.15, rtol=0)
    again = PrincipalComponents((1, 60), 4)
    assert again.fit(lambda rows: x[rows] / left, torch.arange(200)).mean() == pytest.approx(1, abs=0.05)
    z, _ = again(new / left)
    assert z.mean(2).std() * 60**0.5 == pytest.approx(1, abs=0.2)  # 11 before
    assert z.square().mean() == pytest.approx(1, abs=0.1)
    monkeypatch.setattr(principal, "CHUNK_BYTES", 4 * 60 * 7)
    chunks = PrincipalComponents((1, 60), 4)
    torch.testing.assert_close(chunks.fit(lambda rows: x[rows], torch.arange(200)), left, atol=1e-4, rtol=0)
    torch.testing.assert_close(chunks.log_sd, found.log_sd, atol=1e-4, rtol=0)


def test_variances_are_cross_validated_over_subjects() -> None:
    """Two similar images per subject, of noise only: components are not larger than the residual for new subjects."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 1, 900, generator=generator).repeat_interleave(2, 0)
    found = PrincipalComponents((1, 900), 8)
    left = found.fit(lambda rows: x[rows], torch.arange(24).repeat_interleave(2))
    assert found.log_sd.max() < 0.3 and left.square().mean() == pytest.approx(1, abs=0.1)
    assert torch.equal(found.log_sd[6:], torch.zeros(2)) and not found.directions[6:].any()  # one per four subjects
    among_themselves = PrincipalComponents((1, 900), 8)
    among_themselves.fit(lambda rows: x[rows], torch.arange(48))
    assert among_themselves.log_sd.max() > 0.5


def test_fewer_different_images_than_components() -> None:
    x = torch.randn(6, 1, 20, generator=torch.Generator().manual_seed(0)).repeat(20, 1, 1)
    found = PrincipalComponents((1, 20))
    assert found.fit(lambda rows: x[rows], torch.arange(120)).isfinite().all()
    assert found.log_sd.isfinite().all() and torch.equal(found.log_sd[6:], torch.zeros(principal.MAX_COMPONENTS - 6))
    u = found.directions.flatten(1)
    torch.testing.assert_close(u @ u.T, torch.eye(16) * (torch.arange(16) < 6), atol=1e-4, rtol=0)


def test_a_part_that_moves_the_components_is_undone() -> None:
    """Draws whose components were N(2, 3^2) before the layer get mean 0 and the sd that is asked for."""
    bijection = made((4, 4))
    bijection.directions[2] = 0  # a component that does not exist
    target, z = torch.tensor([0.5, -0.2, 0.0]).double(), torch.randn(4000, 4, 4).double()
    moved = bijection.along(z) * 3 + 2
    drawn = z + ((moved - bijection.along(z)) @ bijection.directions.flatten(1)).view_as(z)
    bijection.match(bijection.along(drawn), target)
    found = bijection.along(bijection.inverse(drawn)[0])
    torch.testing.assert_close(found.mean(0), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.std(0)[:2], target.exp()[:2], atol=1e-9, rtol=0)
    assert bijection.mean[2] == bijection.log_sd[2] == 0


def test_a_state_of_earlier_versions_has_mean_0() -> None:
    bijection, again = made((5,)), PrincipalComponents((5,), 3).double()
    state = {name: tensor for name, tensor in bijection.state_dict().items() if name != "mean"}
    again.mean.fill_(9.0)
    again.load_state_dict(state)
    assert not again.mean.any() and torch.equal(again.directions, bijection.directions)
