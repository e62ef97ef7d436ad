"""Combinations of covariates: counted by subject, small counts hidden, rare pairs reported with the nearest ones."""

import json

import numpy as np
import pandas as pd
from small_cohorts import in_memory

from crow.cohort import Cohort
from crow.representation.covariate_support import MIN_COUNT, CovariateSupport
from crow.representation.regions import RegionTable


def cohort() -> Cohort:
    """120 subjects with two visits: CN has a score below 2, AD one above 4; three AD subjects carry both alleles."""
    rng = np.random.default_rng(0)
    number = np.repeat(np.arange(120), 2)
    ill = number % 2 == 1
    table = pd.DataFrame({
        "subject": [f"S{k:03d}" for k in number], "age": 70.0 + number % 11 + np.tile([0.0, 1.5], 120),
        "dx": np.where(ill, "AD", "CN"), "score": np.where(ill, rng.uniform(4, 12, 240), rng.uniform(0, 2, 240)),
        "allele": np.where(number % 40 == 1, "2", np.where(number % 3 == 0, "1", "0")),
        "ROI": rng.normal(size=240),
    })  # fmt: skip
    return in_memory(table, ["ROI"], {"dx": "categorical", "score": "numeric", "allele": "categorical"})


def at(**values: object) -> pd.DataFrame:
    return pd.DataFrame({"subject": ["S000"], "age": [75.0], "dx": ["CN"], "score": [1.0], "allele": ["0"], **values})


def test_a_pair_that_no_training_subject_had_is_reported_with_the_nearest_one() -> None:
    support = CovariateSupport.fit(cohort())
    assert support.warnings(at(), ["score", "dx"]) == []
    (warning,) = support.warnings(at(score=[11.9]), ["score"])
    assert warning.startswith("fewer than 5 of the 120 training subjects had score above ")
    assert "together with dx CN; the nearest that 5 or more had is score " in warning
    (warning,) = support.warnings(at(dx=["AD"]), ["dx"])
    assert "dx AD together with score" in warning
    assert support.warnings(at(dx=["AD"], score=[11.0]), ["dx", "score"]) == []
    assert any("allele 2" in one for one in support.warnings(at(allele=["2"]), ["allele"]))


def test_only_changed_covariates_are_looked_at_and_unknown_values_are_skipped() -> None:
    support = CovariateSupport.fit(cohort())
    assert support.warnings(at(score=[11.9]), ["allele"]) == []
    assert support.warnings(at(score=[np.nan], dx=[None]), ["score", "dx"]) == []


def test_a_run_keeps_no_count_of_a_few_subjects() -> None:
    table = RegionTable.fit(cohort())
    kept = json.loads(table.model_dump_json())["support"]
    counts = [n for of in kept["pairs"].values() for rows in of.values() for row in rows for n in row]
    assert counts and all(n == 0 or n >= MIN_COUNT for n in counts)
    assert max(counts) <= 60  # subjects, not visits
    assert RegionTable.model_validate(kept | table.model_dump()).support == table.support


def test_a_run_without_counts_is_read() -> None:
    old = RegionTable.fit(cohort()).model_dump()
    del old["support"]
    assert RegionTable.model_validate(old).support is None
