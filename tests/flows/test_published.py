"""CRow as published: the terms of its objective, its exact inverse, and group differences like the cohort's."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from bijections import contract
from flows.random_sequences import fill_pads, sequences
from torch import Tensor

from crow.data.sequences import Sequences
from crow.flows.published import PublishedCRow
from crow.objectives.mmd import mmd
from crow.run.config import load_config
from crow.training.fit import train

PRESET = Path(__file__).parents[2] / "configs" / "published.yaml"
EFFECTS = torch.tensor([-1.5, -1.0, -0.5, 0.5, 1.0, 1.5])


def random_model(features: int = 3, covariates: int = 2) -> PublishedCRow:
    torch.manual_seed(0)
    model = PublishedCRow(features, covariates, hidden=4).double()
    contract.perturb(model)
    return model.eval()


def seeded_loss(model: PublishedCRow, data: Sequences) -> Tensor:
    torch.manual_seed(3)
    return model.loss(data)


def test_round_trip() -> None:
    model = random_model()
    contract.check_round_trip(model.map, sequences(4, 8).x, None)
    contract.check_log_det(model.map, sequences(2, 8, lengths=(2,)).x, None)


def test_the_loss_is_as_published() -> None:
    """Term by term and visit by visit, with the same noise, for subjects who all have every visit."""
    model, data = random_model(), sequences(7, 3)
    x, y, (n, times) = data.x, data.context, data.mask.shape
    torch.manual_seed(3)
    draw = partial(torch.randn, n, times, dtype=torch.float64)
    u = torch.cat([x, 3e-2 * draw(5)], -1)
    y_there, z_there, pad_there = y + 3e-3 * draw(2), draw(4), 3e-2 * draw(2)
    y_back, z_back, pad_back = y + 3e-3 * draw(2), draw(4), 3e-2 * draw(2)
    z, pad, y_out = model.map(u)[0].split([4, 2, 2], -1)
    again = model.map.inverse(torch.cat([z + 3e-3 * draw(4), pad_back, y_back], -1))[0]
    generated = model.map.inverse(torch.cat([z_back, pad_back, y_back], -1))[0][..., :3]
    expected = 0.0
    for t in range(times):
        visit = slice(t, t + 1)
        everybody = data.mask[:, visit]
        returned, asked = torch.cat([pad, y_out], -1)[:, t], torch.cat([pad_there, y_there], -1)[:, t]
        joint, wanted = torch.cat([z, y_out], -1)[:, visit], torch.cat([z_there, y_there], -1)[:, visit]
        expected += 300 * (returned - asked).square().mean() + 150 * (again - u)[:, t].square().mean()
        expected += 300 * mmd(joint, wanted, everybody)[0] + 100 * mmd(generated[:, visit], x[:, visit], everybody)[0]
    torch.testing.assert_close(seeded_loss(model, data), expected, atol=1e-9, rtol=1e-9)


def test_a_visit_counts_by_the_share_of_subjects_that_have_it() -> None:
    """Every subject once with a second visit and once without: the visit adds half as much."""
    model = random_model()
    both = sequences(60, 3, lengths=(2,))
    some = replace(both, mask=torch.tensor([[True, True], [True, False]] * 30))
    none = replace(both, mask=torch.tensor([[True, False]] * 60))
    added = [seeded_loss(model, data) - seeded_loss(model, none) for data in (some, both)]
    assert (added[0] / added[1]).item() == pytest.approx(0.5, abs=0.1)


def test_pads_have_no_effect() -> None:
    model, data = random_model(), sequences(8, 3, lengths=(4, 1, 3, 2))
    torch.testing.assert_close(seeded_loss(model, fill_pads(data, 30.0)), seeded_loss(model, data))


def test_gradients_reach_every_parameter() -> None:
    model = random_model()
    seeded_loss(model, sequences(8, 3, lengths=(4, 1, 3, 2))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool((parameter.grad != 0).any()), name


def test_the_ramp_of_generated_visits_is_saved() -> None:
    """600^(step / 300) / 600 in training, up to 1; 1 in evaluation."""
    model = random_model()
    assert model.ramp() == 1.0
    model.train()
    found = {}
    for step in (0, 150, 299, 300, 2000):
        model.step.fill_(step)
        found[step] = float(model.ramp())
    assert found == pytest.approx({0: 1 / 600, 150: 600**-0.5, 299: 600 ** (-1 / 300), 300: 1.0, 2000: 1.0}, rel=1e-5)
    model.step.fill_(41)
    model.loss(sequences(4, 3))
    other = random_model()
    other.load_state_dict(model.state_dict())
    assert int(other.step) == 42
    model.eval().loss(sequences(4, 3))
    assert int(model.step) == 42


def test_generated_visits_are_weighted_by_the_ramp() -> None:
    model, data = random_model(), sequences(5, 3)
    full = seeded_loss(model, data).item()
    ramps, losses = [], []
    for step in (0, 150, 250, 299):
        model.train().step.fill_(step)
        losses.append(seeded_loss(model, data).item())
        ramps.append(float(model.ramp()))
    slopes = [(full - loss) / (1 - ramp) for ramp, loss in zip(ramps[:-1], losses[:-1], strict=True)]
    assert ramps[-1] == pytest.approx(1.0) and losses[-1] == pytest.approx(full, rel=1e-5)
    assert slopes == pytest.approx([slopes[0]] * 3, rel=1e-3) and slopes[0] > 0


def test_draws_depend_on_the_seed_and_past_covariates() -> None:
    model, data = random_model(), sequences(6, 3, lengths=(4, 1, 3))
    seed = partial(torch.Generator().manual_seed, 5)
    draws = model.generate(data.context, data.mask, seed())
    assert draws.shape == data.x.shape
    assert bool((draws[~data.mask] == 0).all()) and bool((draws[data.mask] != 0).all())
    assert torch.equal(draws, model.generate(data.context, data.mask, seed()))
    assert not torch.allclose(draws, model.generate(data.context, data.mask, seed().manual_seed(6)))
    changed = data.context.clone()
    changed[:, 2:] += 1
    of_changed = model.generate(changed, data.mask, seed())
    assert torch.equal(draws[:, :2], of_changed[:, :2])
    assert not torch.allclose(draws[0, 2:], of_changed[0, 2:])


def simulated(subjects: int) -> Sequences:
    """Regions ``EFFECTS y + e``, e of variance 1 (0.36 between subjects), y of variance 1; some with one visit."""
    g = torch.Generator().manual_seed(0)
    mask = torch.arange(2) < torch.randint(1, 4, (subjects, 1), generator=g)
    y = 0.6 * torch.randn(subjects, 1, 1, generator=g) + 0.8 * torch.randn(subjects, 2, 1, generator=g)
    e = 0.6 * torch.randn(subjects, 1, 6, generator=g) + 0.8 * torch.randn(subjects, 2, 6, generator=g)
    x = EFFECTS * y + e
    x = (x - x[mask].mean(0)) / x[mask].std(0)
    return Sequences(x * mask[..., None], y * mask[..., None], torch.zeros(mask.shape), mask)


@pytest.mark.slow
def test_generated_groups_differ_like_the_cohort() -> None:
    """After a shortened training by the preset, Cohen's d between two paths is that of the simulated cohort."""
    sets = ["training.max_epochs=25", "training.learning_rate=5e-3", "training.threads=1"]
    settings = load_config(PRESET, sets).training
    torch.manual_seed(0)
    model = PublishedCRow(6, 1, hidden=12, latents=6, ramp_steps=100)
    cohort = simulated(192)
    fitted = train(model, cohort.rows(slice(0, 128)), cohort.rows(slice(128, 192)), settings, seed=0)
    assert int(model.step) == 10 * fitted.epoch > 50
    assert fitted.validation_loss < 0.5 * fitted.history["validation"].iloc[0]
    n = 1000
    stays, rises = torch.tensor([[-0.5], [-0.5]]).expand(n, 2, 1), torch.tensor([[-0.5], [0.5]]).expand(n, 2, 1)
    everybody = torch.ones(n, 2, dtype=torch.bool)
    low, high = (model.generate(path, everybody, torch.Generator().manual_seed(1)) for path in (stays, rises))
    assert torch.equal(low[:, 0], high[:, 0])
    spread = ((low.var(0) + high.var(0)) / 2).sqrt()
    torch.testing.assert_close((high - low).mean(0)[1] / spread[1], EFFECTS, atol=0.15, rtol=0.3)
    expected = 1 / (1 + EFFECTS.square()).sqrt()
    torch.testing.assert_close(spread[1], expected, atol=0, rtol=0.3)


def test_sizes() -> None:
    assert PublishedCRow(82, 1).width == 150
    assert PublishedCRow(7, 1, hidden=2).width == 8
    assert PublishedCRow(2, 40).width == 44
    with pytest.raises(ValueError, match="covariates"):
        PublishedCRow(3, 0)
