"""Privacy: an honest model passes, one that copies or overfits is caught."""

import numpy as np

from crow.evaluation.privacy import audit


def records(seed: int, n: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 5))


def nats(seed: int, mean: float = 0.0, n: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, n)


def test_an_honest_model_passes() -> None:
    for seed in range(20):
        found = audit(records(seed), records(100 + seed), records(200 + seed), nats(seed), nats(50 + seed))
        assert found.passes, found
        assert 0.8 < found.figures["nearest_distance_ratio"] < 1.2 and found.figures["exact_copies"] == 0
    assert "No sign" in found.verdict


def test_copies_are_caught() -> None:
    train = records(1)
    synthetic = records(0)
    synthetic[:10] = train[:10]
    found = audit(synthetic, train, records(2), nats(0), nats(1))
    assert not found.passes and "exact copies" in found.reasons[0] and found.figures["exact_copies"] == 0.05
    noisy = train + 0.05 * records(3)
    found = audit(noisy, train, records(2), nats(0), nats(1))
    assert not found.passes and found.figures["exact_copies"] == 0 and found.figures["near_copies"] > 0.2
    assert found.figures["nearest_distance_ratio"] < 0.3


def test_a_likelihood_gap_is_caught() -> None:
    found = audit(records(0), records(1), records(2), nats(0, 1.0), nats(1))
    assert not found.passes and "(AUC 0.8" in found.reasons[0] and found.figures["likelihood_gap"] > 0.5


def test_more_training_than_held_out_people_is_no_sign() -> None:
    """Nearest of many is nearer: the same number of both is compared."""
    assert audit(records(0), records(1, 2000), records(2, 100), nats(0), nats(1)).passes
