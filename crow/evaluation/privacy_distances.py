"""How near synthetic records lie to training subjects, beside as many test subjects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from crow.evaluation.privacy_result import ALPHA, RATIO, Finding, PrivacyAudit, Records, Values

NEAR_COPY = 0.1  # of the median distance from a test record to its nearest training record
EXACT_COPY = 1e-5  # sds per number: the rounding of single precision
N_SUBSETS, N_PERMUTATIONS = 10, 200


def compare_distances(
    synthetic: Records, train: Records, test: Records, what: str, prefix: str = "", seed: int = 0
) -> PrivacyAudit:
    """Distances to the nearest of equally many training and test subjects, and the same for permuted subjects.

    ``what`` names the records in sentences, ``prefix`` the figures.
    """
    subjects, in_training = _by_subject(train, test)
    distance = np.stack([cdist(synthetic.values, visits).min(1) for visits in subjects], 1)  # [synthetic, subject]
    members, others = np.flatnonzero(in_training), np.flatnonzero(~in_training)
    size = min(len(members), len(others))
    rng = np.random.default_rng(seed)
    of_test = cdist(test.values, train.values).min(1)
    usual, reach = float(np.median(of_test)), EXACT_COPY * synthetic.values.shape[1] ** 0.5

    def compare(a: NDArray[np.int_], b: NDArray[np.int_]) -> Values:
        """Log of the distance ratio, near and exact copies of the first and of the second; means over subsets."""
        parts = []
        for _ in range(1 if len(a) == len(b) == size else N_SUBSETS):
            nearest = [distance[:, rng.permutation(each)[:size]].min(1) for each in (a, b)]
            ratio = np.log(max(float(np.median(nearest[0])), 1e-12) / max(float(np.median(nearest[1])), 1e-12))
            near = ((each <= max(NEAR_COPY * usual, reach)).mean() for each in nearest)
            parts.append([ratio, *near, *((each <= reach).mean() for each in nearest)])
        return np.mean(parts, 0)

    found = compare(members, others)
    permuted = np.stack([
        compare(*np.split(rng.permutation(len(subjects)), [len(members)])) for _ in range(N_PERMUTATIONS)
    ])  # fmt: skip
    ratio_p = p_value(permuted[:, 0] <= found[0])
    copies_p = p_value(permuted[:, 1] - permuted[:, 2] >= found[1] - found[2])
    exact_p = p_value(permuted[:, 3] - permuted[:, 4] >= found[3] - found[4])
    exact, exact_test = (float((distance[:, rows].min(1) <= reach).mean()) for rows in (members, others))
    by_chance = float((of_test <= reach).mean())
    ratio, near, near_test = float(np.exp(found[0])), float(found[1]), float(found[2])
    tail = [float(np.quantile(each, 0.05)) for each in (distance[:, members].min(1), of_test)]
    numbers = {
        "nearest_distance_ratio": ratio, "nearest_distance_p": ratio_p,
        "closest_record": tail[0], "closest_record_of_test": tail[1], "exact_copies": exact,
        "exact_copies_of_test": exact_test, "exact_copies_p": exact_p, "near_copies": near,
        "near_copies_of_test": near_test, "near_copies_p": copies_p,
    }  # fmt: skip
    findings: list[Finding] = []
    certain = exact > 0 and exact_test == 0 and by_chance == 0 and what != COVARIATES
    if certain or (found[3] > 2 * found[4] and exact_p <= ALPHA):
        findings.append((
            "fail", f"{exact:.2%} of the synthetic {what} equal those of a training subject, {exact_test:.2%} those of "
            "a test subject: exact copies."
        ))  # fmt: skip
    if near > 2 * near_test and copies_p <= ALPHA:
        findings.append((
            "fail", f"{near:.1%} of the synthetic {what} are near copies of a training subject's, {near_test:.1%} of "
            "those of as many test subjects."
        ))  # fmt: skip
    if ratio < RATIO["caution"] and ratio_p <= ALPHA:
        reason = f"Synthetic {what} are {ratio:.2f} times as far from training subjects as from test subjects."
        findings.append(("fail" if ratio < RATIO["fail"] else "caution", reason))
    passed = (
        f"No signs of copying of {what} (near copies of training subjects {near:.1%}, of test subjects "
        f"{near_test:.1%}; distance ratio {ratio:.2f})."
    )
    return PrivacyAudit({f"{prefix}{name}": value for name, value in numbers.items()}, findings, passed)


COVARIATES = "covariates with visit times"
"""Records of few or rounded numbers, which may be equal by chance."""


def p_value(as_extreme: NDArray[np.bool_]) -> float:
    """Of a permutation test."""
    return float((1 + as_extreme.sum()) / (1 + len(as_extreme)))


def _by_subject(train: Records, test: Records) -> tuple[list[Values], NDArray[np.bool_]]:
    """The records of each subject, and whether it is a training subject."""
    groups, in_training = [], []
    for records, is_training in ((train, True), (test, False)):
        _, rows = np.unique(records.subject.astype(str), return_inverse=True)
        groups += [records.values[rows == k] for k in range(rows.max() + 1)]
        in_training += [is_training] * (int(rows.max()) + 1)
    return groups, np.array(in_training)
