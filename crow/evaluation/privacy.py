"""Whether a model remembers the people that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import cKDTree
from sklearn.metrics import roc_auc_score

Values = NDArray[np.float64]
NEAR = 0.1  # of the median distance between held-out records and their nearest training record
AUC, RATIO = 0.6, 0.8  # beyond which a model is said to remember, where chance does not explain it


@dataclass(frozen=True)
class Privacy:
    """What was measured, ``passes``, and the ``reasons`` in words."""

    figures: dict[str, float]
    passes: bool
    reasons: list[str]

    @property
    def verdict(self) -> str:
        return "No sign that the model remembers people." if self.passes else "The model remembers people it was shown."

    def __repr__(self) -> str:
        return " ".join([self.verdict, *self.reasons])


def audit(
    synthetic: Values, train: Values, held_out: Values, train_nats: Values, held_out_nats: Values
) -> Privacy:
    """Compare what a model generates, and how likely it finds people, between those it was trained on and others.

    ``synthetic, train, held_out [record, value]`` in one standardisation; ``train_nats, held_out_nats [subject]`` are
    log-likelihoods a visit. Measured are: the distance of synthetic records to their nearest training record over that
    to their nearest held-out one (drawn as many), exact and near copies, and the area under the curve of telling
    members by their likelihood. A model fails where it copies, where that ratio is below 0.8, or where that area is
    above 0.6, and chance (one-sided, 1 %) does not explain it. Sources: Zhao et al. 2021 (distances); Yeom et al. 2018
    (likelihood gap).
    """
    size = min(len(train), len(held_out))
    rng = np.random.default_rng(0)
    to_train = _nearest(synthetic, train[rng.permutation(len(train))[:size]])
    to_held_out = _nearest(synthetic, held_out[rng.permutation(len(held_out))[:size]])
    apart = float(np.median(_nearest(held_out, train[rng.permutation(len(train))[:size]])))
    exact, near = float((_nearest(synthetic, train) <= 1e-9).mean()), float((to_train < NEAR * apart).mean())
    near_held_out = float((to_held_out < NEAR * apart).mean())
    nearer = int((to_train < NEAR * apart).sum()), int((to_held_out < NEAR * apart).sum())
    copies = stats.binomtest(nearer[0], sum(nearer), 0.5, alternative="greater").pvalue if sum(nearer) else 1.0
    ratio = float(np.median(to_train) / max(float(np.median(to_held_out)), 1e-12))
    closer = stats.binomtest(int((to_train < to_held_out).sum()), len(synthetic), 0.5, alternative="greater").pvalue
    member = np.concatenate([np.ones(len(train_nats)), np.zeros(len(held_out_nats))])
    auc = float(roc_auc_score(member, np.concatenate([train_nats, held_out_nats])))
    better = stats.mannwhitneyu(train_nats, held_out_nats, alternative="greater").pvalue
    figures = {
        "nearest_distance_ratio": ratio, "exact_copies": exact, "near_copies": near,
        "near_copies_of_held_out": near_held_out, "membership_auc": auc,
        "likelihood_gap": float(np.mean(train_nats) - np.mean(held_out_nats)),
    }  # fmt: skip
    failed = []
    if exact > 0:
        failed.append(f"{exact:.1%} of synthetic records are exact copies of training records.")
    if near > 2 * near_held_out and copies < 0.01:
        failed.append(f"{near:.1%} lie next to a training record, {near_held_out:.1%} next to a held-out one.")
    if ratio < RATIO and closer < 0.01:
        failed.append(f"Synthetic records lie {ratio:.2f} times as far from training records as from held-out ones.")
    if auc > AUC and better < 0.01:
        failed.append(f"Likelihood tells members from others (AUC {auc:.2f}).")
    said = failed or [
        f"Distance ratio {ratio:.2f}, near copies {near:.1%} ({near_held_out:.1%} of held-out records), membership AUC "
        f"{auc:.2f}."
    ]
    return Privacy(figures, not failed, said)


def _nearest(of: Values, among: Values) -> Values:
    distance: Values = cKDTree(among).query(of)[0]
    return distance
