"""Bootstrap over subjects: the one place where subjects are resampled and intervals are taken from the resamples."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
N_RESAMPLES = 1000


def resample_subjects(
    subjects: int, resamples: int = N_RESAMPLES, seed: int | np.random.Generator = 0
) -> NDArray[np.int64]:
    """Draw subjects with replacement.

    Parameters
    ----------
    subjects : int
        Number of subjects; they are numbered from 0.
    resamples : int
        Number of bootstrap samples.
    seed : int or numpy.random.Generator
        Seed of the resampling. Pass one generator to resample several groups independently.

    Returns
    -------
    ndarray of shape [resample, subject]
        The numbers of the subjects in each bootstrap sample, which has the size of the original one.
    """
    return np.random.default_rng(seed).integers(subjects, size=(resamples, subjects))


def interval(values: Values, level: float = 0.95) -> tuple[Values, Values]:
    """Percentile interval over the first axis of ``values [resample, ...]``, ignoring NaN.

    Parameters
    ----------
    values : ndarray of shape [resample, ...]
        A statistic of each bootstrap sample.
    level : float
        Coverage of the central interval, between 0 and 1.

    Returns
    -------
    tuple of ndarray of shape [...]
        Lower and upper bound; NaN where every resample is NaN.
    """
    shares = [(1 - level) / 2, (1 + level) / 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all resamples NaN
        low, high = np.nanquantile(values, shares, axis=0, method="weibull")  # the rule of `quantiles_of`
    return low, high
