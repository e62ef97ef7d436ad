"""The model that users hold: exact in original units, the same after saving, and honest about what it cannot do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal
from small_cohorts import small_cohort, with_visits

import crow
from crow.cohort import Cohort
from crow.cohort.split import test_subjects as reserved
from crow.errors import CohortError, ConfigError, RunError

QUICK: dict[str, Any] = {"training": {"max_epochs": 2, "steps_per_epoch": 3}, "model": {"members": 2, "hidden": 8}}
MIXED: dict[str, Any] = {
    "training": {"max_epochs": 0},
    "model": {"members": 1, "hidden": 4, "initialise": "mixed_model"},
}
COLUMNS = ["subject", "session", "time", "log_prob"]


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    torch.set_num_threads(1)
    return small_cohort()


@pytest.fixture(scope="module")
def model(cohort: Cohort) -> crow.CRow:
    return crow.CRow(seed=2, **QUICK).fit(cohort)


@pytest.fixture(scope="module")
def mixed() -> tuple[Cohort, crow.CRow]:
    """A cohort of one region and the mixed model of it."""
    torch.set_num_threads(1)
    cohort = small_cohort(20, 1)
    model = crow.CRow(**MIXED).fit(cohort)
    model.flow.set_follow_up(0.0)  # beyond the follow-up intervals are wider than those of the mixed model
    return cohort, model


@pytest.fixture(scope="module")
def published(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> tuple[crow.CRow, Path]:
    folder = tmp_path_factory.mktemp("inn") / "run"
    settings = {**QUICK, "model": {"objective": "inn", "blocks": 1}}
    return crow.CRow(**settings).fit(cohort, folder), folder


def test_a_saved_model_is_the_same_bit_for_bit(cohort: Cohort, model: crow.CRow, tmp_path: Path) -> None:
    saved = crow.CRow(seed=2, **QUICK).fit(cohort, tmp_path / "run")
    loaded = crow.load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.log_prob(cohort), saved.log_prob(cohort), check_exact=True)
    pd.testing.assert_frame_equal(loaded.log_prob(cohort), model.log_prob(cohort), check_exact=True)
    assert loaded.config == saved.config
    assert loaded.metrics == saved.metrics
    assert repr(loaded) == repr(saved)


def test_log_prob_has_a_row_a_visit(cohort: Cohort, model: crow.CRow) -> None:
    found = model.log_prob(cohort)
    assert list(found.columns) == COLUMNS
    pd.testing.assert_frame_equal(found[COLUMNS[:3]], cohort.visits[COLUMNS[:3]])
    assert np.isfinite(found["log_prob"]).all()


def test_units_shift_every_visit_by_their_logarithm() -> None:
    """Volumes in cm3 instead of mm3: a density in 1/cm3."""
    cohort = small_cohort()
    other = with_visits(cohort, cohort.visits.assign(ROI02=cohort.visits["ROI02"] * 1000))
    first, second = (crow.CRow(**MIXED).fit(c).log_prob(c)["log_prob"] for c in (cohort, other))
    np.testing.assert_allclose(second, first - np.log(1000), atol=2e-5)


def test_a_subject_is_scored_alone_as_among_others(
    cohort: Cohort, model: crow.CRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model.log_prob(cohort).set_index(["subject", "session"])["log_prob"]
    visits = cohort.visits
    for names in ([cohort.subjects[1]], cohort.subjects[5:9], cohort.subjects[::-1]):
        some = pd.concat([visits[visits["subject"] == name] for name in names])
        found = model.log_prob(with_visits(cohort, some)).set_index(["subject", "session"])["log_prob"]
        np.testing.assert_allclose(found, whole.loc[found.index], atol=2e-5)
    monkeypatch.setattr("crow.models.crow.CHUNK", 3)
    np.testing.assert_allclose(model.log_prob(cohort)["log_prob"], whole, atol=2e-5)


def test_a_later_visit_never_changes_an_earlier_one(cohort: Cohort, model: crow.CRow) -> None:
    visits = cohort.visits
    last = ~visits["subject"].duplicated(keep="last")
    changed = visits.assign(ROI01=visits["ROI01"] + 0.3 * last, CDRSB=visits["CDRSB"] + 3.0 * last)
    before, after = (model.log_prob(with_visits(cohort, v))["log_prob"] for v in (visits, changed))
    np.testing.assert_array_equal(before[~last], after[~last])
    assert (before[last] != after[last]).all()


def joint_normal(cohort: Cohort, model: crow.CRow, visits: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance, in original units, of one subject's visits, written down from the parameters.

    F holds 1, t, the covariates, t times the covariates at the first visit, and these.
    ``x = F beta + Z b + eps``, ``Z = (1, t)``, ``b ~ N(0, sigma^2 L L')``: covariance ``sigma^2 (I + Z L L' Z')``.
    """
    (flow,) = model.flow.members
    all_visits, region = cohort.visits, cohort.visits["ROI01"]
    t = visits["time"].to_numpy() / float(flow.time_scale)
    age, cdr = ((visits[c] - all_visits[c].mean()) / all_visits[c].std() for c in ("age", "CDRSB"))
    columns = [age, visits["sex"] == "M", cdr.fillna(0.0), cdr.isna()]
    known = np.stack([np.asarray(column, float) for column in columns], 1)
    first = np.repeat(known[:1], len(t), 0)
    effects = np.concatenate([np.ones((len(t), 1)), t[:, None], known, t[:, None] * first, first], 1)
    p = {k: v.detach().double().numpy() for k, v in flow.mixed.named_parameters()}
    (l11,), (l21,), (l22,) = p["factor"]
    spread = np.stack([np.ones_like(t), t], 1) @ np.array([[l11, 0.0], [l21, l22]])
    covariance = np.exp(2 * p["log_sigma"][0]) * (np.eye(len(t)) + spread @ spread.T)
    return region.mean() + region.std() * (effects @ p["beta"])[:, 0], region.var() * covariance


