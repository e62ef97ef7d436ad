"""CAGlow: one loss with separate gradients for both players, and an encoder that learns the attributes."""

import pytest
import torch
from torch import Tensor

from crow.data.examples import Examples
from crow.flows.caglow import CAGlow
from crow.flows.glow import Glow
from crow.networks.critic import Critic
from crow.objectives.adversarial import discriminator_loss, frozen, generator_loss, gradient_penalty
from crow.run.config import Optimisation
from crow.training.fit import train

ATTRIBUTES = (2, 1)


def subjects(n: int) -> Examples:
    """Two values: the age, and 3 times the sex, both with skewed noise."""
    generator = torch.Generator().manual_seed(0)
    sex = torch.randint(2, (n,), generator=generator)
    age, noise = torch.randn(n, 1, generator=generator), torch.rand(n, 2, generator=generator)
    x = torch.stack([age[:, 0], 3.0 * sex], 1) - 0.4 * noise.log()
    return Examples(x, torch.cat([torch.eye(2)[sex], age], 1))


def small(shape: tuple[int, ...] = (2,), greys: int = 0) -> CAGlow:
    torch.manual_seed(0)
    glow = Glow(shape, 2, 2, 8, greys)
    glow.loss(Examples(torch.randint(greys, (8, *shape)).float() if greys else torch.randn(8, *shape)))
    return CAGlow(glow, ATTRIBUTES, hidden=16, depth=2)


def gradients(flow: CAGlow, loss: Tensor) -> dict[str, Tensor | None]:
    flow.zero_grad()
    loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in flow.named_parameters()}


def test_each_player_gets_its_own_gradient() -> None:
    flow, batch = small(), subjects(16)
    torch.manual_seed(1)
    both = gradients(flow, flow.loss(batch))
    c, (code, noise) = batch.context, flow.draw_code_and_noise(batch.context)
    assert c is not None
    fake, real = flow.encode(c, code, noise), flow.glow.encode(batch.x)[0].detach().requires_grad_()
    encoder = gradients(flow, flow._encoder_loss(fake, c, code))
    critic = gradients(flow, flow._critic_loss(real, fake.detach(), c, code))
    assert all(both[name] is None for name in both if name.startswith("glow."))
    assert all(encoder[name] is None for name in both if name.startswith("critic."))
    assert all(critic[name] is None for name in both if name.startswith("encoder."))
    moved = [g for name, g in both.items() if name.startswith(("encoder.last", "critic."))]
    assert all(g is not None and bool((g != 0).any()) for g in moved)


def test_the_objective_is_as_published() -> None:
    real, fake = torch.randn(9), torch.randn(9)
    d = torch.sigmoid
    assert torch.allclose(discriminator_loss(real, fake), -(d(real).log() + (1 - d(fake)).log()).mean(), atol=1e-5)
    assert torch.allclose(generator_loss(fake), -d(fake).log().mean(), atol=1e-5)
    x = torch.randn(9, 3, requires_grad=True)
    assert torch.allclose(gradient_penalty(x @ torch.tensor([1.0, 2.0, 2.0]), x), torch.tensor(4.5))


def test_a_frozen_network_passes_gradients_to_its_inputs_only() -> None:
    torch.manual_seed(0)
    critic, z, c = Critic(4, 3, 2, hidden=8), torch.randn(5, 4, requires_grad=True), torch.randn(5, 3)
    frozen(critic, z, c).real.sum().backward()
    assert z.grad is not None and all(p.grad is None for p in critic.parameters())
    assert torch.equal(frozen(critic, z, c).code, critic(z, c).code)


@pytest.mark.parametrize(("shape", "greys"), [((5,), 0), ((1, 8, 8), 17), ((1, 4, 4, 4), 256)])
def test_it_equals_its_glow_at_initialisation(shape: tuple[int, ...], greys: int) -> None:
    flow, c = small(shape, greys).eval(), subjects(3).context
    assert c is not None
    first, again = (flow.sample(c, 2, torch.Generator().manual_seed(0)) for _ in range(2))
    assert first.shape == (2, 3, *shape) and torch.equal(first, again)
    code, noise = flow.draw_code_and_noise(c)
    assert torch.equal(flow.generate(c, code, noise), flow.glow.decode(noise))
    torch.manual_seed(0)
    density = flow.log_prob(first[0], c)
    torch.manual_seed(0)
    assert torch.equal(density, flow.glow.log_prob(first[0]))


def test_the_regression_of_the_glow_holds_before_the_encoder_is_trained() -> None:
    data = subjects(400)
    glow = Glow((2,), depth=2, hidden=8, context=3)
    glow.initialise(data, torch.arange(400))
    flow = CAGlow(glow, ATTRIBUTES, hidden=16, depth=2).eval()
    drawn = flow.sample(torch.tensor([[1.0, 0, 1.0], [0, 1, -1.0]]), 2000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.mean(0), torch.tensor([[1.4, 0.4], [-0.6, 3.4]]), atol=0.1)
    assert data.context is not None
    torch.testing.assert_close(flow.log_prob(data.x, data.context), glow.log_prob(data.x, data.context))
    away, far = (float(flow.loss(Examples(x, data.context)).detach()) for x in (data.x, data.x.flip(0)))
    assert abs(away) < 0.2 * far


@pytest.mark.slow
def test_it_learns_the_attributes_and_keeps_the_rest_random() -> None:
    data = subjects(700)
    torch.manual_seed(0)
    glow = Glow((2,), depth=3, hidden=16)
    settings = Optimisation(max_epochs=15, steps_per_epoch=20, learning_rate=0.01, patience=15, threads=1)
    train(glow, data[:600], data[600:], settings, 0)
    flow = CAGlow(glow, ATTRIBUTES, code=1, hidden=32, depth=2)
    fixed = {name: tensor.clone() for name, tensor in glow.state_dict().items()}
    game = settings.model_copy(update={"max_epochs": 40, "learning_rate": 2e-3, "patience": 40})
    fit = train(flow, data[:600], data[600:], game, 0)
    assert fit.validation_loss < 0.2 * fit.history["validation"][0]
    assert all(torch.equal(tensor, fixed[name]) for name, tensor in flow.glow.state_dict().items())
    drawn = flow.sample(torch.tensor([[1.0, 0, 1.0], [0, 1, -1.0]]), 2000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.mean(0), torch.tensor([[1.4, 0.4], [-0.6, 3.4]]), atol=0.25)
    assert bool((drawn.std(0) > 0.05).all())
    c, (code, noise) = drawn.new_tensor([[1.0, 0, 0]]).expand(500, 3), flow.draw_code_and_noise(torch.zeros(500, 3))
    prediction = flow.critic(flow.encode(c, code, noise), c).code
    assert float(torch.corrcoef(torch.stack([prediction[:, 0], code[:, 0]]).detach())[0, 1]) > 0.5
