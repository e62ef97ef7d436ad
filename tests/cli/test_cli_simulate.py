"""`crow simulate`, as a user runs it."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from crow.cli.main import app, main

SMALL = ["--subjects", "12", "--visits", "3"]


def simulate(*words: str) -> str:
    done = CliRunner().invoke(app, ["simulate", *SMALL, *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_writes_cohort_and_truth(tmp_path: Path) -> None:
    output = simulate("--out", str(tmp_path / "adni"))
    table, truth = (pd.read_csv(tmp_path / "adni" / name) for name in ("cohort.csv", "truth.csv"))
    assert table["RID"].nunique() == 12
    assert list(table["RID"]) == list(truth["RID"]) and list(table["VISCODE"]) == list(truth["VISCODE"])
    assert json.loads((tmp_path / "adni" / "truth.json").read_text())["subjects"] == 12
    assert "12 subjects" in output and "truth.csv" in output
    assert sorted(path.name for path in (tmp_path / "adni").glob("[!.]*")) == ["cohort.csv", "truth.csv", "truth.json"]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        simulate("--out", str(tmp_path / name), "--seed", "7")
    for file in ("cohort.csv", "truth.csv", "truth.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_refuses_an_existing_folder_and_replaces_it_when_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adni"
    simulate("--out", str(out))
    before = (out / "cohort.csv").read_bytes()
    assert refused(["simulate", *SMALL, "--out", str(out), "--seed", "1"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "cohort.csv").read_bytes() == before
    simulate("--out", str(out), "--seed", "1", "--overwrite")
    assert (out / "cohort.csv").read_bytes() != before


def test_never_replaces_a_folder_with_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert refused(["simulate", *SMALL, "--out", str(tmp_path), "--overwrite"]) == 2
    assert "thesis.tex" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_more_regions_come_with_the_flag_to_model_them(tmp_path: Path) -> None:
    output = simulate("--out", str(tmp_path / "adni"), "--regions", "8")
    assert "--regions Ventricles,Hippocampus,WholeBrain,Entorhinal,Fusiform,MidTemp,Region07,Region08" in output


def test_tadpoles_columns_have_82_regions_and_refuse_another_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = simulate("--av45", "--out", str(tmp_path / "av45"))
    assert "12 subjects, 36 visits, 82 regions" in output
    assert pd.read_csv(tmp_path / "av45" / "cohort.csv").filter(like="UCBERKELEYAV45").shape == (36, 82)
    assert refused(["simulate", "--av45", "--regions", "6", "--out", str(tmp_path / "other")]) == 2
    assert "--regions cannot be used with --av45" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "other").exists()


def refused(words: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(words)
    return left.value.code
