"""Names of subjects, levels and regions are data: they steer no file, page, terminal or spreadsheet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run

from crow.files import file_name

REGIONS = ["mean", "sample", "line", "q05", "log_prob", "=1+1", "[bold]x[/bold]", "<script>alert(1)</script>", "a/b"]
SUBJECTS = [
    "=HYPERLINK(1)", "@cmd", "[/red]", "<b>x</b>", "../../etc", "a/b", "a_b", ":smile:", "\x1b[31mred", "x" * 300,
    "-rf", "'quote", '"quotes"', "a;b", "naïve", "%s{0}", "+1|' /C calc'!A0", "..", "CON",
]  # fmt: skip
QUICK = ["--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=1", "--set", "model.members=2",
         "--set", "model.hidden=4", "--set", "model.blocks=1"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort with such names, and a run of it."""
    folder = tmp_path_factory.mktemp("names")
    rng, rows = np.random.default_rng(0), []
    for k, subject in enumerate([*SUBJECTS, *(f"s{n}" for n in range(9))]):
        level = rng.normal(10, 1, len(REGIONS))
        for visit in range(3):
            values = level + rng.normal(0, 0.1, len(REGIONS)) + visit / 10
            rows.append([subject, 60 + k / 2 + visit, "=F" if k % 2 else "[M]", rng.normal(), *values])
    table = pd.DataFrame(rows, columns=["subject", "age", "sex", "score", *REGIONS])
    table.to_csv(folder / "cohort.csv", index=False)
    chosen = [word for name in REGIONS for word in ("--regions", name)]
    run("train", "--cohort", folder / "cohort.csv", "--out", folder / "run", "--test", 0.2, *QUICK, *chosen,
        "--covariates", "sex,score")  # fmt: skip
    return folder


def _subjects(names: list[str] = SUBJECTS) -> list[str]:
    return [word for subject in names if subject != "-rf" for word in ("--subject", subject)]


def test_a_table_of_results_has_no_formula(folder: Path, tmp_path: Path) -> None:
    printed = run("score", "--run", folder / "run", "--cohort", folder / "cohort.csv", "--out", tmp_path / "s.csv",
                  "--max-rows", 100, "--draws", 20)  # fmt: skip
    assert "\x1b[31m" not in printed and "[/red]" in printed and ":smile:" in printed
    run("generate", "--run", folder / "run", "--new-subjects", 20, "--out", tmp_path / "new.csv")
    run("generate", "--run", folder / "run", *_subjects(), "--at", 1, "--draws", 20, "--out", tmp_path / "f.csv")
    for name in ("s.csv", "s_subjects.csv", "new.csv", "f.csv"):
        table = pd.read_csv(tmp_path / name, dtype=str, keep_default_na=False)
        cells = [*table.columns, *table.to_numpy().ravel()]
        assert not [cell for cell in cells if cell[:1] in ("=", "@") or ("|' /C" in cell and cell[0] == "+")]


def test_pictures_stay_in_their_folder(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    names = ["../../etc", "a/b", "a_b"]
    run("generate", "--run", folder / "run", *_subjects(names), "--at", 1, "--draws", 20, "--out", out / "f.csv",
        "--figure", out / "figures")  # fmt: skip
    assert len(list((out / "figures").glob("*.png"))) == len(names)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.parent != out / "figures") == [
        "deep", "f.csv", "figures", "out",
    ]  # fmt: skip


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_name_is_one_file_of_a_folder(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{file_name(name)}.png"
    path.touch()
    assert list(tmp_path.iterdir()) == [path] and path.name.isprintable()


@pytest.mark.slow
def test_a_page_has_no_script_of_the_cohort(folder: Path) -> None:
    run("evaluate", "--run", folder / "run", "--draws", 20, "--out", folder / "evaluation")
    run("report", "--run", folder / "run", "--evaluation", folder / "evaluation", "--draws", 20,
        "--out", folder / "report.html", *_subjects(["<b>x</b>"]))  # fmt: skip
    page = (folder / "report.html").read_text()
    assert "<script>alert" not in page and "<b>x</b>" not in page


ENVIRONMENTS = {
    "no HOME": {"HOME": None},
    "a HOME that does not exist": {"HOME": "/nonexistent"},
    "an ASCII locale": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "a terminal of one column": {"COLUMNS": "1"},
    "no PATH": {"PATH": ""},
}
CROW = [sys.executable, "-c", "import sys; from crow.cli.main import main; sys.argv[0] = 'crow'; main()"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_any_environment(name: str, folder: Path, tmp_path: Path) -> None:
    environment = {**os.environ, **{key: value for key, value in ENVIRONMENTS[name].items() if value is not None}}
    for key, value in ENVIRONMENTS[name].items():
        if value is None:
            environment.pop(key, None)
    words = ["check", str(folder / "cohort.csv"), "--columns", "--out", str(tmp_path / "c.csv")]
    done = subprocess.run([*CROW, *words], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "c.csv").exists()


def test_a_closed_pipe_does_not_stop_the_work(folder: Path, tmp_path: Path) -> None:
    words = ["check", folder / "cohort.csv", "--all", "--columns", "--out", tmp_path / "c.csv"]
    process = subprocess.Popen([*CROW, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0 and (tmp_path / "c.csv").exists()


def test_a_path_that_is_not_utf8(folder: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "cohort") + b"\xff.csv"
    with open(path, "wb") as file:
        file.write((folder / "cohort.csv").read_bytes())
    words = [b"check", path, b"--out", os.fsencode(tmp_path / "clean") + b"\xfe.csv"]
    done = subprocess.run([*map(os.fsencode, CROW), *words], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"clean\xfe.csv" in os.listdir(os.fsencode(tmp_path))
