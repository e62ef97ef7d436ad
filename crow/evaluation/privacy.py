"""Whether a model remembers the people that it was trained on."""

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
NEAR = 0.1  # of the median distance between held-out visits and their nearest training visit
EXACT = 1e-5  # sds a region: the rounding of single precision
RATIO = {"fail": 0.8, "caution": 0.9}  # nearest distance to training people over that to others, below which ...
AUC = {"fail": 0.9, "caution": 0.7}  # of telling members by their likelihood (Hosmer & Lemeshow), above which ...
ALPHA = 0.01  # ... and chance explains it with no more than this
SUBSETS, SHUFFLES = 10, 200
FEWEST = 5  # people of each kind


@dataclass(frozen=True)
class Records:
    """Visits ``values [visit, region]``, in one standardisation for all, and whose they are ``[visit]``."""

    values: Values
    subject: NDArray[np.object_]

    @classmethod
    def of(cls, visits: pd.DataFrame, mean: pd.Series, sd: pd.Series) -> Records:
        """The visits of a table of which every region was measured, standardised."""
        values = ((visits[list(mean.index)] - mean) / sd).to_numpy(float)
        whole = ~np.isnan(values).any(1)
        return cls(values[whole], visits["subject"].to_numpy(object)[whole])


@dataclass(frozen=True)
class Privacy:
    """What was measured, the ``verdict``, and the ``reasons`` in words."""

    figures: dict[str, float]
    verdict: Verdict
    reasons: list[str]

    def __repr__(self) -> str:
        return " ".join([f"{self.verdict}:", *self.reasons])


def audit(
    synthetic: Records,
    train: Records,
    held_out: Records,
    nats: tuple[Values, Values] | None = None,
    seed: int = 0,
) -> Privacy:
    """Compare what a model generates, and how likely it finds people, between those it was trained on and others.

    ``nats`` are log-likelihoods a visit of training and of held-out subjects ``[subject]``. ``synthetic`` are people
    generated for the covariates of training and of held-out people alike, so that covariates favour neither. Measured
    are: the median distance of synthetic visits to the nearest visit of training people over that to the nearest of
    as many held-out people; visits nearer than a tenth of the usual (near copies) or equal (exact copies); and the
    area under the curve of telling members by their likelihood. How often chance alone does as much is found by
    shuffling who was trained on.

    Fails where there are exact copies of training people only, where near copies are twice as many, the ratio is below
    0.8, or that area above 0.9 ("outstanding"), and chance does not explain it (1 %); cautions below 0.9 and above 0.7
    ("acceptable discrimination"). A likelihood fitted to few people always favours these a little: whoever has the run
    and a person's regions can tell. Sources: Zhao et al. 2021 (distances); Yeom et al. 2018 (likelihood gap); Hosmer &
    Lemeshow 2000, 5.2.4 (words for areas).
    """
    figures, found = _distances(synthetic, train, held_out, seed)
    if nats is not None:
        more, gap = _membership(*nats)
        figures, found = figures | more, found + gap
    severities = {severity for severity, _ in found}
    verdict: Verdict = "fail" if "fail" in severities else "caution" if "caution" in severities else "pass"
    said = [reason for severity in ("fail", "caution") for own, reason in found if own == severity]
    return Privacy(figures, verdict, said or [_nothing_found(figures)])


