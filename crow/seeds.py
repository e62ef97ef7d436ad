"""Seeds for the parts of a run, derived from the one seed of the user."""

from enum import IntEnum

import numpy as np


class SeedStream(IntEnum):
    """What a derived seed is for: one of the parts of `derived_seed`, so that no two uses share a seed."""

    # Training
    TRAINING_NOISE = 1  # per epoch: dropout, left-out visits, noise of the objective
    INITIAL_WEIGHTS = 2  # per ensemble member
    TRAINING = 3  # of a cross-sectional flow
    PRETRAINING = 4  # of its first part
    PATCHES = 5  # per scan: where patches are cut
    COMPONENT_CHOICE = 7  # subjects that choose the number of components
    # Draws of a model
    SEGMENTATION_DRAWS = 8  # per scan
    SYNTHETIC_DISTRIBUTION = 11
    SYNTHETIC_USEFULNESS = 12
    SYNTHETIC_PRIVACY = 13
    GROUP_CONTRAST = 14  # per contrast
    GROUP_DRAWS = 15  # per group
    GROUP_REFERENCE = 16  # per group
    SYNTHETIC_COVARIATES = 17  # per part of the new subjects
    NEW_SUBJECTS = 18  # per part
    SCORES = 19  # per part
    COVARIATE_DRIFT = 20  # per first subject of a part
    FORECASTS = 21  # per part


def derived_seed(*parts: int) -> int:
    """A seed that depends on all ``parts``.

    Parameters
    ----------
    *parts : int
        The user's seed, a `SeedStream`, and numbers within it (an epoch, a member, a row).

    Returns
    -------
    int
        A 64-bit seed.

    Examples
    --------
    >>> derived_seed(0, 1, SeedStream.TRAINING_NOISE) == derived_seed(0, 2, SeedStream.TRAINING_NOISE)
    False
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])
