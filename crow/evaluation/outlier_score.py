"""Which visits are unusual: far less likely than other visits of the same kind."""

import pandas as pd

LIMIT = 4.0
TO_SD = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


def outlier_score(scores: pd.DataFrame) -> pd.Series:
    """(median - log_prob) / (1.4826 MAD), within first visits and within later ones: the first have no past to go by.

    ``scores`` has subject, time and log_prob, a row a visit. Above `LIMIT` a visit is unusual: of visits drawn from a
    normal model of 6 regions 0.7 % are, of more regions fewer. 0 where all are alike.
    """
    first = scores["time"] == scores.groupby("subject")["time"].transform("min")
    below = scores["log_prob"].groupby(first).transform("median") - scores["log_prob"]
    spread = TO_SD * below.abs().groupby(first).transform("median")
    return (below / spread.where(spread > 0)).fillna(0.0).rename("outlier_score")
