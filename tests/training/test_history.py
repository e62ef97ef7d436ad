"""When a training ends, by its validation losses alone."""

import pytest

from crow.training.history import History

FALLING = [5.0, 4.0, 3.0]


@pytest.mark.parametrize(
    ("losses", "patience", "warm_up", "ends"),
    [
        ([*FALLING, 2.0, 1.0, 0.5, 0.2, 0.1], 5, 0, None),  # better every time
        ([*FALLING, 3.5, 3.2, 3.5, 3.2, 3.5], 5, 0, 7),  # 5 epochs after the best one
        ([*FALLING, 3.5, 3.2, 3.5, 3.2, 3.5], 5, 4, None),  # they count from epoch 4 on
        ([*FALLING, 3.1, 3.2, 3.3, 3.4], 5, 4, 5),  # three rises in a row, although it is the warm-up
        ([*FALLING, 3.1, 3.2, 2.9, 3.0, 3.1], 6, 4, None),  # two rises, twice
        ([*FALLING, 3.1, 3.2, 3.3, 3.4, 3.5], 10, 4, 7),  # half of 10
        ([*FALLING, 3.1, 3.2, 3.3], 1, 4, 5),  # at least three
        ([*FALLING, float("nan"), float("nan"), float("nan"), 4.0], 6, 9, None),
    ],
)
def test_training_ends_without_prospect(losses: list[float], patience: int, warm_up: int, ends: int | None) -> None:
    history, done = History(patience, max_epochs=100, warm_up=warm_up), []
    for loss in losses:
        history.add({"train": 0.0, "validation": loss})
        done.append(history.done)
    assert (done.index(True) if any(done) else None) == ends


def test_the_last_epoch_is_the_end() -> None:
    history = History(5, max_epochs=2)
    for loss in FALLING[:2]:
        history.add({"train": 0.0, "validation": loss})
        assert not history.done
    history.add({"train": 0.0, "validation": FALLING[2]})
    assert history.done and history.best_epoch == 2
