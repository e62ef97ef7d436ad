"""Seeds of parts of a run, from the one seed that the user gave."""

import numpy as np


def derived_seed(*parts: int) -> int:
    """A seed that depends on all ``parts``, well mixed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])
