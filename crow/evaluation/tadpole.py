"""The TADPOLE challenge: its submission format and its five scores.

Source: Marinescu et al., TADPOLE Challenge: Prediction of Longitudinal Evolution in Alzheimer's Disease, 2018,
section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.metrics import balanced_accuracy_score

from crow.errors import CohortError
from crow.files import write_text

MONTHS = 60
CLASSES = ("CN", "MCI", "AD")
TARGETS = ("ADAS13", "Ventricles_ICV")
PROBABILITIES = [f"{name} relative probability" for name in CLASSES]
COLUMNS = [
    "RID", "Forecast Month", "Forecast Date", *PROBABILITIES,
    *(f"{target}{part}" for target in TARGETS for part in ("", " 50% CI lower", " 50% CI upper")),
]  # fmt: skip


def months(start: str, count: int = MONTHS) -> list[str]:
    """``2018-01, 2018-02, ...``: the months that a submission forecasts."""
    return [str(month) for month in pd.period_range(start, periods=count, freq="M")]


def write_submission(forecasts: pd.DataFrame, path: str | Path, overwrite: bool = False) -> None:
    """Write a table of `COLUMNS`, 60 monthly rows per subject; raises CohortError if it is not a valid submission."""
    check_submission(forecasts, "the forecasts")
    write_text(path, forecasts[COLUMNS].to_csv(index=False, lineterminator="\n", float_format="%.6g"), overwrite)


def read_submission(path: str | Path) -> pd.DataFrame:
    """Read a submission; raises CohortError if it is not valid."""
    table = pd.read_csv(path, dtype={"RID": str, "Forecast Date": str})
    check_submission(table, str(path))
    return table


def check_submission(table: pd.DataFrame, source: str) -> None:
    """Raise CohortError, naming the column, subject or row that makes a submission invalid."""
    if missing := [name for name in COLUMNS if name not in table]:
        raise CohortError(f"{source}: a submission also needs the columns {', '.join(missing)}.")
    numbers = table[COLUMNS[3:]]
    if numbers.isna().any().any():
        column = numbers.columns[numbers.isna().any()][0]
        row = int(numbers[column].isna().to_numpy().argmax())
        raise CohortError(f"{source}, RID {table['RID'].iloc[row]}, {table['Forecast Date'].iloc[row]}: no {column}.")
    if (table[PROBABILITIES] < 0).any().any() or (table[PROBABILITIES].sum(axis=1) <= 0).any():
        raise CohortError(f"{source}: relative probabilities must not be negative, nor all 0 in one row.")
    for target in TARGETS:
        ends = table[[f"{target} 50% CI lower", f"{target} 50% CI upper"]].to_numpy()
        if (wrong := ends[:, 0] > ends[:, 1]).any():
            row = int(wrong.argmax())
            rid = table["RID"].iloc[row]
            raise CohortError(f"{source}, RID {rid}: the interval of {target} ends below its lower bound.")
    counts = table.groupby("RID").size()
    if (counts != MONTHS).any():
        rid = counts.index[counts != MONTHS][0]
        raise CohortError(f"{source}: RID {rid} has {counts[rid]} rows; a submission has {MONTHS} months per subject.")


def score(submission: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """Score a submission.

    As in the challenge's own script, a forecast counts for the first day of its month, and a visit is compared with the
    nearest forecast. BCA follows the definition on the challenge's page, each class against the others (its first
    script compared pairs of classes), over the classes that occur.

    Parameters
    ----------
    submission : DataFrame
        A table of `COLUMNS`.
    truth : DataFrame
        One row per later visit: ``RID``, ``date`` (a day or Timestamp), ``diagnosis`` (CN, MCI, AD, or missing),
        ``ADAS13`` and ``Ventricles_ICV`` (NaN if missing).

    Returns
    -------
    dict of str to float
        ``mAUC``, ``BCA``, and ``MAE``, ``WES`` and ``CPA`` of ADAS13 and Ventricles_ICV; NaN if the truth has nothing
        to compare with.

    Raises
    ------
    CohortError
        If the submission lacks a subject of ``truth``.
    """
    rows = _matched(submission, truth)
    known = truth["diagnosis"].isin(CLASSES).to_numpy()
    probabilities = rows.loc[known, PROBABILITIES].to_numpy(float)
    probabilities = probabilities / probabilities.sum(1, keepdims=True)
    classes = truth.loc[known, "diagnosis"].map(CLASSES.index).to_numpy(int)
    scores = {
        "mAUC": multiclass_auc(classes, probabilities),
        "BCA": balanced_accuracy(classes, probabilities.argmax(1), len(CLASSES)),
    }
    for target in TARGETS:
        known_target = truth[target].notna().to_numpy()
        value = truth.loc[known_target, target].to_numpy(float)
        names = [target, f"{target} 50% CI lower", f"{target} 50% CI upper"]
        estimate, low, high = rows.loc[known_target, names].to_numpy(float).T
        error = np.abs(estimate - value)
        scores[f"MAE {target}"] = _mean(error)
        scores[f"WES {target}"] = weighted_error(error, low, high)
        scores[f"CPA {target}"] = abs(_mean((low <= value) & (value <= high)) - 0.5)
    return scores


def multiclass_auc(classes: Sequence[int] | np.ndarray, probabilities: np.ndarray) -> float:
    """mAUC of Hand & Till 2001: the mean over pairs of classes of the two AUCs of a pair; NaN without two classes."""
    present = np.unique(classes)
    if len(present) < 2:
        return float("nan")
    aucs = []
    for k, first in enumerate(present):
        for second in present[k + 1 :]:
            pair = np.isin(classes, (first, second))
            is_first = np.asarray(classes)[pair] == first
            a = _auc(is_first, probabilities[pair, first])
            b = _auc(~is_first, probabilities[pair, second])
            aucs.append((a + b) / 2)
    return float(np.mean(aucs))


def _auc(positive: np.ndarray, score: np.ndarray) -> float:
    """Mann and Whitney's U over the number of pairs; scikit-learn's checks of its arguments take ten times as long."""
    ranks, count = rankdata(score), int(positive.sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(score) - count)))


def balanced_accuracy(classes: Sequence[int] | np.ndarray, predicted: np.ndarray, count: int) -> float:
    """BCA: the mean over the classes that occur of (sensitivity + specificity) / 2."""
    classes, predicted = np.asarray(classes), np.asarray(predicted)
    occurring = [k for k in range(count) if 0 < (classes == k).sum() < len(classes)]
    parts = [balanced_accuracy_score(classes == k, predicted == k) for k in occurring]
    return float(np.mean(parts)) if parts else float("nan")


def weighted_error(error: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """WES: absolute errors weighted by 1 / length of the 50 % interval."""
    weight = 1 / np.maximum(high - low, 1e-12)
    return float((weight * error).sum() / weight.sum()) if len(error) else float("nan")


def _matched(submission: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """The forecast of each visit of ``truth``, in its order."""
    first = pd.to_datetime(submission["Forecast Date"].astype(str).str[:7], format="%Y-%m")
    table = submission.assign(RID=submission["RID"].astype(str), day=first)
    by_subject = {rid: rows for rid, rows in table.groupby("RID")}
    found = []
    for rid, date in zip(truth["RID"].astype(str), pd.to_datetime(truth["date"]), strict=True):
        if rid not in by_subject:
            raise CohortError(f"RID {rid}: the submission has no forecast of this subject.")
        rows = by_subject[rid]
        found.append(rows.iloc[int((rows["day"] - date).abs().to_numpy().argmin())])
    return pd.DataFrame(found).reset_index(drop=True) if found else table.iloc[:0]


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