def test_the_start_is_the_mixed_model(mixed: tuple[Cohort, crow.CRow]) -> None:
    cohort, model = mixed
    found = model.log_prob(cohort).groupby("subject")["log_prob"].sum()
    counts = []
    for name, visits in cohort.visits.groupby("subject"):
        mean, covariance = joint_normal(cohort, model, visits)
        assert found[name] == pytest.approx(multivariate_normal(mean, covariance).logpdf(visits["ROI01"]), abs=1e-3)
        counts.append(len(visits))
    assert min(counts) < max(counts)


def test_forecasts_of_the_start_are_the_exact_prediction(mixed: tuple[Cohort, crow.CRow]) -> None:
    """Mean, sd and correlation of two visits to come given all before, so a draw is one trajectory."""
    cohort, model = mixed
    names = [cohort.subjects[k] for k in (0, 4, 9)]
    last = cohort.visits.groupby("subject")["time"].max()
    asked = pd.DataFrame([(n, last[n] + ahead, cdr) for n in names for ahead, cdr in ((1.0, 2.0), (4.0, 5.0))],
                         columns=["subject", "time", "CDRSB"])  # fmt: skip
    forecast = model.forecast(cohort, asked, draws=8000, path=True)
    assert forecast.values.shape == (6, 8000, 1)
    for k, name in enumerate(names):
        past = cohort.visits[cohort.visits["subject"] == name]
        both = pd.concat([past, forecast.visits[forecast.visits["subject"] == name]], ignore_index=True)
        mean, covariance = joint_normal(cohort, model, both)
        n = len(past)
        gain = covariance[n:, :n] @ np.linalg.inv(covariance[:n, :n])
        expected = mean[n:] + gain @ (past["ROI01"].to_numpy() - mean[:n])
        spread = covariance[n:, n:] - gain @ covariance[:n, n:]
        sd = np.sqrt(np.diag(spread))
        draws = forecast.values[2 * k : 2 * k + 2, :, 0]
        assert (np.abs(draws.mean(1) - expected) < 0.03 * sd).all()
        np.testing.assert_allclose(draws.std(1), sd, rtol=0.05)
        assert np.corrcoef(draws)[0, 1] == pytest.approx(spread[0, 1] / sd.prod(), abs=0.05)


