"""The benchmark of subset densities: for the mixed model the density of a subset is the marginal of the whole."""

import numpy as np
import subset_density
from small_cohorts import small_cohort

import crow

MIXED = {"training": {"max_epochs": 0}, "model": {"members": 1, "initialise": "mixed_model"}}


def test_the_mixed_models_subset_is_its_marginal() -> None:
    cohort = small_cohort(12, regions=3)
    model = crow.CRow(**MIXED).fit(cohort)
    data = model.table.encode(cohort.of(cohort.subjects[:3]).visits)
    apart = subset_density.distances(model.fitted(), data)
    assert len(apart) == 3 * data.count
    np.testing.assert_allclose(apart, 0, atol=1e-3)
