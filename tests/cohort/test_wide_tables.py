"""Any wide table is read as the long one that it stands for."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from crow.cohort import read_cohort

LABELS = st.sampled_from(["W{}", "w{}", "T{}", "Wave{}", "ses{:02d}", "V{}", "visit{}", "tp{}"])


@settings(max_examples=25, deadline=None)
@given(
    label=LABELS, link=st.sampled_from(["_", ".", "-", " "]), before=st.booleans(),
    waves=st.integers(2, 5), subjects=st.integers(10, 15), seed=st.integers(0, 99),
    measures=st.lists(st.sampled_from(["Hippocampus", "Left-Caudate", "MMSE", "lh_area"]), min_size=1, unique=True),
)  # fmt: skip
def test_any_wide_table_is_its_long_one(
    label: str, link: str, before: bool, waves: int, subjects: int, seed: int, measures: list[str]
) -> None:
    """A value per measure, subject and wave comes back at its place; empty waves are no visits."""
    rng = np.random.default_rng(seed)
    ages = 60 + np.arange(subjects)[:, None] + np.cumsum(rng.uniform(0.5, 2, (subjects, waves)), 1).round(2)
    values = rng.normal(50, 5, (len(measures), subjects, waves)).round(3)
    absent = rng.random((subjects, waves)) < 0.2
    absent[:, :2] = False
    columns = {"id": [f"P{s:02d}" for s in range(subjects)]}
    for w in range(waves):
        for name, cells in (("age", ages), *zip(measures, values, strict=True)):
            wave = label.format(w + 1)
            column = f"{wave}{link}{name}" if before else f"{name}{link}{wave}"
            columns[column] = np.where(absent[:, w], "", cells[:, w].astype(str)).tolist()
    cohort = read_cohort(pd.DataFrame(columns))
    assert len(cohort) == (~absent).sum() and set(measures) <= {*cohort.regions, *cohort.covariates}
    for name, cells in zip(measures, values, strict=True):
        np.testing.assert_allclose(cohort.visits[name].to_numpy(float), cells[~absent])
