"""`crow classify`: trains on few labels, classifies, and refuses what it cannot do."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import done, refused
from small_stores import ball, make_store

import crow
from crow.run.cross_sectional_config import InfoCNFConfig
from crow.run.folder import start_run

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
    """A run trained on it."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("diagnosis") / "run"
    done(["classify", "--cohort", few_labels, "--label", "DX", "--out", run, *QUICK])
    return run


def test_regions(diagnosis: Path, few_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "new.csv"
    pd.read_csv(few_labels, dtype=str).drop(columns=["DX", "PTGENDER"]).to_csv(new, index=False)
    done(["classify", "--run", diagnosis, "--cohort", new, "--out", tmp_path / "predictions.csv"])
    assert "refused" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "predictions.csv")
    columns = [name for name in table if name.startswith("p_")]
    assert {"subject", "session", "time", "predicted", "log_prob", "refused"} < set(table)
    assert table[columns].sum(axis=1).between(0.999, 1.001).all()
    assert ("p_" + table["predicted"] == table[columns].idxmax(axis=1)).all()
    assert len(table) == len(pd.read_csv(new)) and (diagnosis / "training.png").is_file()


def test_progress_and_results_are_printed(few_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done(["classify", "--cohort", few_labels, "--label", "dx", "--architecture", "infocnf", "--out", tmp_path / "run",
          *QUICK, "--set", "flow.depth=1"])  # fmt: skip
    output = capsys.readouterr().out
    assert "training infocnf on" in output and "have a label" in output
    assert "; logistic regression on the same labels" in output and "Visits with log p(x) below" in output


def test_scans(tmp_path: Path) -> None:
    make_store(tmp_path / "store", ball())
    run, small = tmp_path / "run", ["--set", "images.size=8", "--set", "flow.levels=1", "--set", "flow.depth=2"]
    done(["classify", "--cohort", tmp_path / "store", "--label", "sex", "--out", run, *QUICK, *small])
    done(["classify", "--run", run, "--cohort", tmp_path / "store", "--out", tmp_path / "predictions.tsv"])
    assert set(pd.read_csv(tmp_path / "predictions.tsv", sep="\t")["predicted"]) <= {"F", "M"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label", "weight"], "weight is not a covariate"),
        ([], "name the column with the classes"),
        (["--label", "DX", "--set", "flow.width=3"], "there is no setting flow.width"),
    ],
)
def test_training_is_refused(
    few_labels: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert message in refused(capsys, "classify", "--cohort", few_labels, "--out", out, *words)
    assert not out.exists()


def test_data_of_another_kind_are_refused(
    diagnosis: Path, few_labels: Path, trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "predictions.csv"
    assert "--label, --regions: only for training" in refused(
        capsys, "classify", "--run", diagnosis, "--cohort", few_labels, "--label", "DX", "--regions", "Hippocampus"
    )
    assert "written as .csv or .tsv; found no ending" in refused(
        capsys, "classify", "--run", diagnosis, "--cohort", few_labels, "--out", tmp_path / "predictions"
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


def test_settings_can_name_the_architecture(
    few_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["classify", "--cohort", few_labels, "--label", "DX", *QUICK, "--set", "flow.depth=1"]
    done([*words, "--config", "infocnf", "--out", tmp_path / "preset"])
    done([*words, "--set", "architecture=ccnf", "--out", tmp_path / "pair"])
    found = [crow.load(tmp_path / name).config.architecture for name in ("preset", "pair")]
    assert found == ["infocnf", "ccnf"]
    other = (*words, "--out", tmp_path / "other")
    assert "cannot be 'infocnf'" in refused(capsys, *other, "--architecture", "ccnf", "--config", "infocnf")
    assert "'caglow' is not one of crow classify" in refused(capsys, *other, "--config", "caglow")
    assert not (tmp_path / "other").exists()


def test_a_training_is_resumed_by_its_own_command_and_architecture(
    few_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start_run(tmp_path / "run", InfoCNFConfig())
    words = ("classify", "--cohort", few_labels, "--label", "DX", "--out", tmp_path / "run", "--resume")
    assert "a training of infocnf, not ccnf" in refused(capsys, *words, "--architecture", "ccnf")
    assert "leave out --config, --set, --test" in refused(capsys, *words, "--test", "0.2")
    words = ("enhance", "--cohort", few_labels, "--out", tmp_path / "run", "--resume")
    assert "a training of crow classify" in refused(capsys, *words)
