import pytest
import torch
from stub_flow import invented

from crow.data.sequences import Sequences
from crow.training.batches import Shuffles, drop_visits
from crow.training.data import BatchData


def test_an_epoch_is_repeated_whole_shuffles() -> None:
    batches = list(Shuffles(10, batch_size=4, steps=7, seed=0))
    assert len(batches) == 7
    for shuffle in (batches[:3], batches[3:6]):
        assert sorted(torch.cat(shuffle).tolist()) == list(range(10))
    assert {len(batch) for batch in batches} == {3, 4}


def test_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    def rows(seed: int, epoch: int) -> list[list[int]]:
        shuffles = Shuffles(50, 8, 10, seed)
        shuffles.set_epoch(epoch)
        torch.rand(3)
        return [batch.tolist() for batch in shuffles]

    assert rows(1, 4) == rows(1, 4)
    assert rows(1, 4) != rows(1, 5)
    assert rows(1, 4) != rows(2, 4)


def test_held_out_batches_hold_every_subject_once() -> None:
    validation = invented(300, 0)
    data = BatchData(invented(5, 1), validation, batch_size=2, steps_per_epoch=3, seed=0)
    batches = list(data.val_dataloader())
    assert sum(len(batch) for batch in batches) == 300
    halves = [torch.cat([batch.x[:, 0] for batch in batches[half::2]]) for half in (0, 1)]
    assert halves[0].equal(validation.x[::2, 0]) and halves[1].equal(validation.x[1::2, 0])
    assert len(list(data.train_dataloader())) == 3


def test_dropped_visits_leave_an_ordered_subset_from_time_zero() -> None:
    batch = invented(200, 0, visits=7)
    torch.manual_seed(1)
    kept = drop_visits(batch, 0.4)
    assert kept.mask.any(1).all()
    assert kept.mask.shape[1] == kept.mask.sum(1).max()
    assert (kept.mask[:, :-1] | ~kept.mask[:, 1:]).all(), "padding only at the end"
    assert kept.time[:, 0].abs().max() == 0
    for row in range(len(batch)):
        x, time = batch.x[row, batch.mask[row]], batch.time[row, batch.mask[row]]
        where = [int((x == visit).all(1).nonzero()) for visit in kept.x[row, kept.mask[row]]]
        assert where == sorted(set(where)), "the same visits in the same order"
        assert kept.time[row, kept.mask[row]].equal(time[where] - time[where[0]])
        assert kept.context[row, kept.mask[row]].equal(batch.context[row, batch.mask[row]][where])
    for padded in (kept.x, kept.context, kept.time[..., None]):
        assert padded[~kept.mask].abs().sum() == 0


def test_the_share_of_dropped_visits_is_the_one_asked_for() -> None:
    batch = Sequences(torch.ones(500, 10, 1), torch.ones(500, 10, 1), torch.arange(10.0).expand(500, 10),
                      torch.ones(500, 10, dtype=torch.bool))  # fmt: skip
    torch.manual_seed(0)
    kept = drop_visits(batch, 0.6).mask.sum(1) / 10
    assert kept.mean() == pytest.approx(0.7, abs=0.03)
    assert kept.std() > 0.2, "a rate of its own for every subject: 0.15 if all had the same"
    assert drop_visits(batch, 1.0).mask.sum(1).min() == 1


def test_images_lose_visits_too() -> None:
    mask = torch.ones(4, 3, dtype=torch.bool)
    batch = Sequences(torch.rand(4, 3, 1, 5, 5), torch.zeros(4, 3, 0), torch.arange(3.0).expand(4, 3), mask)
    torch.manual_seed(0)
    kept = drop_visits(batch, 0.5)
    assert kept.x.shape == (4, kept.mask.shape[1], 1, 5, 5)
    assert kept.x[~kept.mask].abs().sum() == 0
