"""The effects of sites as part of the map between a table and what the flow sees."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from site_cohorts import site_cohort

from crow.cohort import Cohort
from crow.representation.regions import RegionTable
from crow.representation.site_effects import SiteEffects


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    simulated = site_cohort(subjects=20, regions=2).cohort
    visits = simulated.visits.copy()
    visits["scanner"] = np.where(visits.index % 3 == 0, "1.5T", "3T")
    visits.loc[5, "ROI1"] = np.nan
    schema = simulated.schema.model_copy(
        update={"sites": ["site", "scanner"], "covariates": {"site": "categorical", "scanner": "categorical"}}
    )
    return Cohort(visits, schema, simulated.start)


@pytest.fixture(scope="module")
def table(cohort: Cohort) -> RegionTable:
    table = RegionTable.fit(cohort, site_effects=True)
    sites = SiteEffects.of(cohort.visits, cohort.schema.sites)
    assert sites is not None
    rng, shape = np.random.default_rng(0), (sum(sites.counts), 2)
    level, log_scale = rng.normal(0, 1, shape).tolist(), rng.normal(0, 0.3, shape).tolist()
    table.sites = sites.model_copy(update={"level": level, "log_scale": log_scale})
    return table


def test_columns_are_factors_and_so_is_their_combination(table: RegionTable) -> None:
    assert table.sites is not None
    assert [factor.name for factor in table.sites.factors] == ["site", "scanner", "site x scanner"]
    assert table.sites.counts == [3, 2, 6]
    assert [c.name for c in table.covariates] == ["age"]


def test_nested_columns_have_no_combination(cohort: Cohort) -> None:
    visits = cohort.visits.assign(scanner=cohort.visits["site"] + "a")
    sites = SiteEffects.of(visits, ["site", "scanner"])
    assert sites is not None and [factor.name for factor in sites.factors] == ["site", "scanner"]
    assert SiteEffects.of(visits.assign(site="one"), ["site"]) is None


def test_encode_removes_what_decode_adds(cohort: Cohort, table: RegionTable) -> None:
    data = table.encode(cohort.visits)
    values = table.decode(data.x[data.mask], cohort.visits)
    known = cohort.visits[cohort.regions].notna().to_numpy()
    np.testing.assert_allclose(values[known], cohort.visits[cohort.regions].to_numpy()[known], rtol=1e-5, atol=1e-5)
    assert table.sites is not None
    level, log_scale = table.sites.effects(cohort.visits)
    standard = (cohort.visits[cohort.regions].to_numpy() - table.mean) / np.array(table.sd)
    np.testing.assert_allclose(
        data.x[data.mask].numpy()[known], ((standard - level) / np.exp(log_scale))[known], rtol=1e-4, atol=1e-5
    )


def test_the_log_scale_is_that_of_the_jacobian(cohort: Cohort, table: RegionTable) -> None:
    data = table.encode(cohort.visits)
    log_scale = table.log_scale_of(data, cohort.visits)[data.mask]
    step = 1e-3
    moved = table.encode(cohort.visits.assign(**{name: cohort.visits[name] + step for name in cohort.regions}))
    slope = ((moved.x - data.x) / step)[data.mask].double()
    measured = data.values()[data.mask]
    expected = -torch.where(measured, slope.clamp_min(1e-9).log(), 0.0).sum(1)
    torch.testing.assert_close(log_scale, expected, atol=2e-2, rtol=0)
    unit = table.decode_sd(data.x[data.mask], torch.ones(len(cohort.visits), 2), cohort.visits)
    np.testing.assert_allclose(np.log(unit[measured.all(1)]).sum(1), log_scale[measured.all(1)], rtol=1e-6)


def test_a_gap_is_filled_with_the_value_that_this_site_would_have_measured(cohort: Cohort, table: RegionTable) -> None:
    data = table.encode(cohort.visits)
    x = data.x[data.mask]
    assert x[5, 0] == x[4, 0]


@pytest.mark.parametrize("words", ["elsewhere", None])
def test_an_unseen_site_has_no_effect(cohort: Cohort, table: RegionTable, words: str | None) -> None:
    assert table.sites is not None
    visits = cohort.visits.assign(site=words, scanner=words)
    level, log_scale = table.sites.effects(visits)
    assert not level.any() and not log_scale.any()
    assert table.sites.unseen(visits).all()
    only_scanner = table.sites.effects(cohort.visits.assign(site=words))[0]
    assert only_scanner.any()


def test_it_survives_json(cohort: Cohort, table: RegionTable) -> None:
    again = RegionTable.model_validate_json(table.model_dump_json())
    assert torch.equal(again.encode(cohort.visits).x, table.encode(cohort.visits).x)


def test_without_effects_a_site_is_a_covariate_unless_it_has_too_many_levels(cohort: Cohort) -> None:
    assert [c.name for c in RegionTable.fit(cohort).covariates] == ["age", "site", "scanner"]
    many = Cohort(cohort.visits.assign(site=[f"c{k % 40}" for k in range(80)]), cohort.schema, cohort.start)
    assert [c.name for c in RegionTable.fit(many).covariates] == ["age", "scanner"]


def test_new_levels_are_named(cohort: Cohort, table: RegionTable) -> None:
    assert table.sites is not None
    rows = pd.DataFrame({"site": ["site1", "b", "a"], "scanner": ["3T", "3T", None]})
    assert table.sites.new_levels(rows) == ["site: a, b", "scanner: no value", "site x scanner: b / 3T, no value"]
