"""Every place of an output that would harm something, or that cannot be written, is refused before work starts."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import refused

from crow.run.folder import FORMAT_VERSION

RUNS = Path(__file__).parents[1] / "data" / f"runs-v{FORMAT_VERSION}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run, a table, and files and folders of the user."""
    shutil.copytree(RUNS / "regions", tmp_path / "run")
    (tmp_path / "cohort.csv").write_text("subject,age,ROI_1\na,70,1\n")
    (tmp_path / "settings.yaml").write_text("seed: 1\n")
    (tmp_path / "file.csv").write_text("mine")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "config.yaml").write_text("mine")
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    (tmp_path / "link.csv").symlink_to("cohort.csv")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "read-only").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


TRAIN = "train --cohort cohort.csv"
GENERATE = "generate --run run --subject a --at 1"
SCORE = "score --run run --cohort cohort.csv"
FILL = "fill --run run --cohort cohort.csv"
LONG = "x" * 300
REFUSED = {
    # one output inside another
    f"{GENERATE} --out out --save-draws out/draws.csv": "written as .csv or .tsv",
    f"{GENERATE} --out a.csv --save-draws a.csv": "the same path",
    f"{GENERATE} --out a.csv --save-draws ./b/../a.csv": "the same path",
    f"{GENERATE} --out a.csv --save-draws a.csv/b.csv": "is a file, so nothing else can be in it",
    f"{GENERATE} --out figures/a.csv --figure figures": "written as a whole",
    f"{GENERATE} --out a.csv --figure a.csv": "written as .png",
    f"{SCORE} --out a.csv --figure a_subjects.csv": "written as .png",
    f"{SCORE} --out maps/a.csv --save-maps maps/a.csv": "the same path",
    "evaluate --run run --out e --tadpole e/t.csv": "written as a whole",
    "evaluate --run run --tadpole run_evaluation/t.csv": "written as a whole",
    "check cohort.csv --out a.csv --write a.csv": "written as .yaml",
    "check cohort.csv --out a.csv --write b": "written as .yaml",
    # an input
    f"{TRAIN} --out cohort.csv --overwrite": "is a file, but a folder is written",
    f"{TRAIN} --out . --overwrite": "not the name of a folder",
    f"{TRAIN} --out r --config settings.yaml --mapping settings.yaml --out settings.yaml --overwrite": "is a file",
    f"{GENERATE} --cohort cohort.csv --out cohort.csv --overwrite": "is also the input --cohort",
    f"{GENERATE} --cohort cohort.csv --out link.csv --overwrite": "is also the input --cohort",
    f"{GENERATE} --covariates file.csv --out file.csv --overwrite": "is also the input --covariates",
    f"{SCORE} --out cohort.csv --overwrite": "is also the input --cohort",
    f"{FILL} --out cohort.csv --overwrite": "is also the input --cohort",
    "check cohort.csv --out cohort.csv --overwrite": "is also the input PATH",
    "check cohort.csv --config settings.yaml --write settings.yaml --overwrite": "is also the input --config",
    "extract --scans cohort.csv --out cohort.csv --overwrite": "is also the input --scans",
    "extract --scans s --atlas file.csv --out file.csv --overwrite": "is also the input --atlas",
    "prepare --cohort cohort.csv --out cohort.csv --overwrite": "is a file, but a folder is written",
    # the run
    f"{GENERATE} --out run --overwrite": "written as .csv or .tsv",
    f"{GENERATE} --out run/log.csv --overwrite": "is a part of the input --run",
    f"{GENERATE} --out a.csv --figure run/training.png --overwrite": "is a part of the input --run",
    f"{GENERATE} --out a.csv --figure run --overwrite": "here there is a run of crow",
    f"{FILL} --tables 2 --out run --overwrite": "here there is a run of crow",
    "evaluate --run run --out run --overwrite": "here there is a run of crow",
    "evaluate --run run --out run/logs": "is a part of the input --run",
    "report --run run --out run/config.yaml --overwrite": "written as .html",
    "synthesize --run run --out a.csv": "a run of crow train, not of crow synthesize",
    # what the user has
    f"{GENERATE} --out file.csv": "exists already",
    f"{TRAIN} --out thesis": "exists already",
    f"{TRAIN} --out thesis --overwrite": "Nothing was deleted",
    f"{GENERATE} --out a.csv --figure thesis --overwrite": "Nothing was deleted",
    f"{FILL} --tables 2 --out thesis --overwrite": "Nothing was deleted",
    "evaluate --run run --out thesis --overwrite": "Nothing was deleted",
    "simulate --out thesis --overwrite": "Nothing was deleted",
    "simulate --scans --out thesis --overwrite": "Nothing was deleted",
    "prepare --cohort cohort.csv --out thesis --overwrite": "Nothing was deleted",
    "report --run run --out thesis --overwrite": "written as .html",
    # no place for a result
    f"{GENERATE} --out /dev/null": "a device",
    f"{GENERATE} --out /dev/stdout": "a device",
    f"{GENERATE} --out a.csv --save-draws /dev/fd/1": "a device",
    f"{GENERATE} --out /proc/self/fd/1": "a device",
    f"{TRAIN} --out /dev/null": "a device",
    f"{TRAIN} --out /dev/null --overwrite": "a device",
    "report --run run --out /dev/stdout": "a device",
    "simulate --out /dev/stdout": "a device",
    f"{GENERATE} --out pipe.csv --overwrite": "a device or a pipe",
    f"{GENERATE} --out {LONG}.csv": "too long",
    f"{GENERATE} --out {LONG}/a.csv": "too long",
    f"{TRAIN} --out {'y/' * 3000}": "too long",
    f"{GENERATE} --out file.csv/a.csv": "is not a folder",
    f"{TRAIN} --out file.csv/deep/run": "is not a folder",
    f"{GENERATE} --out loop/a.csv": "loop",
    f"{GENERATE} --out a.csv --figure file.csv": "written as .png",
    f"{GENERATE} --out ..": "not the name of a file",
    f"{GENERATE} --out /": "not the name of a file",
    # endings
    f"{GENERATE} --out a.xlsx": "written as .csv or .tsv",
    f"{GENERATE} --out a.csv.gz": "written as .csv or .tsv",
    f"{GENERATE} --out a.csv --figure a.jpg": "written as .png",
    f"{SCORE} --out a": "written as .csv or .tsv",
    f"{FILL} --out a.txt": "written as .csv or .tsv",
    "report --run run --out a.pdf": "written as .html",
    "evaluate --run run --tadpole a.txt": "written as .csv",
    # other cheap refusals
    f"{TRAIN} --out r --set nope=1": "there is no setting nope",
    f"{TRAIN} --out r --set model.members=1000000": "GiB of memory",
    f"{TRAIN} --out r --set model.blocks=100000000": "GiB of memory",
    f"{TRAIN} --out r --set training.batch_size=1000000000": "GiB of memory",
    f"{TRAIN} --out r --set seed=-1": "greater than or equal to 0",
    f"{TRAIN} --out r --set seed=99999999999999999999": "less than or equal to",
    f"{TRAIN} --out r --set training.learning_rate=nan": "finite number",
    f"{TRAIN} --out r --set training.learning_rate=-1": "greater than 0",
    f"{TRAIN} --out r --set model.hidden=1000000": "less than or equal to 4096",
    "synthesize --cohort cohort.csv --condition sex --out r --set flow.depth=100000000": "GiB of memory",
    "classify --cohort cohort.csv --label sex --out r --set flow.nope=1": "there is no setting",
    f"{GENERATE} --set-covariate NOPE=1 --out a.csv": "no such covariate",
    f"{GENERATE} --draws 10000000 --out a.csv": "GiB of",
    f"{GENERATE} --draws -5 --out a.csv": "greater than or equal to 2",
    f"{GENERATE} --seed 99999999999999999999 --out a.csv": "less than or equal to",
    f"{GENERATE} --seed -1 --out a.csv": "greater than or equal to 0",
    "generate --run run --new-subjects 10000000000 --out a.csv": "less than or equal to",
    "generate --run run --new-subjects 0 --out a.csv": "greater than or equal to 1",
    "synthesize --run run --count 1000000000 --out a.csv": "GiB of memory",
    "synthesize --run run --count 1e9 --out a.csv": "integer",
    "simulate --out z --subjects 1000000000": "GiB of memory",
    "evaluate --run run --baselines magic": "no such baseline",
    "generate --run thesis --subject a --at 1 --out a.csv": "model.json, metrics.json",
    "generate --run nowhere --subject a --at 1 --out a.csv": "no such run folder",
}