def test_forecasts_are_decided_by_the_seed(cohort: Cohort, model: crow.CRow) -> None:
    asked = pd.DataFrame({"subject": [cohort.subjects[3], cohort.subjects[0]], "time": [30.0, 31.0]})
    a, b, c = (model.forecast(cohort, asked, draws=20, seed=seed).values for seed in (5, 5, 6))
    np.testing.assert_array_equal(a, b)
    assert (a != c).all()


def test_forecasts_belong_to_their_subjects_whatever_the_order(cohort: Cohort, model: crow.CRow) -> None:
    asked = pd.DataFrame({"subject": cohort.subjects[2:8], "time": 30.0})
    backwards = pd.concat([cohort.visits[cohort.visits["subject"] == name] for name in cohort.subjects[::-1]])
    expected = model.forecast(cohort, asked, draws=20)
    found = model.forecast(with_visits(cohort, backwards), asked[::-1], draws=20)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)
    pd.testing.assert_frame_equal(found.visits, expected.visits)


def test_what_cannot_be_forecast_is_refused(cohort: Cohort, model: crow.CRow) -> None:
    name = cohort.subjects[0]
    last = cohort.visits.query("subject == @name")["time"].max()
    for visits, message in (
        ({"subject": ["nobody"], "time": [5.0]}, r"subject nobody is not in the cohort"),
        ({"subject": [name], "time": [last]}, rf"subject {name}: .* does not come after the last visit"),
        ({"subject": [name], "time": [np.nan]}, rf"subject {name}: nan .* does not come after the last visit"),
        ({"subject": [name], "time": [30.0], "CDRS": [1.0]}, r"CDRS: no covariate of the cohort \(known: sex, CDRSB\)"),
        ({"subject": [name], "time": [30.0], "sex": ["male"]}, "covariate sex: found male, but it is [FM] at"),
        ({"subject": [name] * 2, "time": [30.0, 30.0]}, rf"subject {name}, time 30: .*sorted.*once"),
        ({"subject": [], "time": []}, "holds no visit"),
    ):
        with pytest.raises(CohortError, match=message):
            model.forecast(cohort, pd.DataFrame(visits))


def test_other_columns_and_other_orders_are_refused(cohort: Cohort, model: crow.CRow) -> None:
    visits = cohort.visits
    for changed, message in (
        (visits.drop(columns="ROI02"), r"the cohort: its columns are not those of the model\. Missing: ROI02"),
        (visits.drop(columns="CDRSB"), r"the cohort: there is no column CDRSB"),
        (visits.assign(sex="X"), r"the cohort: column sex holds 'X'"),
        (visits.iloc[::-1], r"visits have to be sorted by subject and time"),
        (pd.concat([visits, visits.iloc[:1]]), rf"subject {visits['subject'].iloc[0]}, time 0: visits have to be"),
    ):
        with pytest.raises(CohortError, match=message):
            model.log_prob(with_visits(cohort, changed))


def test_an_unfitted_model_says_so(cohort: Cohort) -> None:
    model = crow.CRow()
    asks: list[Callable[[], object]] = [
        lambda: model.log_prob(cohort),
        lambda: model.score(cohort),
        lambda: model.forecast(cohort, cohort.visits),
        lambda: model.sample(cohort.visits),
    ]
    for ask in asks:
        with pytest.raises(RunError, match="not fitted yet"):
            ask()
    assert repr(model) == "CRow, not fitted yet"


def test_scores_say_how_far_a_visit_lies_from_the_past(mixed: tuple[Cohort, crow.CRow]) -> None:
    cohort, model = mixed
    scores = model.score(cohort, draws=2000)
    assert list(scores.columns) == [*COLUMNS, "ROI01_z"]
    _, visits = next(iter(cohort.visits.groupby("subject")))
    mean, covariance = joint_normal(cohort, model, visits)
    exact = np.linalg.solve(np.linalg.cholesky(covariance), visits["ROI01"] - mean)
    np.testing.assert_allclose(scores["ROI01_z"].iloc[: len(exact)], exact, rtol=0.06, atol=0.06)


