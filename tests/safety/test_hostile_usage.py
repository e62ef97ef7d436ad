"""Numbers of any size, files of settings, links, signals and limits of the computer: each ends with a sentence."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from commands import done, refused
from test_hostile_inputs import GENERATE, GOOD, RUN

import crow.pipelines.simulate as simulate
from crow.cli.main import main
from crow.cli.signals import ending_in_order
from crow.errors import OutputError
from crow.files import write_text
from crow.locks import locked
from crow.yaml_file import MAX_NODES

ENDLESS = "9" * 400
BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} [{','.join(['*' + chr(97 + k)] * 9)}]\n" for k in range(8)
)
DRAW = [*GENERATE, "--at", "1", "--draws", "20"]
NUMBERS: dict[str, tuple[list[str], str]] = {
    "draws": ([*GENERATE, "--at", "1", "--draws", ENDLESS], "GiB of memory"),
    "scan draws": ([*GENERATE, "--at", "1", "--save-scan-draws", ENDLESS], "GiB of memory"),
    "new subjects": (
        ["generate", "--run", str(RUN), "--new-subjects", ENDLESS, "--out", "g.csv"], "less than or equal to"
    ),
    "simulated subjects": (["simulate", "--out", "z", "--subjects", ENDLESS], "GiB of memory"),
    "a setting": (["train", "--cohort", "good.csv", "--out", "r", "--set", f"model.blocks={ENDLESS}"], "GiB of memory"),
    "years": ([*GENERATE, "--at", ENDLESS], "not after the last visit"),
    "a unit": ([*DRAW, "--unit", "m" * 1000], "at most 60"),
    "two values at once": (
        [*DRAW, "--set-covariate", "CDRSB=1@1", "--set-covariate", "CDRSB=2@1"], "1 and 2 are both set"
    ),
    "a home that the shell left": (["simulate", "--out", "~/z"], "did not replace ~"),
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text(GOOD)
    return tmp_path


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_or_text_without_end_is_refused(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, reason = NUMBERS[name]
    message = refused(capsys, *words)
    assert reason in message and len(message) < 4000
    assert os.listdir(here) == ["good.csv"]


YAML: dict[str, tuple[str, str]] = {
    "aliases that multiply": (BOMB, f"more than {MAX_NODES:,}"),
    "an alias that contains itself": ("training: &a\n  x: *a\n", "contains itself"),
    "nesting": ("[" * 20_000, "nested too deeply"),
    "nesting of mappings": ("".join(f"{' ' * k}a:\n" for k in range(60)), "nested more than 50 deep"),
    "a key that stands twice": ("seed: 1\nseed: 2\n", "is set twice"),
    "a list": ("[1]", "are needed as 'key: value' lines"),
    "UTF-16": ("seed: 1\n".encode("utf-16").decode("latin-1"), "not a text file"),
    "a NUL": ("seed: 1\x00\n", "not valid YAML"),
    "an object": ("seed: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
    "a number of 5000 digits": (f"seed: {'9' * 5000}\n", "not valid YAML"),
    "many keys": ("".join(f"k{k}: 1\n" for k in range(3000)), ""),
    "a long word": (f"cohort: {{subject: {'x' * 100_000}}}\n", ""),
}


@pytest.mark.parametrize("name", YAML)
@pytest.mark.parametrize("option", ["train --out r --cohort good.csv --config", "check good.csv --mapping"])
def test_a_hostile_yaml_file_is_refused(
    option: str, name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, reason = YAML[name]
    (here / "c.yaml").write_bytes(text.encode("latin-1"))
    began = time.monotonic()
    message = refused(capsys, *option.split(), "c.yaml")
    assert reason in message and len(message) < 4000
    assert time.monotonic() - began < 20 and not (here / "r").exists()


TABLES = {
    "values of 1e-300": ("{:.6g}e-300", "as good as equal"),
    "values that differ in the 13th digit": ("1.000000000000{:.0f}", "as good as equal"),
}


@pytest.mark.parametrize("name", TABLES)
def test_regions_that_cannot_be_scaled_are_refused(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form, reason = TABLES[name]
    table = pd.DataFrame({"subject": [f"s{k // 3}" for k in range(36)], "age": [70.0 + k % 3 for k in range(36)]})
    table = table.assign(ROI1=[1.5 + k % 7 for k in range(36)], ROI2=[form.format(1 + k % 5) for k in range(36)])
    table.to_csv(here / "t.csv", index=False)
    message = refused(capsys, "train", "--cohort", "t.csv", "--regions", "ROI1,ROI2", "--out", "r")
    assert reason in message and "ROI2" in message and not (here / "r").exists()


def test_more_columns_than_are_read_are_refused_at_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ",".join(f"R{k}" for k in range(30_000))
    (here / "wide.csv").write_text(f"subject,age,{names}\n" + f"a,70{',1' * 30_000}\n" * 2)
    assert "has 30,002 columns; at most 20,000" in refused(capsys, "check", "wide.csv")


Trap = Callable[[Path], object]
TRAPS: dict[str, Trap] = {
    "a link to a file of the user": lambda lock: lock.symlink_to("mine.txt"),
    "a link to nothing": lambda lock: lock.symlink_to("nothing.txt"),
    "a pipe": lambda lock: os.mkfifo(lock),
    "a folder": lambda lock: lock.mkdir(),
    "another program's file": lambda lock: lock.write_text("mine"),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_lock_that_is_none_of_crow_is_not_touched(name: str, tmp_path: Path) -> None:
    lock = tmp_path / ".a.csv.lock"
    (tmp_path / "mine.txt").write_text("mine")
    TRAPS[name](lock)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OutputError, match="is no lock of crow"):
        write_text(tmp_path / "a.csv", "x")
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "mine.txt").read_text() == "mine" and (not lock.is_file() or lock.read_text() == "mine")


def test_a_lock_that_a_killed_command_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".a.csv.lock").write_text("crow train (process 1 on here, since 10:00)")
    write_text(tmp_path / "a.csv", "x")
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_temporary_file_is_no_way_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / f".a.csv.{os.getpid()}.part").symlink_to("mine.txt")
    write_text(tmp_path / "a.csv", "x")
    assert (tmp_path / "mine.txt").read_text() == "mine" and (tmp_path / "a.csv").read_text() == "x"


def child(words: list[str], before: Callable[[], object]) -> tuple[int, str]:
    """The status and output of a command in a process of its own that ``before`` prepares."""
    reading, writing = os.pipe()
    if (number := os.fork()) == 0:
        status = 99
        try:
            os.dup2(writing, 2)
            os.dup2(writing, 1)
            sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # type: ignore[misc]
            sys.stderr = sys.__stderr__ = os.fdopen(2, "w", closefd=False)  # type: ignore[misc]
            before()
            main(words)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as file:
        text = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), text


def on_a_full_disk() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_on_a_full_disk_does_not_stop_the_work(here: Path) -> None:
    status, text = child(["check", "good.csv", "--out", "c.csv"], on_a_full_disk)
    assert status == 2 and "could not be written to its end: No space left" in text
    assert (here / "c.csv").exists()


@pytest.mark.parametrize("size", [0, 10])
def test_no_lock_stays_if_no_byte_can_be_written(size: int, here: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    status, text = child(["simulate", "--out", "z", "--subjects", "5"], limit)
    assert status == 2 and "z: cannot be written: File too large" in text, text
    assert os.listdir(here) == ["good.csv"]


@pytest.mark.parametrize(
    ("number", "status", "in_background"),
    [
        (signal.SIGTERM, 143, False), (signal.SIGHUP, 129, False), (signal.SIGINT, 130, False),
        (signal.SIGTERM, 143, True),
    ],
)  # fmt: skip
def test_a_signal_ends_a_command_in_order(
    number: signal.Signals, status: int, in_background: bool, here: Path
) -> None:
    def interrupted() -> None:
        if in_background:  # a shell without a terminal ignores Ctrl-C for what it starts with &
            signal.signal(signal.SIGINT, signal.SIG_IGN)

        def stop(*_: object, **__: object) -> None:
            with locked(here / "b"):
                (here / ".b.part").touch()
                try:
                    signal.raise_signal(number)
                    time.sleep(1)
                finally:
                    (here / ".b.part").unlink()

        simulate.simulate_adni = stop  # type: ignore[attr-defined]

    found, _ = child(["simulate", "--out", "z"], interrupted)
    assert found == status and os.listdir(here) == ["good.csv"]


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_in_order() as received:
            signal.raise_signal(signal.SIGHUP)
        assert not received and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_file_that_goes_while_crow_works_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import crow.run.folder as folder

    def gone(*_: object) -> None:
        shutil.rmtree(here / "run")
        (here / "run" / "model.safetensors").read_bytes()

    shutil.copytree(RUN, here / "run")
    monkeypatch.setattr(folder, "_read_tensors", gone)
    words = ["score", "--run", str(here / "run"), "--cohort", "good.csv", "--out", "s.csv"]
    assert "may have been moved or removed while crow worked" in refused(capsys, *words)


@pytest.mark.parametrize("columns", ["0", "-1", "abc"])
def test_a_terminal_of_no_width_shows_the_output(
    columns: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    done(["check", "good.csv"])
    assert "12 subjects" in capsys.readouterr().out