@pytest.mark.parametrize("command", REFUSED)
def test_a_place_or_number_is_refused(command: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _content(home)
    message = refused(capsys, *command.split())
    assert REFUSED[command] in message or REFUSED[command] in message.replace("greater than or equal to 2", ""), message
    assert _content(home) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
@pytest.mark.parametrize("command", [f"{GENERATE} --out read-only/a.csv", f"{TRAIN} --out read-only/deep/run"])
def test_a_folder_that_cannot_be_written_is_refused(
    command: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "read-only").chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "is read-only" in refused(capsys, *command.split())


def _content(folder: Path) -> dict[str, object]:
    read: Callable[[Path], object] = lambda path: path.read_bytes() if path.is_file() else None  # noqa: E731
    return {str(path.relative_to(folder)): read(path) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("name", "reason"),
    [("film.csv.gz", "written as .gif, .nii.gz or .nii"), (".nii.gz", "written as .gif, .nii.gz or .nii"),
     ("film.nii.gz", "film.json: exists already"), ("film.NII", "film.json: exists already")],
)  # fmt: skip
@pytest.mark.usefixtures("home")
def test_the_film_of_a_subject_and_its_sidecar_are_checked_first(
    capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    Path("film.json").write_text("{}")
    run = str(RUNS / "scans")
    assert reason in refused(capsys, "generate", "--run", run, "--subject", "a", "--at", "1", "--series", name)