def test_whole_subjects_are_drawn_from_the_joint_density(mixed: tuple[Cohort, crow.CRow]) -> None:
    cohort, model = mixed
    path = cohort.visits[cohort.visits["subject"] == cohort.subjects[0]].drop(columns="ROI01")
    mean, covariance = joint_normal(cohort, model, path)
    drawn = model.sample(path, draws=8000).values[:, :, 0]
    assert (np.abs(drawn.mean(1) - mean) < 0.05 * np.sqrt(np.diag(covariance))).all()
    np.testing.assert_allclose(np.cov(drawn), covariance, rtol=0.08)


@torch.no_grad()
def test_the_density_of_a_fitted_model_integrates_to_one() -> None:
    """Two regions, two visits, original units: a grid over all four dimensions, along the axes of the draws."""
    cohort = small_cohort()
    training = {"max_epochs": 6, "steps_per_epoch": 5, "learning_rate": 0.03}
    model = crow.CRow(training=training, model={"members": 2, "hidden": 8, "initialise": "standard"}).fit(cohort)
    assert all(member["epoch"] > 0 for member in model.metrics["members"])
    path = cohort.visits[:2].reset_index(drop=True)
    drawn = np.concatenate(model.sample(path.drop(columns=cohort.regions), draws=4000).values, 1)
    step = 1.2
    ticks = np.arange(-5.4, 5.5, step)
    axes = np.linalg.cholesky(np.cov(drawn.T))
    points = drawn.mean(0) + np.stack(np.meshgrid(*[ticks] * 4), -1).reshape(-1, 4) @ axes.T
    visits = path.loc[np.tile([0, 1], len(points))].assign(subject=np.repeat(np.arange(len(points)).astype(str), 2))
    visits[cohort.regions] = points.reshape(-1, 2)
    density = np.exp(model.log_prob(with_visits(cohort, visits))["log_prob"].to_numpy().reshape(-1, 2).sum(1))
    assert density.sum() * step**4 * np.prod(np.diag(axes)) == pytest.approx(1.0, abs=1e-3)


def test_test_subjects_are_never_learned_from(cohort: Cohort) -> None:
    settings: dict[str, Any] = {**QUICK, "split": {"test": 0.3}}
    kept = reserved(cohort, 0.3, 0)
    assert len(kept) == round(0.3 * len(cohort.subjects))
    theirs = cohort.visits["subject"].isin(kept)
    other = with_visits(cohort, cohort.visits.assign(ROI01=cohort.visits["ROI01"].where(~theirs, 9.0)))
    first, second = (crow.CRow(**settings).fit(c) for c in (cohort, other))
    pd.testing.assert_frame_equal(first.log_prob(cohort), second.log_prob(cohort), check_exact=True)
    assert first.metrics["members"] == second.metrics["members"]
    assert first.metrics["test_subjects"] == len(kept)
    expected = -first.log_prob(cohort)["log_prob"][theirs].mean()
    assert first.metrics["test_nll_per_visit"] == pytest.approx(expected, abs=1e-5)
    assert second.metrics["test_nll_per_visit"] > expected + 1


