"""Broken tables, pipes, devices, odd numbers and damaged files of a run end with a result or with a sentence."""

from __future__ import annotations

import gzip
import io
import os
import resource
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from commands import refused

from crow.cli.main import main
from crow.cohort.parameters import MAX_TABLE_BYTES
from crow.cohort.text_file import require_cells
from crow.errors import CohortError
from crow.run.folder import FORMAT_VERSION

RUN = Path(__file__).parents[1] / "data" / f"runs-v{FORMAT_VERSION}" / "regions"
LIMIT = 120  # seconds, after which a command counts as hanging
GOOD = "subject,age,sex,CDRSB,ROI01,ROI02\n" + "".join(
    f"s{k},{70 + k % 3 + v},{'FM'[k % 2]},{v},{1.7 + 0.1 * v + 0.01 * k:.4g},{1.4 + 0.02 * k:.4g}\n"
    for k in range(12) for v in range(3)
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_hanging() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError("the command hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def replaced(old: str, new: str, count: int = -1) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new, count).encode("utf-8", "surrogateescape")


def workbook(big: bytes = b"") -> bytes:
    """An Excel workbook, with one more cell if ``big`` is given."""
    made = io.BytesIO()
    pd.read_csv(io.StringIO(GOOD)).to_excel(made, index=False)
    if not big:
        return made.getvalue()
    changed = io.BytesIO()
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as out:
        for name in source.namelist():
            cell = b'<row r="99"><c r="A99" t="inlineStr"><is><t>' + big + b"</t></is></c></row></sheetData>"
            out.writestr(name, source.read(name).replace(b"</sheetData>", cell))
    return changed.getvalue()


READ, EITHER = "read", "read or refused"
TABLES: dict[str, tuple[bytes, str]] = {
    "a NUL in a name": (replaced("s3,", "s\x003,"), "bytes that no text has"),
    "NUL bytes only": (b"\x00" * 1000, "bytes that no text has"),
    "UTF-16": (GOOD.encode("utf-16"), READ),
    "UTF-32": (GOOD.encode("utf-32"), EITHER),
    "a byte-order mark": (b"\xef\xbb\xbf" + GOOD.encode(), READ),
    "two byte-order marks": (b"\xef\xbb\xbf" * 2 + GOOD.encode(), EITHER),
    "Latin-1": (GOOD.replace("s3,", "s\xe9,").encode("latin-1"), READ),
    "a cell of 5 MB": (replaced("s3,", "x" * 5_000_000 + ",", 1), "more than 100,000 characters"),
    "a column twice": (replaced("ROI02", "ROI01", 1), READ),
    "the age twice": (replaced("CDRSB", "age", 1), READ),
    "a column without a name": (replaced("CDRSB", "", 1), READ),
    "names that differ in case": (replaced("sex", "Age", 1), READ),
    "mixed ends of lines": (GOOD.replace("\n", "\r\n", 5).replace("\n", "\r", 3).encode(), READ),
    "carriage returns": (replaced("\n", "\r"), READ),
    "a header only": (GOOD.split("\n")[0].encode(), "no rows"),
    "no header": (GOOD.split("\n", 1)[1].encode(), "no subject column"),
    "nothing": (b"", "is empty"),
    "one letter": (b"x", "no rows"),
    "commas only": (b"," * 100_000, "no cell has text"),
    "quotes only": (b'"' * 100_001, EITHER),
    "an open quote": (GOOD.encode() + b'"', EITHER),
    "a row that is too long": (GOOD.encode() + b"," * 10_000 + b"\n", EITHER),
    "a row that is too short": (GOOD.encode() + b"s9\n", EITHER),
    "an infinite value": (replaced("1.7,", "inf,", 1), "infinite values"),
    "1e400": (replaced("1.7,", "1e400,", 1), "infinite values"),
    "a hexadecimal number": (replaced("1.7,", "0x1F,", 1), "a number is needed"),
    "a formula as a name": (replaced("s3,", "=cmd|' /C calc'!A0,"), READ),
    "an escape sequence as a name": (replaced("s3,", "\x1b[31ms3,"), EITHER),
    "a name that turns the text": (replaced("s3,", "\u202es3,"), READ),
    "a name of two lines": (replaced("s3,", '"s\n3",'), READ),
    "an age of 7e9": (replaced(",70,", ",7e9,"), "ages outside 0 to 120 years"),
    "a negative age": (replaced(",70,", ",-70,"), "ages outside 0 to 120 years"),
    "regions named as columns of results": (replaced("ROI01", "mean").replace(b"ROI02", b"q05"), READ),
    "JSON": (b'{"a": 1}', "JSON: convert it to CSV"),
    "HTML": (b"<html><table><tr><td>1</td></tr></table></html>", "save it as CSV"),
    "random bytes": (bytes(range(256)) * 80, "bytes that no text has"),
    "damaged.csv.gz": (gzip.compress(GOOD.encode())[:60], "damaged"),
    "plain.csv.gz": (GOOD.encode(), READ),
    "bomb.csv.gz": (gzip.compress(b"subject,age,ROI01\n" + b"0" * 200_000_000), "more than 100,000 characters"),
    "table.xlsx": (workbook(), READ),
    "macros.xlsm": (workbook(), READ),
    "bomb.xlsx": (workbook(b"A" * 50_000_000), EITHER),
    "damaged.xlsx": (b"PK\x03\x04" + b"x" * 100, "damaged Excel workbook"),
    "text.parquet": (GOOD.encode(), READ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_or_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, expected = TABLES[name]
    path = tmp_path / (name if "." in name else "table.csv")
    path.write_bytes(content)
    with pytest.raises(SystemExit) as end:
        main(["check", str(path)])
    shown = capsys.readouterr()
    text = " ".join((shown.out + shown.err).replace("│", " ").split())
    assert "Traceback" not in text and "\x1b[31ms3" not in text
    if expected == READ:
        assert not end.value.code and "12 subjects" in text
    elif expected == EITHER:
        assert end.value.code in (None, 0, 2)
    else:
        assert expected in text


@pytest.mark.parametrize(("start", "reason"), [
    (b"", "bytes that no text has"), (b"subject,age,ROI01\ns1,70,", "bytes that no text has"),
])  # fmt: skip
@pytest.mark.parametrize("command", ["check", "score"])
def test_a_file_of_one_line_is_refused_before_it_takes_memory(
    command: str, start: bytes, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "line.csv"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(MAX_TABLE_BYTES)  # NUL bytes, which take no space on the disk
    words = [path] if command == "check" else ["--run", RUN, "--cohort", path, "--out", tmp_path / "s.csv"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reason in refused(capsys, command, *words)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_TABLE_BYTES >> 12  # KiB


def test_a_cell_without_an_end_is_named_by_its_line(tmp_path: Path) -> None:
    for name, content in (("line.csv", GOOD.encode()), ("line.csv.gz", b"")):
        long = content + b"0" * (3 << 20)
        (tmp_path / name).write_bytes(gzip.compress(long) if name.endswith(".gz") else long)
        with pytest.raises(CohortError, match=rf"line {1 + content.count(10)}: a cell of more than 100,000 characters"):
            require_cells(tmp_path / name)


SCORE = ["score", "--run", str(RUN), "--out", "s.csv"]
GENERATE = ["generate", "--run", str(RUN), "--cohort", "good.csv", "--subject", "s1", "--out", "g.csv"]
TRAIN = ["train", "--out", "run"]
NO_FILE = "a pipe or a device, and not a file"
COMMANDS: dict[str, tuple[list[str], str]] = {
    **{f"check {name}": (["check", name], reason) for name, reason in {
        "folder.csv": "is a folder", "loop.csv": "Too many levels of symbolic links", "pipe.csv": NO_FILE,
        "/dev/null": NO_FILE, "/dev/zero": NO_FILE, "/dev/urandom": NO_FILE, "/dev/stdin": NO_FILE, ".": "is a folder",
        "/proc/self/mem": "cannot be read", "-": "No such file", "https://example.com/a.csv": "No such file",
        "": "is a folder",
    }.items()},
    **{f"{option} {name}": (["check", "good.csv", option, name], reason) for option, name, reason in (
        ("--mapping", "pipe.csv", NO_FILE), ("--mapping", "/dev/zero", NO_FILE),
        ("--mapping", "good.csv", "check --write"),
        ("--mapping", "bytes.bin", "not a text file"), ("--mapping", "deep.yaml", "not valid YAML"),
    )},
    **{f"train --config {name}": ([*TRAIN, "--cohort", "good.csv", "--config", name], reason) for name, reason in {
        "pipe.csv": NO_FILE, "/dev/zero": NO_FILE, "folder.csv": "directory", "bytes.bin": "not a text file",
    }.items()},
    "train a pipe": ([*TRAIN, "--cohort", "pipe.csv"], NO_FILE),
    "score a pipe": ([*SCORE, "--cohort", "pipe.csv"], NO_FILE),
    "share a pipe": (["share", "--run", str(RUN), "--cohort", "pipe.csv", "--out", "s.zip"], NO_FILE),
    "an evaluation that is none": (
        ["report", "--run", str(RUN), "--evaluation", "folder.csv", "--out", "r.html"], "no evaluation here"
    ),
    **{f"--at {value[:12]}": ([*GENERATE, "--at", value], reason) for value, reason in {
        "nan": "not after the last visit", "inf": "not after the last visit", "-1": "not after the last visit",
        "0": "not after the last visit", "1e308": "crow takes up to 200", "1e-300": "does not come after",
        ",": "not a number", "soon": "not a number", ",".join(str(k / 1000) for k in range(1, 5000)): "at most 1,000",
    }.items()},
    **{f"--set-covariate {value}": ([*GENERATE, "--at", "1", "--set-covariate", value], reason) for value, reason in {
        "CDRSB=nan@1": "a number is needed", "CDRSB=inf@1": "a number is needed",
        "CDRSB=1e308@1": "training visits lie",
        "=": "NAME=VALUE@YEARS", "CDRSB": "NAME=VALUE@YEARS",
    }.items()},
    "no subject": ([*GENERATE[:5], "--subject", "", "--at", "1", "--out", "g.csv"], "has no subject"),
    "a subject that is a path": (
        [*GENERATE[:5], "--subject", "../../etc", "--at", "1", "--out", "g.csv"], "has no subject"
    ),
    **{f"--set {pair}": ([*TRAIN, "--cohort", "good.csv", "--set", pair], reason) for pair, reason in {
        "training.learning_rate=nan": "finite", "training.learning_rate=inf": "finite",
        "training.max_epochs=-1": "greater", "training.max_epochs=1e9": "integer", "model.hidden=0": "greater",
        "model.hidden=99999999": "less",
        "model.members=0": "greater", "seed=-1": "greater", "seed=1e400": "integer", "=": "key=value", "a": "key=value",
        "model=3": "dictionary", "model.members=[1]": "integer",
        "model.members=!!python/object:os.system": "not valid YAML",
        "training.batch_size=0": "greater", "training.threads=1000000": "less", "model.dropout=1": "less",
    }.items()},
    "--test nan": ([*TRAIN, "--cohort", "good.csv", "--test", "nan"], "0.99"),
    "--test inf": ([*TRAIN, "--cohort", "good.csv", "--test", "inf"], "0.99"),
    "--test 0.99": ([*TRAIN, "--cohort", "good.csv", "--test", "0.99"], "left to train on"),
    "--resolution nan": (["simulate", "--scans", "--out", "z", "--resolution", "nan"], "out of range"),
    "--visits 1e8": (["simulate", "--out", "z", "--visits", "100000000"], "less than or equal to"),
    "--min-count 0": (["share", "--run", str(RUN), "--out", "s.zip", "--min-count", "0"], "greater than or equal to"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_an_input_or_a_number_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text(GOOD)
    (tmp_path / "bytes.bin").write_bytes(b"\x92\xff\x00" * 99)
    (tmp_path / "deep.yaml").write_text("[" * 20_000)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    os.mkfifo("pipe.csv")
    before = sorted(tmp_path.rglob("*"))
    words, reason = COMMANDS[name]
    assert reason in refused(capsys, *words)
    assert sorted(tmp_path.rglob("*")) == before


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [pipe, device, folder])
@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "config.yaml", "metrics.json", "log.csv"])
def test_a_file_of_a_run_that_is_none_is_refused(
    name: str, damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(RUN, tmp_path / "run")
    (tmp_path / "good.csv").write_text(GOOD)
    damage(tmp_path / "run" / name)
    words = ["score", "--run", tmp_path / "run", "--cohort", tmp_path / "good.csv", "--out", tmp_path / "s.csv"]
    assert f"{name} missing" in refused(capsys, *words)


CONTENT = {
    "metrics.json": ['{"members": 3}', '{"members": [1]}', '{"validation_nll_per_visit": "x"}', "null",
                     '{"epoch": []}'],
    "log.csv": ["", "epoch\n", "a,b\n1,2\n", "epoch,train,validation,member\n1,inf,nan,x\n",
                "epoch,train,validation\n1,2,\n", "epoch,train,validation\n,1,2\n", "epoch,train,validation\n1,x,2\n"],
    "findings.json": ['[{"code": 1}]', '[{"code": "x", "severity": []}]', '[{"rows": "z"}]', "3"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), [(name, text) for name, texts in CONTENT.items() for text in texts])
def test_figures_of_a_run_that_crow_did_not_write_are_refused(
    name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(RUN, tmp_path / "run")
    (tmp_path / "run" / name).write_text(content)
    message = refused(capsys, "report", "--run", tmp_path / "run", "--out", tmp_path / "report.html")
    assert str(tmp_path / "run" / name) in message
