"""Privacy: an honest model passes, one that copies or overfits is caught."""

import numpy as np

from crow.evaluation.privacy import Privacy, Records, audit


def records(seed: int, n: int = 100, visits: int = 2) -> Records:
    """People whose visits are alike."""
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.normal(size=(n, 5)), visits, 0) + 0.3 * rng.normal(size=(n * visits, 5))
    return Records(values, np.repeat(np.arange(n), visits).astype(str).astype(object))


def nats(seed: int, mean: float = 0.0, n: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, n)


def judged(synthetic: Records, train: Records, held_out: Records, gap: float = 0.0) -> Privacy:
    return audit(synthetic, train, held_out, (nats(0, gap), nats(1)))


def test_an_honest_model_passes() -> None:
    found = [judged(records(seed), records(100 + seed), records(200 + seed, 50)) for seed in range(10)]
    assert [each.verdict for each in found].count("pass") == 10, found
    assert all(0.8 < each.figures["nearest_distance_ratio"] < 1.25 for each in found)
    assert all(each.figures["exact_copies"] == 0 for each in found)
    assert "Nothing copied" in repr(found[0])


def test_copies_are_caught() -> None:
    train, synthetic = records(1), records(0)
    synthetic.values[:10] = np.float32(train.values[:10])
    found = judged(synthetic, train, records(2))
    assert found.verdict == "fail" and "exact copies" in found.reasons[0] and found.figures["exact_copies"] == 0.05
    noisy = Records(train.values + 0.02 * np.random.default_rng(3).normal(size=train.values.shape), train.subject)
    found = judged(noisy, train, records(2, 40))
    assert found.verdict == "fail" and found.figures["exact_copies"] == 0 and found.figures["near_copies"] > 0.2
    assert found.figures["nearest_distance_ratio"] < 0.8 and found.figures["nearest_distance_p"] < 0.01


def test_a_likelihood_gap_is_told_and_a_large_one_fails() -> None:
    people = records(0), records(1), records(2)
    some, much = judged(*people, gap=1.0), judged(*people, gap=4.0)
    assert some.verdict == "caution" and "(AUC 0.8" in some.reasons[0] and some.figures["likelihood_gap"] > 0.5
    assert much.verdict == "fail" and "tells who was trained on" in much.reasons[0]


def test_without_a_likelihood_distances_are_judged() -> None:
    found = audit(records(0), records(1), records(2))
    assert found.verdict == "pass" and "membership_auc" not in found.figures


def test_more_training_than_held_out_people_is_no_sign() -> None:
    """Nearest of many is nearer: the same number of both is compared."""
    assert judged(records(0), records(1, 600), records(2, 40)).verdict == "pass"
