"""The privacy audit: a model that generalises passes; copies and overfitting are detected."""

import numpy as np

from crow.evaluation.privacy import audit
from crow.evaluation.privacy_result import PrivacyAudit, Records


def records(seed: int, n: int = 100, visits: int = 2) -> Records:
    """Subjects whose visits resemble each other."""
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.normal(size=(n, 5)), visits, 0) + 0.3 * rng.normal(size=(n * visits, 5))
    return Records(values, np.repeat(np.arange(n), visits).astype(str).astype(object))


def log_prob(seed: int, mean: float = 0.0, n: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, n)


def audited(synthetic: Records, train: Records, test: Records, gap: float = 0.0) -> PrivacyAudit:
    return audit(synthetic, train, test, (log_prob(0, gap), log_prob(1)))


def test_a_model_that_generalises_passes() -> None:
    found = [audited(records(seed), records(100 + seed), records(200 + seed, 50)) for seed in range(10)]
    assert [each.verdict for each in found].count("pass") == 10, found
    assert all(0.8 < each.figures["nearest_distance_ratio"] < 1.25 for each in found)
    assert all(each.figures["exact_copies"] == 0 for each in found)
    assert "No signs of copying" in repr(found[0])


def test_copies_are_detected() -> None:
    train, synthetic = records(1), records(0)
    synthetic.values[:10] = np.float32(train.values[:10])
    found = audited(synthetic, train, records(2))
    assert found.verdict == "fail" and "exact copies" in found.reasons[0] and found.figures["exact_copies"] == 0.05
    noisy = Records(train.values + 0.02 * np.random.default_rng(3).normal(size=train.values.shape), train.subject)
    found = audited(noisy, train, records(2, 40))
    assert found.verdict == "fail" and found.figures["exact_copies"] == 0 and found.figures["near_copies"] > 0.2
    assert found.figures["nearest_distance_ratio"] < 0.8 and found.figures["nearest_distance_p"] < 0.01


def test_a_likelihood_gap_is_a_caution_and_a_large_one_fails() -> None:
    cohorts = records(0), records(1), records(2)
    some, much = audited(*cohorts, gap=1.0), audited(*cohorts, gap=4.0)
    assert some.verdict == "caution" and "(AUC 0.8" in some.reasons[0] and some.figures["likelihood_gap"] > 0.5
    weak = audited(*cohorts, gap=0.45)
    assert weak.figures["membership_auc"] <= 0.7 and weak.figures["membership_p"] <= 0.01 and weak.verdict == "caution"
    assert "95 % interval" in weak.reasons[0] and "p = " in weak.reasons[0]
    assert much.verdict == "fail" and "reveals which subjects were trained on" in much.reasons[0]


def test_without_a_likelihood_only_distances_count() -> None:
    found = audit(records(0), records(1), records(2))
    assert found.verdict == "pass" and "membership_auc" not in found.figures


def test_more_training_than_test_subjects_are_no_sign_of_copying() -> None:
    """The nearest of many is nearer, so equal numbers of both are compared."""
    assert audited(records(0), records(1, 600), records(2, 40)).verdict == "pass"
