"""A model of a cohort with sites: changes of scanner, unseen sites, adaptation, and what is learned from whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import cumulative_trapezoid
from site_cohorts import SiteCohort, site_cohort

import crow
from crow.cohort import Cohort
from crow.cohort.split import test_subjects as reserved
from crow.errors import CohortError, ConfigError
from crow.evaluation.forecasts import split_history, value_scores
from crow.models.adapted import adapted
from crow.representation.regions import RegionTable
from crow.representation.site_effects import SiteEffects
from crow.training.site_effects import SiteData

MIXED: dict[str, Any] = {
    "training": {"max_epochs": 0}, "model": {"members": 1, "hidden": 4, "initialise": "mixed_model"}
}  # fmt: skip
QUICK: dict[str, Any] = {"training": {"max_epochs": 2, "steps_per_epoch": 3}, "model": {"members": 2, "hidden": 8}}


@pytest.fixture(scope="module")
def simulated() -> SiteCohort:
    torch.set_num_threads(1)
    return site_cohort(subjects=80, sites=3, scale_spread=0.1)


@pytest.fixture(scope="module")
def mixed(simulated: SiteCohort) -> crow.CRow:
    return crow.CRow(**MIXED).fit(simulated.cohort)


@pytest.fixture(scope="module")
def trained(simulated: SiteCohort) -> crow.CRow:
    return crow.CRow(seed=1, **QUICK).fit(simulated.cohort)


def at(cohort: Cohort, site: Any) -> Cohort:
    return replace(cohort, visits=cohort.visits.assign(site=site))


def test_effects_are_recovered_in_the_units_of_the_table(simulated: SiteCohort, mixed: crow.CRow) -> None:
    assert mixed.table.sites is not None
    effects = mixed.table.sites.table(mixed.table.regions, mixed.table.sd)
    truth = simulated.level - simulated.level.mean(0)
    np.testing.assert_allclose(effects["shift"].to_numpy().reshape(3, 2), truth, atol=0.15)
    assert (effects["shift_sd_q05"] < effects["shift_sd"]).all() and (effects["scale_q95"] > effects["scale"]).all()
    assert effects["subjects"].sum() > 80


def test_a_change_of_scanner_costs_next_to_nothing() -> None:
    scores = {}
    for change in (0.0, 0.5):
        cohort = site_cohort(subjects=140, sites=2, spread=0.7, change=change, seed=3).cohort
        if not change:
            cohort = replace(cohort, schema=cohort.schema.model_copy(update={"sites": [], "covariates": {}}))
            visits = site_cohort(subjects=140, sites=2, spread=0.0, change=0.5, seed=3).cohort.visits
            cohort = replace(cohort, visits=visits.drop(columns="site"))
        names = cohort.subjects
        model = crow.CRow(**MIXED).fit(cohort.of(names[:80]))
        history, targets = split_history(cohort.of(names[80:]))
        forecast = model.forecast(history, targets[["subject", "time", *cohort.covariates]], draws=400)
        scores[change] = float(value_scores(forecast, targets, history)["crps"].mean())
    assert scores[0.5] < 1.05 * scores[0.0]


def test_the_forecast_follows_the_scanner_that_is_asked_for(simulated: SiteCohort, trained: crow.CRow) -> None:
    last = simulated.cohort.visits.groupby("subject", as_index=False)["time"].max()
    visits = last.assign(time=last["time"] + 1)
    means = [
        trained.forecast(simulated.cohort, visits.assign(site=f"site{k}"), draws=40).values.mean((0, 1))
        for k in range(3)
    ]
    found = np.stack(means) - np.mean(means, 0)
    np.testing.assert_allclose(found, simulated.level - simulated.level.mean(0), atol=0.25)


def test_the_density_at_an_unseen_site_integrates_to_one() -> None:
    model = crow.CRow(seed=2, **QUICK).fit(site_cohort(subjects=40, regions=1, visits=3).cohort)
    grid = np.linspace(-12, 12, 1201)
    rows = [
        {"subject": f"g{k:04d}", "session": str(j), "time": float(j), "age": 70.0 + j, "site": site, "ROI1": value}
        for k, last in enumerate(grid)
        for j, (site, value) in enumerate([("site0", 0.3), ("elsewhere", 0.5), ("elsewhere", last)])
    ]
    visits = pd.DataFrame(rows)
    cohort = Cohort(visits, model.schema, visits.groupby("subject")["age"].first())
    density = np.exp(model.log_prob(cohort)["log_prob"].to_numpy().reshape(-1, 3))
    assert np.trapezoid(density[:, 2], grid) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(density[:, :2], np.broadcast_to(density[0, :2], density[:, :2].shape), rtol=1e-4)


def test_draws_at_an_unseen_site_are_those_of_the_density() -> None:
    model = crow.CRow(seed=2, **QUICK).fit(site_cohort(subjects=40, regions=1, visits=3).cohort)
    past = pd.DataFrame({"subject": "a", "session": ["1", "2"], "time": [0.0, 1.0], "age": [70.0, 71.0],
                         "site": ["site0", "elsewhere"], "ROI1": [0.3, 0.5]})  # fmt: skip
    ask = pd.DataFrame({"subject": ["a"], "time": [2.0], "site": ["elsewhere"]})
    history = Cohort(past, model.schema, past.groupby("subject")["age"].first())
    values = np.sort(model.forecast(history, ask, draws=8000).values[0, :, 0])
    grid = np.linspace(-8, 8, 801)
    rows = pd.concat(
        [
            pd.concat([past, past.tail(1).assign(session="3", time=2.0, age=72.0, ROI1=value)]).assign(
                subject=f"g{k:03d}"
            )
            for k, value in enumerate(grid)
        ]
    )
    cohort = Cohort(rows.reset_index(drop=True), model.schema, rows.groupby("subject")["age"].first())
    density = np.exp(model.log_prob(cohort)["log_prob"].to_numpy().reshape(-1, 3)[:, 2])
    cumulative = cumulative_trapezoid(density, grid, initial=0)
    empirical = np.searchsorted(values, grid) / len(values)
    assert np.abs(cumulative - empirical).max() < 0.02


def test_an_unseen_site_has_wider_intervals_most_of_all_after_a_change(simulated: SiteCohort, mixed: crow.CRow) -> None:
    cohort = at(simulated.cohort, "site0")
    last = cohort.visits.groupby("subject", as_index=False)["time"].max()
    visits = last.assign(time=last["time"] + 1)

    def sd(history: Cohort, site: str | None) -> float:
        return float(mixed.forecast(history, visits.assign(site=site), draws=400).values.std(1).mean())

    known, changed = sd(cohort, "site0"), sd(cohort, "elsewhere")
    stayed = sd(at(cohort, "elsewhere"), "elsewhere")
    assert changed > 1.15 * known
    assert known * 0.8 < stayed < 1.15 * known  # site0 has a scale above 1
    assert sd(at(cohort, "elsewhere"), "another") > 1.15 * known
    first = mixed.log_prob(at(cohort, "elsewhere"))["log_prob"].mean()
    assert np.isfinite(first)


def test_a_missing_region_at_an_unseen_site_has_a_wider_interval(simulated: SiteCohort, mixed: crow.CRow) -> None:
    """After a change of scanner, as a forecast has; measured values stay."""
    cohort = at(simulated.cohort.of(simulated.cohort.subjects[:10]), "site0")
    region, last = cohort.regions[0], ~cohort.visits["subject"].duplicated(keep="last")
    lacking = replace(cohort, visits=cohort.visits.assign(**{region: cohort.visits[region].mask(last)}))
    new = replace(lacking, visits=lacking.visits.assign(site=lacking.visits["site"].mask(last, "elsewhere")))
    for smooth in (False, True):
        known, unknown = (mixed.fill(each, draws=400, smooth=smooth) for each in (lacking, new))
        assert unknown.values[..., 0].std(1).mean() > 1.15 * known.values[..., 0].std(1).mean()
        for other in cohort.regions[1:]:
            assert (unknown.table[other] == cohort.visits[other].to_numpy()).all()


def test_an_empty_scanner_counts_as_unseen(simulated: SiteCohort, mixed: crow.CRow) -> None:
    elsewhere, empty = (mixed.log_prob(at(simulated.cohort, site)) for site in ("elsewhere", None))
    pd.testing.assert_frame_equal(elsewhere, empty)


def test_other_subjects_do_not_notice_one_at_an_unseen_site(simulated: SiteCohort, trained: crow.CRow) -> None:
    visits = simulated.cohort.visits
    moved = visits.assign(site=visits["site"].mask(visits["subject"] == "s007", "elsewhere"))
    before, after = (trained.score(replace(simulated.cohort, visits=v), draws=20) for v in (visits, moved))
    others = (visits["subject"] != "s007").to_numpy()
    np.testing.assert_allclose(before["log_prob"][others], after["log_prob"][others], rtol=1e-5, atol=1e-5)
    assert (before["log_prob"] != after["log_prob"])[~others].all()


def test_a_saved_model_keeps_its_sites(simulated: SiteCohort, trained: crow.CRow, tmp_path: Path) -> None:
    trained.save(tmp_path / "run")
    loaded = crow.load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.log_prob(simulated.cohort), trained.log_prob(simulated.cohort))


def test_nothing_is_learned_from_test_subjects(simulated: SiteCohort) -> None:
    settings = {**MIXED, "split": {"test": 0.3}}
    test = reserved(simulated.cohort, 0.3, 0)
    visits = simulated.cohort.visits.copy()
    theirs = visits["subject"].isin(test)
    visits.loc[theirs, ["ROI1", "ROI2"]] += 5.0
    visits.loc[theirs, "site"] = "site1"
    one, other = (
        crow.CRow(**settings).fit(replace(simulated.cohort, visits=v)) for v in (simulated.cohort.visits, visits)
    )
    assert one.table == other.table


def test_a_member_learns_no_effect_from_its_validation_subjects(simulated: SiteCohort) -> None:
    cohort = simulated.cohort
    table = RegionTable.fit(cohort, site_effects=True)
    sites = SiteEffects.of(cohort.visits, ["site"])
    assert sites is not None
    table.sites = sites.without_effects(2)
    data = table.encode(cohort.visits)
    rows = torch.arange(0, 80, 5)
    shifted = replace(data, x=data.x.index_add(0, rows, torch.full_like(data.x[rows], 3.0)))
    kept = ~torch.isin(torch.arange(80), rows)
    found = []
    for each in (data, shifted):
        whole = SiteData(each, table.site_codes(cohort.visits, each), sites.counts, table.site_scale)
        start = SiteData(data, whole.codes, sites.counts, table.site_scale).estimate()
        found.append(whole.cross_fitted(rows, start.effects).x[kept])
    assert torch.equal(*found)


def test_adapting_finds_the_new_site_and_changes_nothing_else(simulated: SiteCohort, trained: crow.CRow) -> None:
    shift, scale = np.array([0.8, -0.6]), 1.0
    new = at(simulated.cohort.of(simulated.cohort.subjects[:8]), "site0")
    assert trained.table.sites is not None
    first = trained.table.sites.effects(new.visits[:1])[0][0] * np.array(trained.table.sd)
    visits = new.visits.copy()
    original = simulated.cohort.of(simulated.cohort.subjects[:8]).visits
    effects = trained.table.sites.effects(original)[0] * np.array(trained.table.sd)
    average = original[["ROI1", "ROI2"]].to_numpy() - effects
    late = (visits.groupby("subject").cumcount() >= 2).to_numpy()
    visits[["ROI1", "ROI2"]] = average + np.where(late[:, None], shift * scale, first)
    visits["site"] = np.where(late, "new", "site0")
    other, table = adapted(trained, replace(new, visits=visits))
    np.testing.assert_allclose(table["shift"], shift, atol=0.35)
    assert (table["level"] == "new").all() and (table["subjects"] == 8).all()
    pd.testing.assert_frame_equal(other.log_prob(simulated.cohort), trained.log_prob(simulated.cohort))
    assert trained.table.sites is not None and other.table.sites is not None
    assert "new" not in trained.table.sites.factors[0].levels
    assert other.table.sites.level[:3] == trained.table.sites.level
    assert other.table.model_copy(update={"sites": None}) == trained.table.model_copy(update={"sites": None})
    assert other.flow is trained.flow
    gain = other.log_prob(replace(new, visits=visits))["log_prob"].sum()
    assert gain > trained.log_prob(replace(new, visits=visits))["log_prob"].sum()


def test_what_cannot_be_adapted_is_refused(simulated: SiteCohort, trained: crow.CRow) -> None:
    with pytest.raises(CohortError, match="every site or scanner is one that the run knows"):
        adapted(trained, simulated.cohort)
    schema = simulated.cohort.schema.model_copy(update={"sites": [], "covariates": {}})
    plain = crow.CRow(**MIXED).fit(replace(simulated.cohort, schema=schema))
    with pytest.raises(ConfigError, match="no effects of sites or scanners"):
        adapted(plain, replace(simulated.cohort, schema=schema))
