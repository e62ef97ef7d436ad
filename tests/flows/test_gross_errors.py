"""Gross errors: found in histories and in training, and with a density of their own."""

from dataclasses import replace

import pytest
import torch

from crow.data.sequences import Sequences
from crow.flows.crow import CRowFlow
from crow.flows.ensemble import FlowEnsemble
from crow.flows.gross_errors import cleaned, gross_errors
from crow.training.gross_errors import gross_errors_of_training


def smooth(subjects: int = 60, visits: int = 4, regions: int = 2) -> Sequences:
    """Lines of each subject with little noise."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((subjects, 1, regions), (subjects, visits, regions))
    noise = [torch.randn(*shape, generator=generator) for shape in shapes]
    time = torch.arange(visits).float().expand(subjects, -1)
    x = noise[0] - 0.1 * time[..., None] + 0.1 * noise[1]
    return Sequences(x, torch.zeros(subjects, visits, 1), time, torch.ones(subjects, visits, dtype=torch.bool))


def start(data: Sequences) -> CRowFlow:
    flow = CRowFlow(data.x.shape[2], data.context.shape[2])
    flow.initialise(data)
    return flow.eval()


def with_error(data: Sequences, subject: int, visit: int, region: int, value: float) -> Sequences:
    x = data.x.clone()
    x[subject, visit, region] = value
    return replace(data, x=x)


@pytest.mark.parametrize("visit", [0, 1, 3])
def test_the_value_that_does_not_go_with_the_others_is_found_wherever_it_stands(visit: int) -> None:
    data = smooth()
    flow = start(data)
    assert not bool(gross_errors(flow, data).any())
    found = gross_errors(flow, with_error(data, 5, visit, 1, 40.0)).nonzero().tolist()
    assert found == [[5, visit, 1]]


def test_a_consistent_history_far_from_all_others_is_no_error() -> None:
    data = smooth()
    x = data.x.clone()
    x[5, :, 1] += 6
    assert not bool(gross_errors(start(data), replace(data, x=x)).any())


def test_one_error_in_training_widens_nothing() -> None:
    data = smooth()
    bad = with_error(data, 5, 2, 1, 70.0)
    gross, flow = gross_errors_of_training(start, bad, None)
    assert gross.nonzero().tolist() == [[5, 2, 1]]
    clean, without = start(data).mixed.log_sigma, start(replace(bad, measured=~gross)).mixed.log_sigma
    assert float((without - clean).abs().max()) < 0.05
    assert bool((flow.spread < 1.5).all())


def test_two_in_a_hundred_errors_are_found() -> None:
    data = smooth()
    draw = torch.rand(data.x.shape, generator=torch.Generator().manual_seed(1)) < 0.02
    gross, _ = gross_errors_of_training(start, replace(data, x=torch.where(draw, data.x * 10 + 20, data.x)), None)
    assert torch.equal(gross, draw)


def test_clean_data_have_no_errors() -> None:
    gross, _ = gross_errors_of_training(start, smooth(), None)
    assert not bool(gross.any())


def test_later_visits_do_not_notice_an_error() -> None:
    data = smooth()
    ensemble = FlowEnsemble([start(data)], error_rate=0.001).eval()
    bad = with_error(data, 5, 1, 1, 40.0)
    missing = replace(data, measured=torch.ones_like(data.x, dtype=torch.bool))
    assert missing.measured is not None
    missing.measured[5, 1, 1] = False
    torch.testing.assert_close(ensemble.log_prob(bad)[5, 2:], ensemble.log_prob(missing)[5, 2:])
    assert torch.equal(cleaned(start(data), bad).values(), missing.values())
    others = torch.arange(len(data)) != 5
    torch.testing.assert_close(ensemble.log_prob(bad)[others], ensemble.log_prob(data)[others])


def test_the_density_with_errors_integrates_to_one() -> None:
    """Over one value of a second visit: what is within the limits, and the tails beyond."""
    data = smooth(regions=1)
    ensemble = FlowEnsemble([start(data)], error_rate=0.2).eval().double()
    one = data[:1].columns(slice(0, 2)).to(dtype=torch.float64)
    tail = 12 * torch.logspace(0, 3.6, 3_000, dtype=torch.float64)
    grid = torch.cat([-tail.flip(0), torch.linspace(-12.0, 12.0, 6_001, dtype=torch.float64)[1:-1], tail])
    many = one.repeat(len(grid))
    many.x[:, 1, 0] = grid
    p = ensemble.log_prob(many)[:, 1].exp()
    assert float(torch.trapezoid(p, grid).detach()) == pytest.approx(1, abs=2e-3)


def test_without_a_rate_the_density_is_that_of_the_flow() -> None:
    data = smooth()
    flow = start(data)
    torch.testing.assert_close(FlowEnsemble([flow]).log_prob(data), flow.log_prob(data))
