"""Privacy audit: whether a model memorised its training subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

Values = NDArray[np.float64]
Verdict = Literal["pass", "caution", "fail"]
NEAR_COPY = 0.1  # of the median distance from a test visit to its nearest training visit
EXACT_COPY = 1e-5  # sds per region: the rounding of single precision
RATIO = {"fail": 0.8, "caution": 0.9}  # distance ratios below these, and ...
AUC = {"fail": 0.9, "caution": 0.7}  # ... AUCs of membership inference above these count (Hosmer & Lemeshow) ...
ALPHA = 0.01  # ... if their p-value is at most this
N_SUBSETS, N_PERMUTATIONS = 10, 200
MIN_SUBJECTS = 5  # synthetic, training and test subjects


@dataclass(frozen=True)
class Records:
    """Visits ``values [visit, region]`` in a common standardisation, and the ``subject [visit]`` of each."""

    values: Values
    subject: NDArray[np.object_]

    @classmethod
    def of(cls, visits: pd.DataFrame, mean: pd.Series, sd: pd.Series) -> Records:
        """The complete visits of a table, standardised."""
        values = ((visits[list(mean.index)] - mean) / sd).to_numpy(float)
        complete = ~np.isnan(values).any(1)
        return cls(values[complete], visits["subject"].to_numpy(object)[complete])


@dataclass(frozen=True)
class PrivacyAudit:
    """The result of `audit`.

    Attributes
    ----------
    figures : dict of str to float
        Distances, copies and membership inference, by name.
    verdict : {"pass", "caution", "fail"}
        The most severe finding.
    reasons : list of str
        The findings as sentences.
    """

    figures: dict[str, float]
    verdict: Verdict
    reasons: list[str]

    def __repr__(self) -> str:
        return " ".join([f"{self.verdict}:", *self.reasons])


Finding = tuple[Verdict, str]


def audit(
    synthetic: Records,
    train: Records,
    test: Records,
    log_prob: tuple[Values, Values] | None = None,
    seed: int = 0,
) -> PrivacyAudit:
    """Screen a model for memorised training subjects.

    The audit compares how close synthetic visits lie to training subjects and to as many test subjects (ratio of the
    median distances to the nearest visit; copies that are nearer than a tenth of the usual distance, or equal), and how
    well the likelihood separates training from test subjects (membership inference). p-values come from permuting
    which subjects were trained on.

    It fails if only training subjects are copied exactly, or if near copies are twice as frequent as for test subjects,
    the ratio is below 0.8 or the AUC above 0.9 ("outstanding discrimination"), each with p <= 0.01. It cautions below
    0.9 and above 0.7 ("acceptable discrimination"). A likelihood that is fitted to few subjects always favours them
    slightly, and whoever has the run and a subject's regions can use it. Sources: Zhao et al. 2021 (distances); Yeom et
    al. 2018 (likelihood gap); Hosmer & Lemeshow 2000, 5.2.4 (words for AUCs).

    Parameters
    ----------
    synthetic : Records
        Subjects generated for the covariates of training and of test subjects alike, so that covariates favour neither.
    train, test : Records
        Training and test subjects.
    log_prob : tuple of ndarray of shape [subject], optional
        Mean log-likelihoods per visit (nats) of the training and of the test subjects.
    seed : int
        Seed of subsets and permutations.

    Returns
    -------
    PrivacyAudit
        Figures, verdict and reasons.
    """
    figures, findings = _distances(synthetic, train, test, seed)
    if log_prob is not None:
        membership, more = _membership(*log_prob)
        figures, findings = figures | membership, findings + more
    severities = {severity for severity, _ in findings}
    verdict: Verdict = "fail" if "fail" in severities else "caution" if "caution" in severities else "pass"
    reasons = [reason for severity in ("fail", "caution") for own, reason in findings if own == severity]
    return PrivacyAudit(figures, verdict, reasons or [_pass_reason(figures)])


def _distances(synthetic: Records, train: Records, test: Records, seed: int) -> tuple[dict[str, float], list[Finding]]:
    """Distances to the nearest of equally many training and test subjects, and the same for permuted subjects."""
    subjects, in_training = _by_subject(train, test)
    distance = np.stack([cdist(synthetic.values, visits).min(1) for visits in subjects], 1)  # [synthetic, subject]
    members, others = np.flatnonzero(in_training), np.flatnonzero(~in_training)
    size = min(len(members), len(others))
    rng = np.random.default_rng(seed)
    usual = float(np.median(cdist(test.values, train.values).min(1)))

    def compare(a: NDArray[np.int_], b: NDArray[np.int_]) -> Values:
        """Log of the distance ratio, near copies of the first and of the second; means over subsets of equal size."""
        parts = []
        for _ in range(1 if len(a) == len(b) == size else N_SUBSETS):
            nearest = [distance[:, rng.permutation(each)[:size]].min(1) for each in (a, b)]
            ratio = np.log(max(float(np.median(nearest[0])), 1e-12) / max(float(np.median(nearest[1])), 1e-12))
            parts.append([ratio, *((each < NEAR_COPY * usual).mean() for each in nearest)])
        return np.mean(parts, 0)

    found = compare(members, others)
    permuted = np.stack([
        compare(*np.split(rng.permutation(len(subjects)), [len(members)])) for _ in range(N_PERMUTATIONS)
    ])  # fmt: skip
    ratio_p = _p_value(permuted[:, 0] <= found[0])
    copies_p = _p_value(permuted[:, 1] - permuted[:, 2] >= found[1] - found[2])
    reach = EXACT_COPY * synthetic.values.shape[1] ** 0.5
    exact, exact_test = (float((distance[:, rows].min(1) <= reach).mean()) for rows in (members, others))
    ratio, near, near_test = float(np.exp(found[0])), float(found[1]), float(found[2])
    figures = {
        "nearest_distance_ratio": ratio, "nearest_distance_p": ratio_p, "exact_copies": exact,
        "exact_copies_of_test": exact_test, "near_copies": near, "near_copies_of_test": near_test,
        "near_copies_p": copies_p,
    }  # fmt: skip
    findings: list[Finding] = []
    if exact > 0 and exact_test == 0:
        findings.append(("fail", f"{exact:.2%} of the synthetic visits are exact copies of a training visit."))
    if near > 2 * near_test and copies_p <= ALPHA:
        findings.append((
            "fail", f"{near:.1%} of the synthetic visits are near copies of a training visit, {near_test:.1%} of a "
            "visit of as many test subjects."
        ))  # fmt: skip
    if ratio < RATIO["caution"] and ratio_p <= ALPHA:
        reason = f"Synthetic visits are {ratio:.2f} times as far from training subjects as from test subjects."
        findings.append(("fail" if ratio < RATIO["fail"] else "caution", reason))
    return figures, findings


def _membership(train: Values, test: Values) -> tuple[dict[str, float], list[Finding]]:
    member = np.concatenate([np.ones(len(train)), np.zeros(len(test))])
    auc = float(roc_auc_score(member, np.concatenate([train, test])))
    p = float(stats.mannwhitneyu(train, test, alternative="greater").pvalue)
    figures = {"membership_auc": auc, "membership_p": p, "likelihood_gap": float(np.mean(train) - np.mean(test))}
    if auc <= AUC["caution"] or p > ALPHA:
        return figures, []
    if auc > AUC["fail"]:
        return figures, [("fail", f"The likelihood reveals which subjects were trained on (AUC {auc:.2f}).")]
    reason = (
        f"The likelihood reveals to some degree which subjects were trained on (AUC {auc:.2f}): share synthetic "
        "subjects rather than the run."
    )
    return figures, [("caution", reason)]


def _by_subject(train: Records, test: Records) -> tuple[list[Values], NDArray[np.bool_]]:
    """The visits of each subject, and whether it is a training subject."""
    groups, in_training = [], []
    for records, is_training in ((train, True), (test, False)):
        _, rows = np.unique(records.subject.astype(str), return_inverse=True)
        groups += [records.values[rows == k] for k in range(rows.max() + 1)]
        in_training += [is_training] * (int(rows.max()) + 1)
    return groups, np.array(in_training)


def _p_value(as_extreme: NDArray[np.bool_]) -> float:
    return float((1 + as_extreme.sum()) / (1 + len(as_extreme)))


def _pass_reason(figures: dict[str, float]) -> str:
    reason = (
        f"No signs of copying (near copies of training subjects {figures['near_copies']:.1%}, of test subjects "
        f"{figures['near_copies_of_test']:.1%}); distance ratio {figures['nearest_distance_ratio']:.2f}"
    )
    if "membership_auc" not in figures:
        return f"{reason}."
    reason += f"; membership AUC {figures['membership_auc']:.2f}"
    if figures["membership_p"] > ALPHA:
        return f"{reason}."
    return (
        f"{reason}: training subjects are slightly more likely, as in any model of few subjects (caution above "
        f"{AUC['caution']})."
    )
