"""A BIDS tree with loops, pipes, odd names or damaged tables and sidecars is read or refused, and never waited for."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import refused
from test_hostile_inputs import no_hanging  # noqa: F401

import crow
from crow.errors import CohortError

SUBJECTS, VISITS = 4, 2


def make_tree(tree: Path) -> Path:
    """Four subjects with two visits each; the scans are not read. A further subject has no time, so it is left out."""
    for k in range(SUBJECTS):
        subject = f"sub-{k}"
        for v in range(VISITS):
            scan(tree, k, v).parent.mkdir(parents=True)
            scan(tree, k, v).write_bytes(b"scan")
        rows = "".join(f"ses-{v}\t{70 + k + v}\n" for v in range(VISITS))
        (tree / subject / f"{subject}_sessions.tsv").write_text(f"session_id\tage\n{rows}")
    sexes = "".join(f"sub-{k}\t{'FM'[k % 2]}\n" for k in range(SUBJECTS))
    (tree / "participants.tsv").write_text(f"participant_id\tsex\n{sexes}")
    return tree


def scan(tree: Path, k: int, v: int) -> Path:
    return tree / f"sub-{k}" / f"ses-{v}" / "anat" / f"sub-{k}_ses-{v}_T1w.nii.gz"


def content(name: str, text: str | bytes) -> Callable[[Path], object]:
    return lambda tree: (tree / name).write_bytes(text.encode() if isinstance(text, str) else text)


def instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        (tree / name).unlink(missing_ok=True)
        make(tree / name)

    return change


def link(name: str, target: str) -> Callable[[Path], object]:
    return instead(name, lambda path: path.symlink_to(target))


def named(name: str) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        folder = os.fsencode(tree) + b"/" + os.fsencode(name) + b"/anat"
        os.makedirs(folder)
        Path(os.fsdecode(folder + b"/" + os.fsencode(name) + b"_T1w.nii.gz")).write_bytes(b"scan")

    return change


def empty_folders(tree: Path) -> None:
    for k in range(300):
        (tree / f"sub-empty{k}" / "anat").mkdir(parents=True)


def deep_folder(tree: Path) -> None:
    os.makedirs(tree / "/".join(["sub-deep", *["ses-1"] * 300]))


SCAN = str(scan(Path(), 0, 0))
ALL, FEWER = SUBJECTS * VISITS, SUBJECTS * VISITS - 1
READ: dict[str, tuple[Callable[[Path], object], int]] = {
    "a link to the folder above": (link("sub-0/loop", ".."), ALL),
    "a subject that is the tree": (link("sub-9", "."), ALL),
    "a subject that is the whole disk": (link("sub-9", "/"), ALL),
    "empty folders": (empty_folders, ALL), "a deep folder": (deep_folder, ALL),
    "a name of two lines": (named("sub-a\nb"), ALL), "an escape sequence": (named("sub-\x1b[31mred"), ALL),
    "a formula": (named("sub-=cmd()"), ALL), "a tag": (named("sub-<b>&"), ALL),
    "a scan that is a pipe": (instead(SCAN, os.mkfifo), FEWER),
    "a scan that is a folder": (instead(SCAN, Path.mkdir), FEWER),
    "a scan that is a loop": (link(SCAN, Path(SCAN).name), FEWER),
    "a scan that is a device": (link(SCAN, "/dev/zero"), FEWER),
    **{f"a sidecar {name}": (content("participants.json", text), ALL) for name, text in {
        "of lists in lists": "[" * 100_000, "of objects in objects": '{"a":' * 100_000,
        "with NaN": '{"sex": {"Units": NaN}}',
        "that is a list": "[1]", "of text": '{"sex": "x"}', "with odd units": '{"sex": {"Units": ["y"], "Levels": 3}}',
        "of bytes": b"\xff\x00" * 99, "of nothing": "",
        "with a long number": '{"sex": {"Levels": {"1": ' + "9" * 5000 + "}}}",
    }.items()},
    "a sidecar that is a pipe": (instead("participants.json", os.mkfifo), ALL),
    "a sidecar that is a device": (link("participants.json", "/dev/zero"), ALL),
    "a sidecar that was not downloaded": (link("participants.json", "annex"), ALL),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_hostile_tree_is_read(name: str, tmp_path: Path) -> None:
    change, visits = READ[name]
    change(make_tree(tmp_path / "tree"))
    found = crow.read_cohort(tmp_path / "tree", strict=False)
    assert len(found) == visits
    damaged = "lists in|objects in|of bytes|of nothing|long number|pipe|device|downloaded"
    warned = {finding.code for finding in found.findings}
    assert ("bad-sidecar" in warned) == ("sidecar" in name and re.search(damaged, name) is not None)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a name that is not UTF-8": (named("sub-\udcff"), r"sub-\\xff.*not UTF-8"),
    **{f"participants {name}": (content("participants.tsv", text), reason) for name, (text, reason) in {
        "of nothing": ("", "is empty"), "of NUL": (bytes(99), "no text has"), "of JSON": ("{}", "JSON"),
        "of a header": ("participant_id\tage\n", "no rows"),
        "of 100,000 columns": ("participant_id" + "\tx" * 100_000 + "\n", "columns"),
        "with a long cell": ("participant_id\tage\nsub-0\t" + "9" * 200_000, "100,000 characters"),
        "with an open quote": ('participant_id\tsex\nsub-0\tF\n"sub-1\tM\n', "not closed"),
        "with a subject twice": ("participant_id\tsex\nsub-0\tF\nsub-0\tM\n", "several rows"),
    }.items()},
    **{f"{table} that is {kind}": (instead(table, make), reason)
       for table in ("participants.tsv", "sub-0/sub-0_sessions.tsv") for kind, (make, reason) in {
           "a pipe": (os.mkfifo, "pipe or a device"), "a folder": (Path.mkdir, "is a folder"),
           "a device": (lambda path: path.symlink_to("/dev/zero"), "pipe or a device"),
           "a loop": (lambda path: path.symlink_to(path.name), "symbolic links"),
           "not downloaded": (lambda path: path.symlink_to("../.git/annex/x"), "cannot be read"),
    }.items()},
    "sessions of bytes": (content("sub-0/sub-0_sessions.tsv", b"\xff\0\1" * 50), "no text has"),
    "sessions of odd numbers": (lambda tree: [
        content(f"sub-{k}/sub-{k}_sessions.tsv", "session_id\tage\nses-0\tnan\nses-1\t1e999\n")(tree)
        for k in range(SUBJECTS)
    ], "time of the visits cannot be known"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_tree_is_refused(name: str, tmp_path: Path) -> None:
    change, reason = REFUSED[name]
    change(make_tree(tmp_path / "tree"))
    with pytest.raises(CohortError, match=reason):
        crow.read_cohort(tmp_path / "tree", strict=False)


def test_the_command_shows_no_escape_sequence_of_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named("sub-\x1b[31m\udcff")(make_tree(tmp_path / "tree"))
    message = refused(capsys, "prepare", "--cohort", tmp_path / "tree", "--out", tmp_path / "store")
    assert "not UTF-8" in message and "\x1b[31m" not in message
    assert not (tmp_path / "store").exists()


@pytest.fixture(autouse=True)
def removed(tmp_path: Path) -> Iterator[None]:
    """Remove the tree, which is deeper than pytest removes."""
    yield
    shutil.rmtree(tmp_path / "tree", ignore_errors=True)