def test_a_test_set_that_leaves_too_little_is_refused_before_training(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"1 subjects are left to train on"):
        crow.CRow(**QUICK, split={"test": 0.9}).fit(cohort, tmp_path / "run")
    kept = reserved(cohort, 0.3, 0)
    rare = cohort.visits.assign(sex=cohort.visits["sex"].where(cohort.visits["subject"] != kept[0], "unknown"))
    with pytest.raises(CohortError, match=r"with the test subjects\): column sex holds 'unknown'"):
        crow.CRow(**QUICK, split={"test": 0.3}).fit(with_visits(cohort, rare), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_sizes_are_chosen_again_for_another_cohort(cohort: Cohort) -> None:
    copies = [cohort.visits.assign(subject=cohort.visits["subject"] + f"copy{k}") for k in range(8)]
    many = Cohort(pd.concat(copies, ignore_index=True), cohort.schema, cohort.start)
    settings = {"model": {"members": 1}, "training": {"max_epochs": 0}}
    model = crow.CRow(**settings).fit(many)
    for_many, alone = model.config, crow.CRow(**settings).fit(cohort)
    assert model.fit(cohort).config == alone.config != for_many


def test_missing_regions_are_filled_from_the_past_alone(cohort: Cohort) -> None:
    visits = cohort.visits.copy()
    visits.loc[visits.index % 4 == 2, "ROI02"] = np.nan
    model = crow.CRow(**QUICK).fit(with_visits(cohort, visits))
    before = model.log_prob(with_visits(cohort, visits))["log_prob"]
    assert np.isfinite(before).all()
    last = ~visits["subject"].duplicated(keep="last")
    for value in (np.nan, 2.0):
        after = model.log_prob(with_visits(cohort, visits.assign(ROI02=visits["ROI02"].where(~last, value))))
        np.testing.assert_allclose(before[~last], after["log_prob"][~last], rtol=1e-5)


def test_a_model_shows_itself_without_its_subjects(cohort: Cohort, model: crow.CRow) -> None:
    shown = f"{model!r} {model._repr_html_()}"
    assert "CRow: 2 regions, " in shown
    assert "validation NLL" in shown
    assert "mixed_model" in model._repr_html_()
    assert not [name for name in cohort.subjects if name in shown]


def test_the_published_objective_generates_and_knows_no_likelihood(
    cohort: Cohort, published: tuple[crow.CRow, Path]
) -> None:
    model, folder = published
    paths = cohort.visits.drop(columns=cohort.regions)
    drawn = model.sample(paths, draws=3, seed=1)
    assert drawn.values.shape == (len(paths), 3, 2)
    assert np.isfinite(drawn.values).all()
    np.testing.assert_array_equal(crow.load(folder).sample(paths, draws=3, seed=1).values, drawn.values)
    assert (model.sample(paths, draws=3, seed=2).values != drawn.values).all()
    for ask in (model.log_prob, model.score, lambda c: model.forecast(c, c.visits)):
        with pytest.raises(ConfigError, match=r"published objective \(inn\)"):
            ask(cohort)
    assert "published objective (inn)" in model._repr_html_()


@pytest.mark.parametrize("change", ["hidden: null", "hidden: 9", "objective: inn", "base: conditional", "blocks: 1"])
def test_other_settings_than_those_of_the_tensors_are_refused(cohort: Cohort, tmp_path: Path, change: str) -> None:
    crow.CRow(**MIXED).fit(cohort, tmp_path / "run")
    path = tmp_path / "run" / "config.yaml"
    key = change.split(":")[0]
    lines = [f"  {change}" if line.startswith(f"  {key}:") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    with pytest.raises(RunError, match=r"config\.yaml: changed since the training"):
        crow.load(tmp_path / "run")


def test_missing_values_have_no_part_in_the_density(cohort: Cohort, model: crow.CRow) -> None:
    """A visit without its second region has the density of the first, in original units; later visits get others."""
    gaps = cohort.visits.copy()
    gaps.loc[1, "ROI02"] = np.nan
    gaps.loc[2, ["ROI01", "ROI02"]] = np.nan
    incomplete = with_visits(cohort, gaps)
    found, whole = model.log_prob(incomplete), model.log_prob(cohort)
    assert len(found) == len(whole) - 1 and 2 not in found.index
    others = ~whole["subject"].isin([gaps["subject"][1]])
    np.testing.assert_allclose(found["log_prob"][others[others].index], whole["log_prob"][others], atol=1e-4)
    assert found["log_prob"][1] != pytest.approx(whole["log_prob"][1], abs=1e-3)
    z = model.score(incomplete)
    assert np.isnan(z.loc[1, "ROI02_z"]) and np.isfinite(z.loc[1, "ROI01_z"])


def test_a_cohort_that_lacks_values_is_learned_from_whole(cohort: Cohort) -> None:
    gaps = cohort.visits.copy()
    gaps["ROI01"] = gaps["ROI01"].mask(gaps.index % 3 == 0)
    gaps["ROI02"] = gaps["ROI02"].mask(gaps.index % 4 == 0)
    said: list[str] = []
    model = crow.CRow(**MIXED).fit(with_visits(cohort, gaps), echo=said.append)
    rows = gaps[["ROI01", "ROI02"]].notna().any(axis=1).sum()
    assert f"{rows} visits" in said[0] and model.config.training.value_dropout > 0
    assert np.isfinite(model.log_prob(cohort)["log_prob"]).all()
    with pytest.raises(ConfigError, match="every region at every visit"):
        crow.CRow(**QUICK | {"model": {"objective": "inn", "blocks": 1}}).fit(with_visits(cohort, gaps))


def test_fill_draws_what_is_missing_and_leaves_the_rest(cohort: Cohort, model: crow.CRow) -> None:
    gaps = cohort.visits.copy()
    gaps.loc[[1, 6], "ROI02"] = np.nan
    gaps.loc[2, ["ROI01", "ROI02"]] = np.nan
    filled = model.fill(with_visits(cohort, gaps), draws=200)
    assert filled.rows.tolist() == [1, 2, 6] and len(filled.intervals) == 4
    known = gaps[["ROI01", "ROI02"]].notna().to_numpy()
    for table in (filled.table, *model.fill(with_visits(cohort, gaps), draws=200, smooth=True).completed(3)):
        assert table["ROI01"].notna().all() and table["ROI02"].notna().all()
        np.testing.assert_array_equal(
            table[["ROI01", "ROI02"]].to_numpy()[known], gaps[["ROI01", "ROI02"]].to_numpy()[known]
        )
    sd = cohort.visits["ROI02"].std()
    errors = filled.intervals["median"] - [
        cohort.visits[r][k] for k, r in ((1, "ROI02"), (2, "ROI01"), (2, "ROI02"), (6, "ROI02"))
    ]
    assert errors.abs().max() < 3 * sd and (filled.intervals["q05"] < filled.intervals["q95"]).all()
    whole = model.fill(cohort)
    pd.testing.assert_frame_equal(whole.table, cohort.visits)
    assert whole.intervals.empty


def test_the_answer_for_a_time_does_not_depend_on_the_other_times_that_are_requested(
    cohort: Cohort, model: crow.CRow
) -> None:
    last = cohort.visits.groupby("subject")["time"].max().reset_index()
    late = last.assign(time=last["time"] + 5)
    several = pd.concat([last.assign(time=last["time"] + years) for years in (1, 2, 5)])
    alone, together = model.forecast(cohort, late, draws=50), model.forecast(cohort, several, draws=50)
    at_five = together.visits.groupby("subject").cumcount() == 2
    sd = alone.values.std(1)
    shift = np.abs(together.values[at_five].mean(1) - alone.values.mean(1)) / sd
    assert shift.max() < 0.5 and shift.mean() < 0.1
    one = cohort.subjects[0]
    first, again = (model.forecast(cohort, each[each["subject"] == one], draws=50) for each in (late, several))
    spread = again.values.std(1)[:, None]
    assert np.abs(first.values.mean(1) - again.values[-1].mean(0)).max() < 0.3 * spread.max()
    joint = model.forecast(cohort, several, draws=50, path=True)
    assert not np.allclose(joint.values[at_five], together.values[at_five])


def test_a_forecast_beyond_twice_the_follow_up_is_warned_of(cohort: Cohort, model: crow.CRow) -> None:
    known, subject = cohort.visits["time"].max(), cohort.subjects[0]
    near, far = (
        model.forecast(cohort, pd.DataFrame({"subject": [subject], "time": [time]}), draws=2)
        for time in (1.9 * known, 2.5 * known)
    )
    assert model.beyond(near) == ""
    assert near.follow_up == pytest.approx(known)
    old = replace(near, visits=near.visits.assign(age=130.0))
    assert "age of 130.0 years" in model.beyond(old) and "122" in model.beyond(old)
    assert f"{2.5 * known:.1f} years" in model.beyond(far) and f"{known:.1f} years" in model.beyond(far)
