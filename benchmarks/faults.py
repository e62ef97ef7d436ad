"""Faults survived: commands killed at random moments, a disk that is full at each write, two commands on one folder.

    python benchmarks/faults.py --kills 20 --seed 0

A fault is survived if nothing half-written is read as a result: the output is absent or whole, what stood there before
is still there, no temporary file stays after the next run, and a training that was killed or had no space ends, once
resumed, with the same bytes as one that was not. Every command is a process of its own, forked after the imports, so
that the moments of the kills lie in its work. The disk becomes full at the first, second, ... file or folder that a
command makes, until it makes no more; half of these times the file is empty, and else cut off after `ROOM` bytes. Each
fault is printed as it happens.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # threads of the parent do not survive a fork
os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # no further processes

import torch
from full_disk import FullDisk
from timing import RESULTS, write

from crow.cli.main import main as crow_main

QUICK = ["--set", "training.max_epochs=4", "--set", "training.steps_per_epoch=4", "--set", "model.members=2",
         "--set", "model.hidden=8", "--set", "training.threads=1"]  # fmt: skip
KILLED = ("generate", "score", "evaluate", "prepare")
ROOM = 100  # bytes
COMMITTED = RESULTS / "faults.json"
PART = 0.05  # of the time of a command, before which no kill comes
Words = Sequence[str | Path]
Check = Callable[[], str]
"""Empty if the fault was survived, else what went wrong."""


def start(words: Words, log: Path, disk: FullDisk | None = None, modules: Path | None = None) -> int:
    """Start a command of crow in a process of its own; its number. It writes the names of its ``modules``."""
    sys.stdout.flush()
    if (number := os.fork()) != 0:
        return number
    status = 1
    try:
        os.setsid()
        out = os.open(os.devnull if disk else log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["crow", *map(str, words)]
        if disk is not None:
            disk.fill()
        crow_main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    finally:
        if modules is not None:
            modules.write_text("\n".join(sys.modules))
        os._exit(status)


def finish(number: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


@dataclass(frozen=True)
class Training:
    """A cohort, further words, and of an undisturbed training its seconds and the digest of its model."""

    cohort: Path
    words: Words
    took: float
    whole: str


class Faults:
    """A folder with cohorts and runs, and the faults that its commands survive there."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance, self.log = folder, chance, folder / "output.txt"
        self.results: dict[str, tuple[int, int]] = {}
        self.run("simulate", "--out", folder / "sim", "--subjects", 24, "--regions", 3)
        (folder / "sim" / "cohort.csv").rename(folder / "cohort.csv")
        for name, subjects in (("bids", 10), ("two", 2)):
            self.run("simulate", "--scans", "--out", folder / name, "--subjects", subjects, "--visits", 2,
                     "--resolution", 8)  # fmt: skip
        prepare = ["prepare", "--jobs", "1", "--resolution", "8", "--registration", "none", "--cohort"]
        self.run(*prepare, folder / "bids", "--out", folder / "prepared")
        self.trainings = {
            "train": self.training(folder / "cohort.csv", QUICK),
            "train on scans": self.training(folder / "prepared", [*QUICK, "--set", "scans.components=2"]),
        }
        run = folder / "run"
        self.run("train", "--cohort", folder / "cohort.csv", "--out", run, *QUICK, "--test", "0.2")
        self.commands: dict[str, tuple[Words, Path]] = {
            "generate": (["generate", "--run", run, "--new-subjects", "100"], folder / "new.csv"),
            "score": (["score", "--run", run, "--cohort", folder / "cohort.csv", "--draws", "5"],
                      folder / "scores.csv"),
            "evaluate": (["evaluate", "--run", run, "--draws", "20", "--baselines", "last", "--jobs", "1"],
                         folder / "evaluation"),
            "prepare": ([*prepare, folder / "two"], folder / "store"),
            "report": (["report", "--run", run, "--evaluation", folder / "evaluation"], folder / "report.html"),
            "share": (["share", "--run", run], folder / "model.zip"),
        }  # fmt: skip
        self.commands = {name: ([*words, "--out", out, "--overwrite"], out) for name, (words, out) in
                         self.commands.items()}  # fmt: skip
        self.took = {name: self.run(*words) for name, (words, _) in self.commands.items()}
        self.expected = {name: content(out) for name, (_, out) in self.commands.items()}
        for name in KILLED:  # without the time of the imports
            self.took[name] = self.run(*self.commands[name][0])
            if reason := self.differs(name):
                raise RuntimeError(f"{name}: {reason}")

    def training(self, cohort: Path, words: Words) -> Training:
        out = self.folder / f"{cohort.stem}_run"
        for _ in range(2):  # the first one imports
            took = self.run("train", "--cohort", cohort, "--out", out, *words, "--overwrite")
        return Training(cohort, words, took, digest(out / "model.safetensors"))

    def run(self, *words: str | int | Path) -> float:
        """Seconds of a command that has to succeed; what it imports is then imported here, before the next fork."""
        began, modules = time.monotonic(), self.folder / "modules.txt"
        if finish(start([str(word) for word in words], self.log, modules=modules)):
            raise RuntimeError(f"{words}: {self.log.read_text()[-500:]}")
        for name in modules.read_text().split():
            with suppress(Exception):
                importlib.import_module(name)
        return time.monotonic() - began

    def count(self, name: str, check: Check) -> None:
        began = time.monotonic()
        reason = check()
        print(f"{name}: {reason or 'survived'} ({time.monotonic() - began:.1f} s)", flush=True)
        survived, tried = self.results.get(name, (0, 0))
        self.results[name] = (survived + (not reason), tried + 1)
        write("faults", "Faults survived", self.rows)

    @property
    def rows(self) -> list[dict[str, str | int]]:
        return [{"fault": name, "tried": tried, "survived": good} for name, (good, tried) in self.results.items()]

    def kill(self, words: Words, took: float) -> None:
        """Start a command and kill it with all its processes at a random moment of its work."""
        number = start(words, self.log)
        time.sleep(self.chance.uniform(PART, 1.0) * took)
        if os.waitpid(number, os.WNOHANG)[0] == 0:
            os.killpg(number, signal.SIGKILL)
            os.waitpid(number, 0)

    def killed_training(self, training: Training) -> str:
        """Kill a training, and resume it."""
        out = self.folder / f"killed{self.chance.random()}"
        words = ["train", "--cohort", training.cohort, "--out", out, *training.words]
        self.kill(words, training.took)
        if reason := self.resumed(words, out, training):
            return reason
        score = ["score", "--run", out, "--cohort", training.cohort, "--draws", "5", "--overwrite", "--out",
                 self.folder / "k.csv"]  # fmt: skip
        if finish(start(score, self.log)):
            return f"the run cannot be read: {self.log.read_text()[-300:]}"
        return ""

    def resumed(self, words: Words, out: Path, training: Training) -> str:
        """Resume a training (or start again if it had not begun), and compare it with an undisturbed one."""
        if not (out / "model.json").exists():
            again = [*words[:5], "--resume"] if (out / "checkpoints").is_dir() else words
            if finish(start(again, self.log)):
                return f"could not be continued: {self.log.read_text()[-300:]}"
        if not (out / "model.safetensors").exists() or digest(out / "model.safetensors") != training.whole:
            return "the resumed training differs"
        if leftovers(out):
            self.run(*words, "--overwrite")
        return leftovers(out)

    def killed_output(self, name: str, again: bool) -> str:
        """Kill a command that replaces its output: the old or the new one is there, and the next command succeeds.

        Without ``again`` the next command is the one that is killed next.
        """
        words, out = self.commands[name]
        self.kill(words, self.took[name])
        kept = list(out.parent.glob(f".{out.name}.*.old"))
        if not out.exists() and not kept:
            return "the earlier output is lost"
        if name != "prepare" and out.exists() and content(out) != self.expected[name]:
            return "the output is neither the old nor the new one"
        if name == "prepare" and (reason := self.half_store(out)):
            return reason
        return self.again(name) if again else ""

    def half_store(self, out: Path) -> str:
        """A store that was not finished is refused."""
        finished = out.exists() and json.loads((out / "store.json").read_text())["finished"]
        if not finished and finish(start(["extract", "--scans", out, "--out", self.folder / "k.csv"], self.log)) != 2:
            return "a store that is not finished was read"
        return "" if not finished else self.differs("prepare")

    def again(self, name: str) -> str:
        """The command succeeds, gives the same tables as before, and leaves nothing behind."""
        words, _ = self.commands[name]
        if finish(start(words, self.log)):
            return f"the next command fails: {self.log.read_text()[-300:]}"
        return self.differs(name) or leftovers(self.commands[name][1])

    def differs(self, name: str) -> str:
        found, expected = content(self.commands[name][1]), self.expected[name]
        return "" if found == expected else f"the next result differs: {sorted(dict(found.items() ^ expected.items()))}"

    def full_disk(self, name: str, disk: FullDisk) -> str:
        """Run a command on a disk that becomes full: it is refused, and the earlier output stays."""
        words, out = self.commands[name]
        status = finish(start(words, self.log, disk))
        if status not in (0, 2):
            return f"status {status} from file {disk.full} on"
        if content(out) != self.expected[name]:
            return f"the earlier output has changed, from file {disk.full} on (status {status})"
        return leftovers(out)

    def full_disk_of_training(self, training: Training, disk: FullDisk) -> str:
        """Train on a disk that becomes full: it is refused, and can be resumed when there is space again."""
        out = self.folder / f"full{self.chance.random()}"
        words = ["train", "--cohort", training.cohort, "--out", out, *training.words]
        status = finish(start(words, self.log, disk))
        if status not in (0, 2):
            return f"status {status} from file {disk.full} on"
        return self.resumed(words, out, training)

    def full_disks(self, name: str, check: Callable[[FullDisk], str], every: int = 1) -> None:
        """A disk that is full from file 1, 2, ... on, until the command makes no file of that number."""
        full = 1
        while True:
            disk = FullDisk(full, ROOM * (full // every % 2))
            reason = check(disk)
            if disk.count < full:  # the command made no file of this number
                return
            self.count(f"{name}, disk full", lambda reason=reason: reason)
            full += every

    def two_at_once(self, training: Training) -> str:
        """Two trainings into one folder at once: one ends well, the other names it."""
        out = self.folder / f"both{self.chance.random()}"
        words = ["train", "--cohort", training.cohort, "--out", out, *training.words]
        logs = [self.folder / f"both{k}.txt" for k in range(2)]
        status = sorted(finish(number) for number in [start(words, log) for log in logs])
        text = "".join(log.read_text() for log in logs)
        named = "is writing there now" in text and "process" in text
        return "" if status == [0, 2] and named else f"status {status}: {text[-300:]}"


def leftovers(out: Path) -> str:
    """What an interrupted command left of an output, beside it and in it."""
    inside = [path for path in out.rglob(".*") if path.name.endswith((".part", ".old"))]
    found = [path.name for path in [*out.parent.glob(f".{out.name}.*"), *inside] if not path.name.endswith(".lock")]
    return f"left behind: {found}" if found else ""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content(path: Path) -> dict[str, str]:
    """Names and digests of a file, or of the tables in a folder; without the processor seconds of an evaluation."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    tables = [each for each in files if each.is_file() and each.suffix == ".csv"]
    texts = {each: [line for line in each.read_text(encoding="utf-8").splitlines() if ",seconds," not in line]
             for each in tables}  # fmt: skip
    return {
        str(each.relative_to(path)): hashlib.sha256("\n".join(lines).encode()).hexdigest()
        for each, lines in texts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="per command")
    parser.add_argument("--every", type=int, default=1, help="slow commands: full from every so many files on")
    parser.add_argument("--add", action="store_true", help="keep the kills of the committed results")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        faults = Faults(Path(place), random.Random(options.seed))
        if options.add:
            faults.results = {row["fault"]: (row["survived"], row["tried"]) for row in json.loads(COMMITTED.read_text())
                              if "disk" not in row["fault"]}  # fmt: skip
        print({name: round(took, 1) for name, took in faults.took.items()},
              {name: round(one.took, 1) for name, one in faults.trainings.items()}, flush=True)  # fmt: skip
        train, scans = faults.trainings.values()
        for k in range(options.kills):
            faults.count("train on scans, killed and resumed", lambda: faults.killed_training(scans))
            for name in ("evaluate", "prepare"):
                faults.count(f"{name}, killed", lambda name=name, k=k: faults.killed_output(name, k % 5 == 4))
        for name in ("generate", "score", "share", "prepare", "evaluate"):
            every = options.every if name in ("prepare", "evaluate") else 1
            faults.full_disks(name, lambda disk, name=name: faults.full_disk(name, disk), every)
        for name, one in faults.trainings.items():
            faults.full_disks(name, lambda disk, one=one: faults.full_disk_of_training(one, disk), options.every)
        for k in range(options.kills):
            faults.count("train, killed and resumed", lambda: faults.killed_training(train))
            for name in ("generate", "score"):
                faults.count(f"{name}, killed", lambda name=name, k=k: faults.killed_output(name, True))
            if k % 5 == 4:
                faults.count("two trainings at once", lambda: faults.two_at_once(train))
        faults.full_disks("report", lambda disk: faults.full_disk("report", disk))
    for row in faults.rows:
        print(*row.values(), flush=True)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
