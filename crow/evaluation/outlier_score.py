"""Which visits are outliers: far less likely than other visits of the same kind."""

import pandas as pd

LIMIT = 4.0
MAD_TO_SD = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


def outlier_score(scores: pd.DataFrame) -> pd.Series:
    """How far the log-density of each visit lies below the median, in robust standard deviations.

    The score is (median - log_prob) / (1.4826 MAD), computed within first visits and within later visits, because a
    first visit has no history that predicts it.

    Parameters
    ----------
    scores : DataFrame
        One row per visit: ``subject``, ``time`` and ``log_prob`` (nats).

    Returns
    -------
    Series
        One score per row, 0 if all visits of a kind are equally likely. A visit above `LIMIT` (4) is an outlier: 0.7 %
        of the visits that are drawn from a normal model of 6 regions, fewer for more regions.
    """
    first = scores["time"] == scores.groupby("subject")["time"].transform("min")
    below = scores["log_prob"].groupby(first).transform("median") - scores["log_prob"]
    spread = MAD_TO_SD * below.abs().groupby(first).transform("median")
    return (below / spread.where(spread > 0)).fillna(0.0).rename("outlier_score")


def with_outlier_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """``scores`` with the columns ``outlier_score`` and ``outlier`` (whether the score is above `LIMIT`).

    Visits without a likelihood (NaN) have the score 0.
    """
    found = outlier_score(scores)
    return scores.assign(outlier_score=found, outlier=found > LIMIT)
