"""Bad input at the command line: exit code 2, one message that says where, what and what to do, nothing written."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import done, refused, run

from crow.run.folder import FORMAT_VERSION, sha256

QUICK = ["--set", "model.members=1", "--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2"]
RUN_CROW = "from crow.cli.main import main; main()"


def plain() -> pd.DataFrame:
    """14 people at 3 visits; all cells may become text."""
    rng = np.random.default_rng(0)
    age = np.repeat(rng.uniform(60, 80, 14), 3) + np.tile([0.0, 1.1, 2.2], 14)
    values = rng.normal(5.0, 1.0, (42, 2)).round(3)
    table = {"subject": np.repeat([f"P{k:02d}" for k in range(14)], 3), "age": age.round(2)}
    return pd.DataFrame({**table, "A": values[:, 0], "B": values[:, 1]}).astype(object)


def cell(value: object, column: str = "A", row: int = 5) -> pd.DataFrame:
    table = plain()
    table.loc[row, column] = value
    return table


COHORTS: dict[str, tuple[pd.DataFrame | str | bytes, list[str], str]] = {
    "empty": ("", [], "the file is empty"),
    "header only": ("subject,age,A\n", [], "has a header but no rows"),
    "zero bytes": (b"a,b\n\0\0\0", [], "not a text table: it holds bytes that no text has"),
    "control characters": (bytes(range(1, 256)) * 20, [], "not a text table: it holds bytes"),
    "workbook": (b"PK\x03\x04 and more", [], "a damaged Excel workbook: unpack it, or save the sheet as CSV"),
    "cut UTF-16": (b"\xff\xfeabc", [], "begins as UTF-16 but cannot be read so. Save the table as UTF-8"),
    "no subject": (plain().drop(columns="subject"), [], "no subject column was found among age, A, B. Name it with"),
    "no time": (
        plain().drop(columns="age"),
        [],
        "no time column .* was found among A, B. Name it with --time",
    ),
    "two subjects": (
        plain().assign(patient=np.roll(plain()["subject"], 1)),
        [],
        "add --subject subject or --subject patient",
    ),
    "two times": (
        plain().assign(age_mri=plain()["age"] + 3 * np.sin(np.arange(42))),
        [],
        r"--time age \(42 visits\) or --time age_mri",
    ),
    "one visit": (plain()[::3], [], "has one row only; at least two visits of a subject are needed"),
    "nine subjects": (plain()[:27], [], "9 subjects are too few; at least 10 are needed"),
    "constant region": (plain().assign(C=1), ["--regions", "A,C"], "column C: has the same value in every row"),
    "empty region": (plain().assign(C=""), ["--regions", "A,C"], "column C: has no value at all"),
    "infinite": (cell("inf"), [], r"column A: infinite values in 1 row \(line 7\). Empty the cells, or"),
    "too large for a number": (cell("1e999"), [], r"column A: infinite values in 1 row \(line 7\)"),
    "infinite age": (cell("inf", "age"), [], r"column age: infinite values in 1 row \(line 7\)"),
    "text": (cell("oops"), [], "line 7, column A: found 'oops' where a number is needed. Correct or empty the cells"),
    "days as years": (
        plain().assign(years=np.tile([0, 400, 800], 14)).drop(columns="age"),
        [],
        "800 years after .* --time-kind",
    ),
    "unknown region": (plain(), ["--regions", "A,Q"], "Q"),
    "too many for a test": (plain(), ["--set", "split.test=0.9"], "1 subjects are left .* Lower split.test"),
    "unknown setting": (plain(), ["--set", "model.width=3"], "there is no setting model.width"),
    "impossible setting": (plain(), ["--set", "model.hidden=1e9"], "model.hidden cannot be"),
    "no such GPU": (plain(), ["--set", "training.accelerator=tpu"], "training.accelerator cannot be 'tpu'"),
}


@pytest.mark.parametrize("name", COHORTS)
def test_training_refuses(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, flags, message = COHORTS[name]
    table = tmp_path / "cohort.csv"
    if isinstance(content, pd.DataFrame):
        content = str(content.to_csv(index=False))
    table.write_bytes(content.encode() if isinstance(content, str) else content)
    said = refused(capsys, "train", "--cohort", table, "--out", tmp_path / "run", *QUICK, *flags)
    assert pd.Series([said]).str.contains(message).all(), said
    assert [path.name for path in tmp_path.iterdir()] == ["cohort.csv"]


def test_training_refuses_places(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort, before = trained / "cohort.csv", sha256(trained / "run" / "model.safetensors")
    for words, message in (
        (("--cohort", tmp_path / "none.csv", "--out", tmp_path / "r"), "none.csv: cannot be read: No such file"),
        (("--cohort", tmp_path, "--out", tmp_path / "r"), "is a folder; name the table inside it"),
        (("--cohort", cohort, "--out", trained / "run"), "run: exists already. Choose another name"),
        (("--cohort", cohort, "--out", cohort), "cohort.csv: exists already"),
        (("--cohort", cohort, "--out", cohort, "--overwrite"), "cohort.csv: is a file, but a folder is written"),
        (("--cohort", cohort, "--out", cohort / "below"), "cannot be written"),
        (("--cohort", cohort, "--out", tmp_path / "r", "--config", tmp_path / "c.yaml"), "c.yaml: cannot be read"),
    ):
        assert message in refused(capsys, "train", *words, *QUICK)
    assert sha256(trained / "run" / "model.safetensors") == before
    assert list(tmp_path.iterdir()) == []


STRANGE: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "collinear": lambda t: t.assign(C=2 * t["A"].astype(float) + 1, D=t["A"].astype(float) - t["B"].astype(float)),
    "nearly constant": lambda t: t.assign(C=np.where(np.arange(42) == 7, 1.0001, 1.0)),
    "one region": lambda t: t.drop(columns="B"),
    "strange names": lambda t: t.assign(
        subject=t["subject"].replace({"P01": "a/b", "P02": "x, y", "P03": "ünï", "P04": "007", "P05": "1e5"})
    ),
    "the same header twice": lambda t: t.set_axis(["subject", "age", "A", "A"], axis=1),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_tables_can_be_learned_from(name: str, tmp_path: Path) -> None:
    """And what is learned is finite, and forecasts every subject by its own name."""
    table = STRANGE[name](plain())
    table.to_csv(tmp_path / "cohort.csv", index=False)
    folder = tmp_path / "run"
    for words in (
        ["train", "--cohort", tmp_path / "cohort.csv", "--out", folder, *QUICK],
        ["score", "--run", folder, "--cohort", tmp_path / "cohort.csv", "--out", tmp_path / "s.csv", "--draws", "20"],
        ["generate", "--run", folder, "--at", "1", "--draws", "20", "--out", tmp_path / "f.csv",
         *(word for s in dict.fromkeys(table["subject"]) for word in ("--subject", s))],
    ):  # fmt: skip
        done(words)
    text = {"subject": str}
    scores, forecast = (pd.read_csv(tmp_path / f"{k}.csv", dtype=text) for k in ("s", "f"))
    assert np.isfinite(scores.select_dtypes(float)).all(axis=None)
    assert np.isfinite(forecast.select_dtypes(float)).all(axis=None)
    assert list(scores["subject"]) == list(table["subject"].sort_values())
    assert sorted(forecast["subject"]) == sorted(set(table["subject"]))


READ_AS_MISSING = {
    "number": (cell("1e300"), "A: 1 row (line 7): numbers beyond any measurement (1e300) were read as missing"),
    "age": (cell("1e300", "age"), "age: 1 row (line 7): numbers beyond any measurement (1e300) were read as missing"),
}


@pytest.mark.parametrize("name", READ_AS_MISSING)
def test_numbers_beyond_any_measurement_are_read_as_missing(name: str, tmp_path: Path) -> None:
    table, warning = READ_AS_MISSING[name]
    table.to_csv(tmp_path / "cohort.csv", index=False)
    assert warning in run("train", "--cohort", tmp_path / "cohort.csv", "--out", tmp_path / "run", *QUICK)


FUTURES = {
    "early": ("RID,EXAMDATE\n9002,2030-01-01\n9003,2006-01-01\n",
              "line 3, column EXAMDATE: found '2006-01-01': not after the subject's last visit"),
    "unknown subject": ("RID,EXAMDATE\n1,2030-01-01\n", "line 2, column RID: found '1': the cohort has no such"),
    "unknown covariate": ("RID,EXAMDATE,FOO\n9002,2030-01-01,2\n", "FOO: no covariate of the cohort. Known are DX,"),
    "unknown level": ("RID,EXAMDATE,DX\n9002,2030-01-01,Tired\n", r"column DX holds 'Tired'.*known: CN, Dementia, MCI"),
    "text": ("RID,EXAMDATE,CDRSB\n9002,2030-01-01,bad\n", "line 2, column CDRSB: found 'bad' where a number is needed"),
    "infinite": ("RID,EXAMDATE,CDRSB\n9002,2030-01-01,inf\n", r"column CDRSB: infinite values in 1 row \(line 2\)"),
    "no date": ("RID,EXAMDATE\n9002,someday\n", "line 2, column EXAMDATE: found 'someday': not a time of the kind"),
    "twice": ("RID,EXAMDATE\n9002,2030-01-01\n9002,2030-01-01\n", "line 3, .*a second row for the same subject"),
    "too late": ("RID,time\n9002,1000\n", "9002: 1000 years after the first visit; crow takes up to 200"),
    "no time": ("RID,CDRSB\n9002,1\n", "EXAMDATE is missing|EXAMDATE or time"),
    "empty": ("", "the file is empty"),
    "header only": ("RID,EXAMDATE\n", "has a header but no rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", FUTURES)
def test_future_visits_are_refused(
    name: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = FUTURES[name]
    (tmp_path / "future.csv").write_text(text)
    said = refused(
        capsys, "generate", "--run", trained / "run", "--cohort", trained / "cohort.csv", "--visits",
        tmp_path / "future.csv", "--out", tmp_path / "f.csv", "--save-draws", tmp_path / "d.csv", "--draws", "10",
    )  # fmt: skip
    assert pd.Series([said]).str.contains(message).all(), said
    assert [path.name for path in tmp_path.iterdir()] == ["future.csv"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--set-covariate", "CDRSB=inf"], "--set-covariate CDRSB: found 'inf' where a number is needed"),
        (["--set-covariate", "CDRSB=nan"], "--set-covariate CDRSB: found 'nan' where a number is needed"),
        (["--set-covariate", "CDRSB=1e30"], "column CDRSB: found 1e+30, but the training visits lie around"),
        (["--set-covariate", "CDRSB=1@-1"], "-1 is not after the last visit"),
        (["--at", "nan"], "nan is not after the last visit"),
        (["--at", "1000"], "years after the first visit; crow takes up to 200"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    flags: list[str], message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = [] if "--at" in flags else ["--at", "1"]
    words = ("generate", "--run", trained / "run", "--subject", "9002", *at, *flags, "--out", tmp_path / "f.csv")
    assert message in refused(capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_tables_that_are_not_the_runs_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, run = pd.read_csv(trained / "cohort.csv").astype(object), trained / "run"
    huge, text = table.copy(), table.copy()
    huge.loc[1, "Hippocampus"], text.loc[1, "Hippocampus"] = 1e30, "oops"
    for changed, message in (
        (table.rename(columns={"Fusiform": "Fusi"}), "its columns are not those of the run. Missing: Fusiform."),
        (table.assign(DX="Tired"), "column DX holds 'Tired', which the training data did not have"),
        (huge, "column Hippocampus: found 1e+30, but the training visits lie around"),
        (text, "line 3, column Hippocampus: found 'oops' where a number is needed"),
        (table[:0], "has a header but no rows"),
    ):
        changed.to_csv(tmp_path / "t.csv", index=False)
        out = ("--out", tmp_path / "out.csv")
        assert message in refused(capsys, "score", "--run", run, "--cohort", tmp_path / "t.csv", *out)
        words = ("generate", "--run", run, "--cohort", tmp_path / "t.csv", "--subject", "9001", "--at", "1", *out)
        assert message in refused(capsys, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def _cut(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:100])


def _newer(run: Path) -> None:
    content = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**content, "format_version": 99}))


def _scaled(run: Path) -> None:
    content = json.loads((run / "model.json").read_text())
    content["description"]["representation"]["sd"][0] *= 2
    (run / "model.json").write_text(json.dumps(content))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (shutil.rmtree, "there is no such run folder"),
    "cut tensors": (_cut("model.safetensors"), "model.safetensors: truncated or damaged"),
    "cut model": (_cut("model.json"), "model.json, line "),
    "no log": (lambda run: (run / "log.csv").unlink(), "log.csv missing"),
    "newer": (_newer, f"run format 99, newer than format {FORMAT_VERSION}"),
    "tampered": (_scaled, "it was changed. Restore both files"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_runs_are_refused(name: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, message = DAMAGES[name]
    shutil.copytree(trained / "run", tmp_path / "run")
    damage(tmp_path / "run")
    out = ("--out", tmp_path / "out.csv")
    words = ("--run", tmp_path / "run", "--cohort", trained / "cohort.csv", *out)
    assert message in refused(capsys, "score", *words)
    assert message in refused(capsys, "generate", *words, "--subject", "9002", "--at", "1")
    assert not (tmp_path / "out.csv").exists()


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file grows beyond ``size`` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("size", "command"),
    [
        (2000, "simulate --out demo --subjects 20"),
        (2000, "check {cohort} --out clean.csv"),
        (200, "train --cohort {cohort} --out new"),
        (2000, "generate --run {run} --subject 9002 --at 1 --draws 10 --save-draws d.csv --figure f.png"),
        (2000, "score --run {run} --cohort {cohort} --draws 10"),
    ],
    ids=lambda value: str(value).split()[0],
)
def test_a_full_disk_leaves_nothing(
    size: int,
    command: str,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = command.format(cohort=trained / "cohort.csv", run=trained / "run").split()
    with room(size):
        said = refused(capsys, *words)
    assert "cannot be written: File too large" in said
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_in_training_leaves_what_can_be_resumed(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--cohort", trained / "cohort.csv", "--out", tmp_path / "run"]
    with room(30_000):
        said = refused(capsys, *words, *QUICK)
    assert "member-1.ckpt: cannot be written: File too large" in said
    done([*words, "--resume"])
    same = "model.safetensors"
    assert sha256(tmp_path / "run" / same) == sha256(trained / "run" / same)


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_tensors(trained: Path, tmp_path: Path) -> None:
    """SIGKILL as soon as the first two members have a checkpoint, then --resume, against an undisturbed run."""
    sets = ["model.members=3", "model.hidden=4", "model.blocks=1", "training.max_epochs=2", "training.threads=1"]
    words = ["train", "--cohort", str(trained / "cohort.csv"), *(word for s in sets for word in ("--set", s))]
    command = [sys.executable, "-c", RUN_CROW, *words, "--out", str(tmp_path / "killed")]
    training = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed" / "checkpoints" / "member-1-to-2.ckpt"
    while not checkpoint.exists() and training.poll() is None:
        time.sleep(0.002)
    training.send_signal(signal.SIGKILL)
    assert training.wait() == -signal.SIGKILL
    done([*words, "--out", tmp_path / "whole"])
    done([*words[:3], "--out", tmp_path / "killed", "--resume"])
    tensors = [sha256(tmp_path / run / "model.safetensors") for run in ("killed", "whole")]
    assert tensors[0] == tensors[1]
