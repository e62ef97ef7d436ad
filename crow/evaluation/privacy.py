"""Privacy audit of a model: whether it memorised its training subjects."""

from __future__ import annotations

import numpy as np

from crow.evaluation.privacy_distances import compare_distances
from crow.evaluation.privacy_inference import membership
from crow.evaluation.privacy_result import PrivacyAudit, Records, Values


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
    which subjects were trained on. The rules are those of `crow.evaluation.privacy_result`. A likelihood that is fitted
    to few subjects always favours them, and whoever has the run and a subject's regions can use it. Sources: Zhao et
    al. 2021 (distances); Yeom et al. 2018 (likelihood gap).

    Parameters
    ----------
    synthetic : Records
        Subjects generated for the covariates of training and of test subjects alike, so that covariates favour neither.
    train, test : Records
        Training and test subjects.
    log_prob : tuple of ndarray of shape [subject], optional
        Mean log-likelihoods per visit (nats) of the training and of the test subjects.
    seed : int
        Seed of subsets, permutations and intervals.

    Returns
    -------
    PrivacyAudit
        Figures, findings and verdict.
    """
    found = compare_distances(synthetic, train, test, "visits", seed=seed)
    if log_prob is None:
        return found
    reason = "The likelihood reveals which subjects were trained on"
    inferred = membership(*log_prob, "membership", reason, seed)
    gap = float(np.mean(log_prob[0]) - np.mean(log_prob[1]))
    return found.merge(PrivacyAudit({**inferred.figures, "likelihood_gap": gap}, inferred.findings, inferred.passed))
