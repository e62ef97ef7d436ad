"""`crow evaluate`: test subjects, folds, another cohort, and refusals."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import done, refused

import crow
from crow.cohort import Cohort
from crow.cohort.reader import read_cohort
from crow.evaluation.evaluate_model import FutureCovariates, forecast_task
from crow.evaluation.forecasts import isolated_targets
from crow.simulate import simulate_adni

QUICK = [
    *("--set", "model.members=1", "--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2"),
    *("--set", "split.test=0.4"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a run with 12 test subjects out of 30, and its evaluation."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("evaluate")
    simulate_adni(30, 4, seed=3).table.to_csv(folder / "cohort.csv", index=False)
    done(["train", "--cohort", folder / "cohort.csv", "--out", folder / "run", *QUICK])
    done(["evaluate", "--run", folder / "run", "--draws", "40", "--jobs", "1", "--baselines", "simple,mixed"])
    return folder


def forecast_log_prob(folder: Path, test: Cohort, future: FutureCovariates) -> np.ndarray:
    """Log-density of each forecast visit given the history alone."""
    isolated = crow.load(folder / "run").log_prob(isolated_targets(*forecast_task(test, future)))
    return isolated.groupby("subject")["log_prob"].last().to_numpy()


def test_evaluation_on_test_subjects(folder: Path) -> None:
    made = folder / "run_evaluation"
    metrics = json.loads((made / "metrics.json").read_text())
    simple = ["last visit", "mean of the past", "subject slope"]
    assert list(metrics["forecast"]) == ["crow", *simple, "linear mixed model", "multivariate mixed model"]
    assert metrics["protocol"]["subjects"] == 12 and metrics["protocol"]["training subjects"] == 18
    for model in ("crow", "linear mixed model"):
        assert metrics["forecast"][model]["CRPS"] < metrics["forecast"]["subject slope"]["CRPS"]
    assert metrics["privacy"]["verdict"] in ("pass", "caution", "fail")
    visits = pd.read_csv(made / "visits.csv", dtype={"subject": str})
    table = pd.read_csv(folder / "cohort.csv")
    sd = table.loc[~table["RID"].astype(str).isin(visits["subject"]), list(visits["region"].unique())].std()
    assert visits["subject"].nunique() == 12
    np.testing.assert_allclose(visits["error"], (visits["median"] - visits["truth"]).abs(), rtol=1e-3, atol=0.1)
    standardised = (visits["error"] / visits["region"].map(sd)).mean()
    assert metrics["forecast"]["crow"]["MAE"] == pytest.approx(standardised, rel=0.02)
    own = metrics["own_units"]["region"]["Hippocampus"]["crow"]
    assert own["MAE"] == pytest.approx(visits.query("region == 'Hippocampus'")["error"].mean(), rel=1e-6)
    sex = metrics["by"]["sex"]
    assert set(sex) == {"Female", "Male"} and sum(of["crow"]["subjects"] for of in sex.values()) == 12
    women = visits["subject"].isin(table.loc[table["PTGENDER"] == "Female", "RID"].astype(str))
    by_hand = (visits["crps"] / visits["region"].map(sd))[women].mean()
    assert sex["Female"]["crow"]["CRPS"] == pytest.approx(by_hand, rel=0.02)
    forecast = pd.read_csv(made / "forecast.csv").query("model == 'crow' and metric == 'energy'")
    assert set(forecast["by"]) >= {"all", "horizon", "sex", "diagnosis"}
    likelihood = pd.read_csv(made / "likelihood.csv", dtype={"subject": str, "session": str})
    nats = likelihood["log_prob"]
    assert metrics["forecast"]["crow"]["NLL"] == pytest.approx(-nats.mean(), rel=1e-5)
    test = read_cohort(folder / "cohort.csv").of(visits["subject"].unique())
    ahead = forecast_log_prob(folder, test, "carry")
    assert metrics["forecast"]["crow"]["forecast NLL"] == pytest.approx(-ahead.mean(), rel=1e-5)
    by_horizon = [of["forecast NLL"] for of in metrics["by_horizon"]["crow"].values()]
    assert min(by_horizon) <= -ahead.mean() <= max(by_horizon)
    ahead, targets = forecast_log_prob(folder, test, "known"), forecast_task(test, "known")[1]
    first = ~targets["subject"].duplicated().to_numpy()  # all earlier visits are given
    sequence = likelihood.set_index(["subject", "session"])["log_prob"]
    rows = pd.MultiIndex.from_frame(targets.loc[first, ["subject", "session"]])
    np.testing.assert_allclose(ahead[first], sequence.loc[rows], rtol=1e-4)
    run = json.loads((folder / "run" / "metrics.json").read_text())
    assert metrics["forecast"]["crow"]["NLL"] == pytest.approx(run["test_nll_per_visit"], rel=1e-5)
    assert {"models.png", "horizons.png", "calibration.png", "pit.png", "outlier_scores.png", "skill.csv"} <= {
        path.name for path in made.iterdir()
    }


@pytest.mark.slow
def test_folds_evaluate_all_subjects(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "e"
    done(["evaluate", "--run", folder / "run", "--folds", "2", "--draws", "20", "--jobs", "2", "--out", out,
          "--baselines", "last"])  # fmt: skip
    shown = capsys.readouterr().out
    assert "Skill over last visit: MAE" in shown and "the training of crow" not in shown
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["protocol"]["subjects"] == 30 and metrics["protocol"]["split"] == "2 folds by subject"
    assert pd.read_csv(tmp_path / "e" / "visits.csv")["subject"].nunique() == 30


@pytest.mark.slow
def test_subjects_of_another_cohort(folder: Path, tmp_path: Path) -> None:
    table = simulate_adni(12, 4, seed=9).table
    known = pd.read_csv(folder / "cohort.csv")["RID"].unique()[:3]
    names = dict(zip(table["RID"].unique(), [*known, *range(1, 10)], strict=True))
    table.assign(RID=table["RID"].map(names)).to_csv(tmp_path / "other.csv", index=False)
    done(["evaluate", "--run", folder / "run", "--cohort", tmp_path / "other.csv", "--out", tmp_path / "e",
          "--draws", "20", "--jobs", "1", "--baselines", "none"])  # fmt: skip
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert list(metrics["forecast"]) == ["crow"] and 9 <= metrics["protocol"]["subjects"] <= 11
    assert "have the names of training subjects" in metrics["warnings"][0]
    assert "skill" in {one["metric"] for one in metrics["left_out"]}


@pytest.mark.slow
def test_a_tadpole_submission(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done(["train", "--cohort", folder / "cohort.csv", "--out", tmp_path / "run", "--covariates", "DX,ICV",
          "--regions", "ADAS13,Ventricles", *QUICK])  # fmt: skip
    done(["evaluate", "--run", tmp_path / "run", "--draws", "20", "--jobs", "1", "--baselines", "none",
          "--tadpole", tmp_path / "submission.csv"])  # fmt: skip
    shown = capsys.readouterr().out
    assert "TADPOLE: mAUC" in shown and str(tmp_path / "submission.csv") in shown
    rows = pd.read_csv(tmp_path / "submission.csv").groupby("RID").size()
    assert len(rows) == 12 and (rows == 60).all()


def test_impossible_evaluations_are_refused(
    folder: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ("evaluate", "--run", folder / "run")
    assert "exists already" in refused(capsys, *ask)
    assert "or cross-validate with --folds 5" in refused(capsys, "evaluate", "--run", trained / "run")
    out = ("--out", tmp_path / "e")
    assert "no such baseline" in refused(capsys, *ask, *out, "--baselines", "magic")
    assert "30 subjects; choose 2 to 15" in refused(capsys, *ask, *out, "--folds", "20")
    assert "TADPOLE" in refused(capsys, *ask, *out, "--tadpole", tmp_path / "t.csv", "--baselines", "none")
    (tmp_path / "there.csv").write_text("kept")
    assert "there.csv: exists already" in refused(capsys, *ask, *out, "--tadpole", tmp_path / "there.csv")
    assert (tmp_path / "there.csv").read_text() == "kept"
    table = pd.read_csv(folder / "cohort.csv", dtype=str).drop(columns="Hippocampus")
    table.to_csv(tmp_path / "less.csv", index=False)
    assert "Missing: Hippocampus" in refused(capsys, *ask, *out, "--cohort", tmp_path / "less.csv")
    other = pd.read_csv(folder / "cohort.csv").assign(RID=lambda table: table["RID"] + 5000)
    other.assign(DX="AD?").to_csv(tmp_path / "words.csv", index=False)
    assert "words.csv: column DX holds 'AD?'" in refused(capsys, *ask, *out, "--cohort", tmp_path / "words.csv")
    other.groupby("RID").head(1).to_csv(tmp_path / "once.csv", index=False)
    assert "Give subjects with two visits or more" in refused(capsys, *ask, *out, "--cohort", tmp_path / "once.csv")
    assert "replaces only earlier results" in refused(capsys, *ask, "--out", folder, "--overwrite")
    assert not (tmp_path / "e").exists() and not (tmp_path / "t.csv").exists()
