"""`crow train`, `crow generate` and `crow score`, one after the other as a user runs them."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import refused, run

import crow
from crow.simulate import simulate_adni

QUICK = ["--set", "model.members=1", "--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2"]
REGIONS = ["Ventricles", "Hippocampus", "WholeBrain", "Entorhinal", "Fusiform", "MidTemp"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cohort.csv and the run trained on it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("cohort")
    simulate_adni(30, 4, seed=1).table.to_csv(folder / "cohort.csv", index=False)
    output = run("train", "--cohort", folder / "cohort.csv", "--out", folder / "run", *QUICK)
    assert "subjects: 30" in output and "age at baseline" in output and "nats per visit" in output
    return folder


def last_visit(folder: Path, subject: str) -> pd.Series:
    visits = crow.read_cohort(folder / "cohort.csv").visits
    return visits[visits["subject"] == subject].iloc[-1]


def test_train_keeps_what_was_asked_for_and_a_picture(folder: Path) -> None:
    model = crow.load(folder / "run")
    assert model.config.training.max_epochs == 1
    assert (folder / "run" / "training.png").read_bytes()[:4] == b"\x89PNG"


def test_train_refuses_before_it_writes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = folder / "cohort.csv"
    assert "--overwrite" in refused(capsys, "train", "--cohort", cohort, "--out", folder / "run", *QUICK)
    assert "members" in refused(capsys, "train", "--cohort", cohort, "--out", tmp_path / "a", "--set", "model.member=2")
    assert "Hipocampus" in refused(
        capsys, "train", "--cohort", cohort, "--out", tmp_path / "b", "--regions", "Hipocampus"
    )
    assert "nothing to resume" in refused(capsys, "train", "--cohort", cohort, "--out", tmp_path / "c", "--resume")
    assert "--set" in refused(capsys, "train", "--cohort", cohort, "--out", folder / "run", "--resume", *QUICK)
    assert list(tmp_path.iterdir()) == []


def test_train_keeps_a_test_set(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--cohort", folder / "cohort.csv", *QUICK, "--set", "training.max_epochs=0"]
    output = run(*words, "--out", tmp_path / "option", "--test", "0.2")
    run(*words, "--out", tmp_path / "setting", "--set", "split.test=0.2")
    assert "Test subjects (6): " in output
    same = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("option", "setting")]
    assert same[0] == same[1]
    both = ("--test", "0.2", "--set", "split.test=0.3")
    assert "are the same setting" in refused(capsys, *words, "--out", tmp_path / "both", *both)
    assert "--test" in refused(capsys, *words, "--out", tmp_path / "many", "--test", "1.5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["option", "setting"]


def test_train_finds_a_preset_by_name(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--cohort", folder / "cohort.csv", "--covariates", "DX", "--set", "training.max_epochs=1"]
    assert "published objective" in run(*words, "--config", "published", "--out", tmp_path / "run")
    assert crow.load(tmp_path / "run").config.model.objective == "inn"
    assert "Did you mean published?" in refused(capsys, *words, "--config", "publised", "--out", tmp_path / "other")


def test_train_reads_options_and_yaml(folder: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("cohort:\n  covariates: [APOE4, CDRSB]\nmodel: {members: 1}\ntraining: {max_epochs: 0}\n")
    run("train", "--cohort", folder / "cohort.csv", "--config", settings, "--out", tmp_path / "run",
        "--regions", "Hippocampus,Entorhinal")  # fmt: skip
    model = crow.load(tmp_path / "run")
    assert model.schema.regions == ["Hippocampus", "Entorhinal"]
    assert list(model.schema.covariates) == ["APOE4", "CDRSB"]
    assert model.config.cohort == {"covariates": ["APOE4", "CDRSB"], "regions": ["Hippocampus,Entorhinal"]}


def test_ctrl_c_leaves_a_usable_run_that_can_be_resumed(folder: Path, tmp_path: Path) -> None:
    cohort, out = str(folder / "cohort.csv"), str(tmp_path / "run")
    sets = ["model.members=1", "training.max_epochs=12", "training.patience=24", "training.steps_per_epoch=30"]
    words = ["train", "--cohort", cohort, "--out", out, *(word for pair in sets for word in ("--set", pair))]
    code = "from crow.cli.main import main; main()"
    training = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "run" / "checkpoints" / "member-1.ckpt"
    while not checkpoint.exists() and training.poll() is None:
        time.sleep(0.05)
    training.send_signal(signal.SIGINT)
    output, _ = training.communicate(timeout=120)
    assert training.returncode == 130, output
    assert "--resume" in output
    assert len(crow.load(out).log) < 13
    run("train", "--cohort", cohort, "--out", out, "--resume")
    assert list(crow.load(out).log["epoch"]) == list(range(13))
    assert not checkpoint.exists()


def test_generate_forecasts_years_after_the_last_visit(folder: Path, tmp_path: Path) -> None:
    out, draws, figure = tmp_path / "forecast.csv", tmp_path / "draws.csv", tmp_path / "forecast.png"
    output = run("generate", "--run", folder / "run", "--subject", "9002", "--at", "2.5,1", "--draws", "40",
               "--out", out, "--save-draws", draws, "--figure", figure)  # fmt: skip
    forecast, samples = pd.read_csv(out), pd.read_csv(draws)
    last = last_visit(folder, "9002")
    np.testing.assert_allclose(forecast["time"], last["time"] + np.array([1.0, 2.5]), rtol=1e-6)
    np.testing.assert_allclose(forecast["age"], last["age"] + np.array([1.0, 2.5]), rtol=1e-6)
    assert list(forecast["CDRSB"]) == [last["CDRSB"]] * 2
    assert forecast["EXAMDATE"].str.fullmatch(r"\d{4}-\d\d-\d\d").all()
    for region in REGIONS:
        quantiles = forecast[[f"{region}_{q}" for q in ("q05", "q25", "median", "q75", "q95")]].to_numpy()
        assert (np.diff(quantiles, axis=1) > 0).all()
        drawn = samples.groupby("time")[region].agg(["mean", "std", "median"])
        stated = forecast[[f"{region}_mean", f"{region}_sd", f"{region}_median"]]
        np.testing.assert_allclose(drawn, stated, rtol=1e-4)
    assert len(samples) == 80 and samples["draw"].max() == 39
    assert figure.read_bytes()[:4] == b"\x89PNG"
    assert "carried forward" in output and "CDRSB" in output


def test_generate_prints_the_times_as_they_were_given(folder: Path, tmp_path: Path) -> None:
    subject = str(pd.read_csv(folder / "cohort.csv")["RID"].iloc[0])
    words = ["generate", "--run", folder / "run", "--subject", subject, "--draws", "20"]
    shown = run(*words, "--at", "1,2.5", "--out", tmp_path / "out.csv", "--save-draws", tmp_path / "draws.csv")
    assert "2 visits of 1 subject, 20 draws each." in shown
    assert re.search(r"median \(90 %\) +in 1 year +in 2.5 years", shown)
    assert re.search(r"Hippocampus \(cm³\) +\d\.\d+ \(\d\.\d+ to \d\.\d+\)", shown), "in cm³, with its digits"
    assert "EXAMDATE" in pd.read_csv(tmp_path / "draws.csv")
    assert "1 visit of 1 subject, 20 draws." in run(*words, "--at", "0.5", "--out", tmp_path / "one.csv")


def test_generate_is_the_same_for_the_same_seed(folder: Path, tmp_path: Path) -> None:
    words = ("generate", "--run", folder / "run", "--subject", "9003", "--at", "1", "--draws", "20")
    for name, seed in {"a": "3", "b": "3", "c": "4"}.items():
        run(*words, "--seed", seed, "--out", tmp_path / f"{name}.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes() != (tmp_path / "c.csv").read_bytes()


def test_generate_sets_covariates_from_a_time_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "forecast.csv"
    output = run("generate", "--run", folder / "run", "--subject", "9002", "--at", "1,2,3", "--set-covariate",
               "CDRSB=7.5@1.5", "--set-covariate", "DX=Dementia", "--out", out, "--draws", "20",
               "--figure", tmp_path / "fan.svg")  # fmt: skip
    forecast = pd.read_csv(out)
    assert list(forecast["CDRSB"]) == [last_visit(folder, "9002")["CDRSB"], 7.5, 7.5]
    assert list(forecast["DX"]) == ["Dementia"] * 3
    assert "CDRSB 7.5 at 1.5 years" in output and "CDRSB 7.5 is an extrapolation" not in output
    far = run("generate", "--run", folder / "run", "--subject", "9002", "--at", "1", "--set-covariate", "CDRSB=19",
                 "--draws", "20", "--out", tmp_path / "beyond.csv")  # fmt: skip
    assert "CDRSB 19 is an extrapolation: in the cohort it lies between 0 and" in far
    drawn = (tmp_path / "fan.svg").read_text()
    assert "covariates carried forward" in drawn and "CDRSB 7.5 at 1.5 years" in drawn


def test_generate_follows_a_table_and_a_line(folder: Path, tmp_path: Path) -> None:
    last = last_visit(folder, "9002")
    table = tmp_path / "path.csv"
    pd.DataFrame({"RID": [9002], "time": [last["time"] + 2], "CDRSB": [last["CDRSB"] + 4]}).to_csv(table, index=False)
    forecasts = {}
    for future in ("carry", "linear"):
        run("generate", "--run", folder / "run", "--subject", "9002", "--at", "1,2", "--covariates", table,
            "--future-covariates", future, "--draws", "20", "--out", tmp_path / f"{future}.csv")  # fmt: skip
        forecasts[future] = list(pd.read_csv(tmp_path / f"{future}.csv")["CDRSB"] - last["CDRSB"])
    assert forecasts["carry"] == pytest.approx([0, 4])
    assert forecasts["linear"] == pytest.approx([2, 4])


def test_generate_sets_a_covariate_and_follows_a_table(folder: Path, tmp_path: Path) -> None:
    """A row of the table belongs to a visit even if their times differ by rounding."""
    last = last_visit(folder, "9002")
    table = tmp_path / "path.csv"
    table.write_text(f"RID,time,DX\n9002,{last['time'] + 2 + 1e-12:.14f},Dementia\n")
    run("generate", "--run", folder / "run", "--subject", "9002", "--at", "1,2", "--covariates", table,
        "--set-covariate", "CDRSB=7.5@2", "--draws", "20", "--out", tmp_path / "forecast.csv",
        "--figure", tmp_path / "fan.svg")  # fmt: skip
    forecast = pd.read_csv(tmp_path / "forecast.csv")
    assert list(forecast["DX"]) == [last["DX"], "Dementia"]
    assert list(forecast["CDRSB"]) == [last["CDRSB"], 7.5]
    drawn = (tmp_path / "fan.svg").read_text()
    assert "without CDRSB 7.5 at 2 years" in drawn and "carried forward" not in drawn


def test_generate_many_at_once_with_a_picture_each(folder: Path, tmp_path: Path) -> None:
    visits = pd.DataFrame({"RID": [9002, 9005], "EXAMDATE": ["2030-01-01", "2031-01-01"], "CDRSB": [3.0, None]})
    visits.to_csv(tmp_path / "future.csv", index=False)
    run("generate", "--run", folder / "run", "--cohort", folder / "cohort.csv", "--visits", tmp_path / "future.csv",
        "--draws", "20", "--out", tmp_path / "forecast.csv", "--figure", tmp_path / "pictures")  # fmt: skip
    forecast = pd.read_csv(tmp_path / "forecast.csv")
    assert list(forecast["EXAMDATE"]) == ["2030-01-01", "2031-01-01"]
    assert list(forecast["CDRSB"]) == [3.0, last_visit(folder, "9005")["CDRSB"]]
    assert sorted(path.name for path in (tmp_path / "pictures").glob("*.png")) == ["9002.png", "9005.png"]


def test_generate_new_subjects_in_the_columns_of_the_cohort(folder: Path, tmp_path: Path) -> None:
    run("generate", "--run", folder / "run", "--new-subjects", "15", "--out", tmp_path / "new.csv")
    table = pd.read_csv(tmp_path / "new.csv")
    assert set(table.columns) <= set(pd.read_csv(folder / "cohort.csv").columns)
    assert table["RID"].nunique() == 15
    assert not set(table["RID"].astype(str)) & set(crow.read_cohort(folder / "cohort.csv").subjects)
    again = crow.read_cohort(tmp_path / "new.csv")
    assert again.regions == REGIONS
    assert 5_000 < again.visits["Hippocampus"].mean() < 9_000
    assert again.visits["CDRSB"].between(0, 18).all()


def test_generate_new_subjects_along_given_paths(folder: Path, tmp_path: Path) -> None:
    path = pd.read_csv(folder / "cohort.csv").query("RID == 9004").drop(columns=REGIONS)
    path.to_csv(tmp_path / "path.csv", index=False)
    run("generate", "--run", folder / "run", "--new-subjects", "3", "--covariates", tmp_path / "path.csv",
        "--out", tmp_path / "new.csv")  # fmt: skip
    table = pd.read_csv(tmp_path / "new.csv")
    assert len(table) == 3 * len(path)
    for _, visits in table.groupby("RID"):
        assert list(visits["CDRSB"]) == list(path["CDRSB"])
        np.testing.assert_allclose(visits["Years_bl"], path["Years_bl"], atol=1e-3)
    assert table["Hippocampus"].nunique() == len(table)


def test_generate_refuses_with_what_to_do(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ("generate", "--run", folder / "run", "--out", tmp_path / "f.csv")
    assert "Did you mean 90" in refused(capsys, *one, "--subject", "902", "--at", "1")
    assert "0 is not after the last visit" in refused(capsys, *one, "--subject", "9002", "--at", "0,1")
    assert "'soon' is not a number" in refused(capsys, *one, "--subject", "9002", "--at", "soon")
    change = (*one, "--subject", "9002", "--at", "1", "--set-covariate")
    assert "Did you mean CDRSB?" in refused(capsys, *change, "CDRS=1")
    assert "'high' where a number" in refused(capsys, *change, "CDRSB=high")
    assert "NAME=VALUE@YEARS" in refused(capsys, *change, "CDRSB")
    assert "CN, Dementia, MCI" in refused(capsys, *change, "DX=Sleepy")
    assert "--subject, --visits and --new-subjects; found none" in refused(capsys, *one)
    assert "--at cannot be used with --new-subjects" in refused(capsys, *one, "--new-subjects", "3", "--at", "1")
    assert "--subject needs --at" in refused(capsys, *one, "--subject", "9002")
    assert "--visits needs --cohort" in refused(capsys, *one, "--visits", folder / "cohort.csv")
    assert "one file cannot show 2 subjects" in refused(
        capsys, *one, "--subject", "9002", "--subject", "9003", "--at", "1", "--figure", tmp_path / "f.png"
    )
    assert "no such run folder" in refused(capsys, "generate", "--run", tmp_path / "x", "--new-subjects", "2")
    assert list(tmp_path.iterdir()) == []


def test_generate_without_the_training_table_asks_for_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_bytes((folder / "cohort.csv").read_bytes())
    run("train", "--cohort", cohort, "--out", tmp_path / "run", *QUICK, "--set", "training.max_epochs=0")
    words = ("generate", "--run", tmp_path / "run", "--subject", "9002", "--at", "1", "--out", tmp_path / "f.csv")
    with cohort.open("a") as file:
        file.write("\n")
    assert "has changed since" in refused(capsys, *words)
    cohort.unlink()
    assert "--cohort TABLE" in refused(capsys, *words)
    run(*words, "--cohort", folder / "cohort.csv")


def test_score_gives_visits_and_subjects(folder: Path, tmp_path: Path) -> None:
    out, figure = tmp_path / "scores.csv", tmp_path / "scores.png"
    output = run("score", "--run", folder / "run", "--cohort", folder / "cohort.csv", "--out", out, "--figure", figure)
    visits, subjects = pd.read_csv(out), pd.read_csv(tmp_path / "scores_subjects.csv")
    assert list(visits.columns[:6]) == ["subject", "session", "time", "log_prob", "outlier_score", "outlier"]
    exact = crow.load(folder / "run").log_prob(crow.read_cohort(folder / "cohort.csv"))
    np.testing.assert_allclose(visits["log_prob"], exact["log_prob"])
    np.testing.assert_allclose(subjects["log_prob"], visits.groupby("subject")["log_prob"].sum())
    assert len(subjects) == 30 and "30 subjects" in output
    assert figure.read_bytes()[:4] == b"\x89PNG"


def test_score_finds_a_visit_that_does_not_fit(folder: Path, tmp_path: Path) -> None:
    table = pd.read_csv(folder / "cohort.csv")
    row = table.index[table["RID"] == 9010][1]
    table.loc[row, "Hippocampus"] *= 1.5
    table.to_csv(tmp_path / "spoilt.csv", index=False)
    output = run("score", "--run", folder / "run", "--cohort", tmp_path / "spoilt.csv", "--out", tmp_path / "s.csv")
    visits = pd.read_csv(tmp_path / "s.csv")
    worst = visits.loc[visits["outlier_score"].idxmax()]
    assert (worst["subject"], worst["session"], worst["outlier"]) == (9010, table.loc[row, "VISCODE"], True)
    assert worst["Hippocampus_z"] > 10
    first = next(line for line in output.splitlines() if "9010" in line and "warning" not in line)
    assert "Hippocampus +" in first


def test_score_refuses_other_columns_and_existing_files(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("score", "--run", folder / "run", "--cohort")
    table = pd.read_csv(folder / "cohort.csv").rename(columns={"Fusiform": "Fusi"})
    table.to_csv(tmp_path / "other.csv", index=False)
    output = refused(capsys, *words, tmp_path / "other.csv", "--out", tmp_path / "s.csv")
    assert "Missing: Fusiform" in output and "Fusi" in output
    (tmp_path / "s_subjects.csv").write_text("mine")
    output = refused(capsys, *words, folder / "cohort.csv", "--out", tmp_path / "s.csv")
    assert "s_subjects.csv" in output and "--overwrite" in output
    assert "found .xlsx" in refused(capsys, *words, folder / "cohort.csv", "--out", tmp_path / "s.xlsx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.csv", "s_subjects.csv"]
