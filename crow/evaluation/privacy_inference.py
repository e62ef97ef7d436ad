"""What an attacker can infer: who was trained on, a missing attribute, and who has unique quasi-identifiers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist

from crow.evaluation.privacy_result import ALPHA, AUC, Finding, PrivacyAudit, Values

N_BOOTSTRAP = 1000
N_PERMUTATIONS = 200
AGE_BAND = 5  # years
SMALL = 5  # subjects: k of k-anonymity below which a group is small


def membership(train: Values, test: Values, name: str, reason: str, seed: int = 0) -> PrivacyAudit:
    """How well a score separates training from test subjects: AUC, 95 % interval over subjects, p-value.

    ``reason`` begins the sentence of a finding.
    """
    auc, low, high, p = separation(train, test, seed)
    figures = {f"{name}_auc": auc, f"{name}_auc_low": low, f"{name}_auc_high": high, f"{name}_p": p}
    shown = f"AUC {auc:.2f}, 95 % interval {low:.2f} to {high:.2f}, p = {p:.2g}"
    passed = f"Membership: {shown}."
    if p > ALPHA:
        return PrivacyAudit(figures, [], passed)
    if auc > AUC:
        return PrivacyAudit(figures, [("fail", f"{reason} ({shown}).")], passed)
    return PrivacyAudit(figures, [("caution", f"{reason}, to some degree ({shown}).")], passed)


def attribute_inference(
    synthetic: Mapping[str, Values], train: Mapping[str, Values], test: Mapping[str, Values], seed: int = 0
) -> PrivacyAudit:
    """Guess each attribute of real subjects from the synthetic subject that is nearest in all others.

    Each attribute is ``[subject, number]``. The guesses of training subjects should be no better than those of test
    subjects; p-values are corrected for the number of attributes (Holm).
    """
    names = [name for name, values in train.items() if len(np.unique(values, axis=0)) > 1]
    found = []
    for name in names:
        scores = []
        for real in (train, test):
            rest = [other for other in train if other != name]
            known, there = (np.concatenate([part[other] for other in rest], 1) for part in (real, synthetic))
            guessed = synthetic[name][cdist(known, there).argmin(1)]
            scores.append(-np.abs(guessed - real[name]).sum(1))
        found.append((name, *separation(scores[0], scores[1], seed)))
    if not found:
        return PrivacyAudit({}, [], "")
    order = np.argsort([p for *_, p in found])
    corrected = np.maximum.accumulate([min(1.0, (len(found) - k) * found[row][-1]) for k, row in enumerate(order)])
    worst, p = found[order[0]], float(corrected[0])
    name, auc, low, high, _ = worst
    figures = {"attribute_auc": auc, "attribute_auc_low": low, "attribute_auc_high": high, "attribute_p": p}
    shown = f"AUC {auc:.2f}, 95 % interval {low:.2f} to {high:.2f}, p = {p:.2g} for {len(found)} attributes"
    findings: list[Finding] = []
    if p <= ALPHA:
        findings.append((
            "fail" if auc > AUC else "caution",
            f"{name} of training subjects can be guessed better than that of test subjects ({shown})."
        ))  # fmt: skip
    return PrivacyAudit(figures, findings, f"Attributes: {name} is guessed best ({shown}).")


def quasi_identifiers(synthetic: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame, seed: int = 0) -> PrivacyAudit:
    """k-anonymity: how many training subjects share age band and levels, and how often synthetic subjects have those of
    a single one.

    The tables have one row per subject: ``age``, and covariates that are levels.
    """
    keys = [_keys(each) for each in (synthetic, train, test)]
    k = keys[1].map(keys[1].value_counts())
    rng = np.random.default_rng(seed)
    real, size = pd.concat(keys[1:], ignore_index=True), min(len(train), len(test))

    def on_single(rows: NDArray[np.int_]) -> float:
        counts = real.iloc[rng.permutation(rows)[:size]].value_counts()
        return float(keys[0].isin(counts.index[counts == 1]).mean())

    def difference(order: NDArray[np.int_]) -> tuple[float, float]:
        return on_single(order[: len(train)]), on_single(order[len(train) :])

    own, other = np.mean([difference(np.arange(len(real))) for _ in range(10)], 0)
    permuted = [np.subtract(*difference(rng.permutation(len(real)))) for _ in range(N_PERMUTATIONS)]
    p = float((1 + (np.array(permuted) >= own - other).sum()) / (1 + N_PERMUTATIONS))
    figures = {
        "k_anonymity": float(k.min()), "training_subjects_below_k_5": float((k < SMALL).mean()),
        "on_single_subject": float(own), "on_single_test_subject": float(other), "on_single_p": p,
    }  # fmt: skip
    findings: list[Finding] = []
    if own > 2 * other and p <= ALPHA:
        findings.append((
            "caution", f"{own:.1%} of the synthetic subjects have age band and levels of a single training subject, "
            f"{other:.1%} those of a single test subject."
        ))  # fmt: skip
    passed = f"Age band and levels of a single training subject: {own:.1%}, of a single test subject: {other:.1%}."
    return PrivacyAudit(figures, findings, passed)


def separation(train: Values, test: Values, seed: int = 0) -> tuple[float, float, float, float]:
    """AUC of scores, its 95 % interval by bootstrap over subjects, and the one-sided p-value of Mann and Whitney."""
    greater = (train[:, None] > test).astype(float) + 0.5 * (train[:, None] == test)
    rng = np.random.default_rng(seed)
    several = [
        greater[rng.integers(len(train), size=len(train))][:, rng.integers(len(test), size=len(test))].mean()
        for _ in range(N_BOOTSTRAP)
    ]
    low, high = np.quantile(several, [0.025, 0.975], method="linear")
    equal = np.ptp(np.concatenate([train, test])) == 0
    p = 1.0 if equal else float(stats.mannwhitneyu(train, test, alternative="greater").pvalue)
    return float(greater.mean()), float(low), float(high), p


def _keys(subjects: pd.DataFrame) -> pd.Series:
    """Age band and levels of each subject, as one text."""
    band = (subjects["age"] // AGE_BAND).astype("string") if "age" in subjects else pd.Series("", subjects.index)
    words = [subjects[name].astype("string").fillna("") for name in subjects if name != "age"]
    found = band.fillna("")
    for word in words:
        found = found + "\x1f" + word
    return found.reset_index(drop=True)
