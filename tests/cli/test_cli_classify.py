"""`crow classify`: learns from few labels, tells classes, and says what cannot be."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import done, refused
from small_stores import ball, make_store

QUICK = ["--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2", "--set", "flow.hidden=8"]


@pytest.fixture(scope="module")
def few_labels(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared cohort with the diagnosis of a third of its subjects."""
    table = pd.read_csv(trained / "cohort.csv", dtype=str)
    table["DX"] = table["DX"].where(table["RID"].astype(int) % 3 == 0)
    path = tmp_path_factory.mktemp("few") / "cohort.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def diagnosis(few_labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run learned from it."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("diagnosis") / "run"
    done(["classify", "--cohort", few_labels, "--label", "DX", "--out", run, *QUICK])
    return run


def test_regions(diagnosis: Path, few_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "new.csv"
    pd.read_csv(few_labels, dtype=str).drop(columns=["DX", "PTGENDER"]).to_csv(new, index=False)
    done(["classify", "--run", diagnosis, "--cohort", new, "--out", tmp_path / "predictions.csv"])
    assert "refused" in capsys.readouterr().out
    told = pd.read_csv(tmp_path / "predictions.csv")
    columns = [name for name in told if name.startswith("p_")]
    assert {"subject", "session", "time", "predicted", "log_prob", "refused"} < set(told)
    assert told[columns].sum(axis=1).between(0.999, 1.001).all()
    assert ("p_" + told["predicted"] == told[columns].idxmax(axis=1)).all()
    assert len(told) == len(pd.read_csv(new)) and (diagnosis / "training.png").is_file()


def test_what_is_said_while_learning(
    few_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done(["classify", "--cohort", few_labels, "--label", "dx", "--model", "infocnf", "--out", tmp_path / "run", *QUICK,
          "--set", "flow.depth=1"])  # fmt: skip
    said = capsys.readouterr().out
    assert "training infocnf on" in said and "have a label" in said
    assert "a logistic regression on the same labels" in said and "Refused are visits with log p(x) below" in said


def test_scans(tmp_path: Path) -> None:
    make_store(tmp_path / "store", ball())
    run, small = tmp_path / "run", ["--set", "images.size=8", "--set", "flow.levels=1", "--set", "flow.depth=2"]
    done(["classify", "--cohort", tmp_path / "store", "--label", "sex", "--out", run, *QUICK, *small])
    done(["classify", "--run", run, "--cohort", tmp_path / "store", "--out", tmp_path / "told.tsv"])
    assert set(pd.read_csv(tmp_path / "told.tsv", sep="\t")["predicted"]) <= {"F", "M"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label", "weight"], "weight is not a covariate"),
        ([], "name the column with the classes"),
        (["--label", "DX", "--set", "flow.width=3"], "there is no setting flow.width"),
    ],
)
def test_what_cannot_be_learned(
    few_labels: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert message in refused(capsys, "classify", "--cohort", few_labels, "--out", out, *words)
    assert not out.exists()


def test_what_cannot_be_told(
    diagnosis: Path, few_labels: Path, trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "told.csv"
    assert "--label, --regions: for learning" in refused(
        capsys, "classify", "--run", diagnosis, "--cohort", few_labels, "--label", "DX", "--regions", "Hippocampus"
    )
    assert "go into a table" in refused(
        capsys, "classify", "--run", diagnosis, "--cohort", few_labels, "--out", tmp_path / "told"
    )
    make_store(tmp_path / "store", ball())
    assert "trained on a table of regions" in refused(
        capsys, "classify", "--run", diagnosis, "--cohort", tmp_path / "store", "--out", out
    )
    other = tmp_path / "other.csv"
    pd.read_csv(few_labels, dtype=str).drop(columns="Hippocampus").to_csv(other, index=False)
    assert "Missing: Hippocampus" in refused(capsys, "classify", "--run", diagnosis, "--cohort", other, "--out", out)
    assert "a run of crow train" in refused(
        capsys, "classify", "--run", trained / "run", "--cohort", few_labels, "--out", out
    )
    assert not out.exists()