def _distances(
    synthetic: Records, train: Records, held_out: Records, seed: int
) -> tuple[dict[str, float], list[tuple[Verdict, str]]]:
    """Nearest distances by subject, of as many training as held-out people; and the same with people shuffled."""
    people, own = _by_subject(train, held_out)
    far = np.stack([cdist(synthetic.values, visits).min(1) for visits in people], 1)  # [synthetic visit, subject]
    members, others = np.flatnonzero(own), np.flatnonzero(~own)
    size = min(len(members), len(others))
    rng = np.random.default_rng(seed)
    apart = float(np.median(cdist(held_out.values, train.values).min(1)))

    def compare(a: NDArray[np.int_], b: NDArray[np.int_]) -> Values:
        """Log of the ratio, near copies of the first and of the second; means over subsets of equal size."""
        parts = []
        for _ in range(1 if len(a) == len(b) == size else SUBSETS):
            to = [far[:, rng.permutation(each)[:size]].min(1) for each in (a, b)]
            ratio = np.log(max(float(np.median(to[0])), 1e-12) / max(float(np.median(to[1])), 1e-12))
            parts.append([ratio, *((t < NEAR * apart).mean() for t in to)])
        return np.mean(parts, 0)

    seen = compare(members, others)
    shuffled = np.stack([compare(*np.split(rng.permutation(len(people)), [len(members)])) for _ in range(SHUFFLES)])
    closer = _chance(shuffled[:, 0] <= seen[0])
    copied = _chance(shuffled[:, 1] - shuffled[:, 2] >= seen[1] - seen[2])
    reach = EXACT * synthetic.values.shape[1] ** 0.5
    exact, exact_others = (float((far[:, rows].min(1) <= reach).mean()) for rows in (members, others))
    ratio, near, near_others = float(np.exp(seen[0])), float(seen[1]), float(seen[2])
    figures = {
        "nearest_distance_ratio": ratio, "nearest_distance_p": closer, "exact_copies": exact,
        "exact_copies_of_held_out": exact_others, "near_copies": near, "near_copies_of_held_out": near_others,
        "near_copies_p": copied,
    }  # fmt: skip
    found: list[tuple[Verdict, str]] = []
    if exact > 0 and exact_others == 0:
        found.append(("fail", f"{exact:.2%} of synthetic visits are exact copies of a training visit."))
    if near > 2 * near_others and copied <= ALPHA:
        found.append(("fail", f"{near:.1%} of synthetic visits lie next to a training visit, {near_others:.1%} next to "
                              "one of as many held-out people."))  # fmt: skip
    if ratio < RATIO["caution"] and closer <= ALPHA:
        said = f"Synthetic visits lie {ratio:.2f} times as far from training people as from people not trained on."
        found.append(("fail" if ratio < RATIO["fail"] else "caution", said))
    return figures, found


def _membership(train: Values, held_out: Values) -> tuple[dict[str, float], list[tuple[Verdict, str]]]:
    member = np.concatenate([np.ones(len(train)), np.zeros(len(held_out))])
    auc = float(roc_auc_score(member, np.concatenate([train, held_out])))
    better = float(stats.mannwhitneyu(train, held_out, alternative="greater").pvalue)
    figures = {
        "membership_auc": auc, "membership_p": better,
        "likelihood_gap": float(np.mean(train) - np.mean(held_out)),
    }  # fmt: skip
    if auc <= AUC["caution"] or better > ALPHA:
        return figures, []
    if auc > AUC["fail"]:
        return figures, [("fail", f"The likelihood tells who was trained on (AUC {auc:.2f}).")]
    said = (
        f"The likelihood tells to some degree who was trained on (AUC {auc:.2f}): share synthetic people rather than "
        "the run."
    )
    return figures, [("caution", said)]


def _by_subject(train: Records, held_out: Records) -> tuple[list[Values], NDArray[np.bool_]]:
    """The visits of each person, and whether the person was trained on."""
    groups, own = [], []
    for records, is_member in ((train, True), (held_out, False)):
        _, rows = np.unique(records.subject.astype(str), return_inverse=True)
        groups += [records.values[rows == k] for k in range(rows.max() + 1)]
        own += [is_member] * (int(rows.max()) + 1)
    return groups, np.array(own)


def _chance(as_far: NDArray[np.bool_]) -> float:
    return float((1 + as_far.sum()) / (1 + len(as_far)))


def _nothing_found(figures: dict[str, float]) -> str:
    said = (
        f"Nothing copied (near copies {figures['near_copies']:.1%} of training, "
        f"{figures['near_copies_of_held_out']:.1%} of held-out people); distance ratio "
        f"{figures['nearest_distance_ratio']:.2f}"
    )
    if "membership_auc" not in figures:
        return f"{said}."
    said += f"; membership AUC {figures['membership_auc']:.2f}"
    if figures["membership_p"] > ALPHA:
        return f"{said}."
    return f"{said}: people trained on are a little likelier, as for any model of few (caution above {AUC['caution']})."
