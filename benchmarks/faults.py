"""Faults survived: commands killed at random moments, a disk that is full at each write, two commands on one folder.

    python benchmarks/faults.py --kills 20 --seed 0

A fault is survived if nothing half-written is read as a result: the output is absent or whole, what stood there before
is still there, no temporary file stays after the next run, and a training that was killed ends, once resumed, with the
same bytes as one that was not. Every command is a process of its own, forked after the imports, so that the moments of
the kills lie in its work. It prints each fault as it goes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # threads of the parent do not survive a fork

import torch
from timing import write

import crow.models.crow
import crow.models.scans
import crow.pipelines.evaluate
import crow.pipelines.generate
import crow.pipelines.new_subjects
import crow.pipelines.prepare
import crow.pipelines.score
import crow.pipelines.train  # noqa: F401
from crow.cli.main import main as crow_main

QUICK = ["--set", "training.max_epochs=4", "--set", "training.steps_per_epoch=4", "--set", "model.members=2",
         "--set", "model.hidden=8", "--set", "training.threads=1"]  # fmt: skip
SLOW = ("evaluate", "prepare")  # only with --slow; no full disk
SIZES = (0, 100, 1_000, 5_000, 20_000)  # bytes that a file may have on the full disk
PART = 0.05  # of the time of a command, before which no kill comes
Words = Sequence[str | Path]
Check = Callable[[], str]
"""Empty if the fault was survived, else what went wrong."""


def start(words: Words, log: Path, size: int | None = None) -> int:
    """Start a command of crow in a process of its own, whose files have at most ``size`` bytes; its number."""
    sys.stdout.flush()
    if (number := os.fork()) != 0:
        return number
    status = 1
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["crow", *map(str, words)]
        if size is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        crow_main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    finally:
        os._exit(status)


def finish(number: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


class Faults:
    """A folder with a cohort and runs, and the faults that its commands survive there."""

    def __init__(self, folder: Path, chance: random.Random, slow: bool) -> None:
        self.folder, self.chance, self.log = folder, chance, folder / "output.txt"
        self.results: dict[str, tuple[int, int]] = {}
        self.run("simulate", "--out", folder / "sim", "--subjects", 30)
        (folder / "sim" / "cohort.csv").rename(folder / "cohort.csv")
        self.run(*self.train(folder / "run"), "--test", "0.2")
        self.took = {"train": self.run(*self.train(folder / "whole"))}
        self.whole = digest(folder / "whole" / "model.safetensors")
        out, evaluation, store = folder / "new.csv", folder / "run_evaluation", folder / "store"
        of_run = ["--run", folder / "run", "--overwrite"]
        self.commands: dict[str, tuple[Words, Path]] = {
            "generate": (["generate", *of_run, "--new-subjects", 100, "--out", out], out),
            "score": (["score", *of_run, "--cohort", folder / "cohort.csv", "--draws", 20, "--out", folder / "s.csv"],
                      folder / "s.csv"),
            "evaluate": (["evaluate", *of_run, "--draws", 20, "--baselines", "last", "--jobs", 1], evaluation),
            "prepare": (["prepare", "--cohort", folder / "bids", "--out", store, "--jobs", 1, "--resolution", 8,
                         "--registration", "none", "--overwrite"], store),
        }  # fmt: skip
        if slow:
            self.run("simulate", "--scans", "--out", folder / "bids", "--subjects", 3, "--visits", 2, "--resolution", 8)
        else:
            self.commands = {name: each for name, each in self.commands.items() if name not in SLOW}
        for name, (words, _) in self.commands.items():
            self.took[name] = self.run(*words)

    def train(self, out: Path) -> Words:
        return ["train", "--cohort", self.folder / "cohort.csv", "--out", out, *QUICK]

    def run(self, *words: str | int | Path) -> float:
        """Seconds of a command that has to succeed."""
        began = time.monotonic()
        if finish(start([str(word) for word in words], self.log)):
            raise RuntimeError(f"{words}: {self.log.read_text()[-500:]}")
        return time.monotonic() - began

    def count(self, name: str, check: Check) -> None:
        began = time.monotonic()
        reason = check()
        print(f"{name}: {reason or 'survived'} ({time.monotonic() - began:.1f} s)", flush=True)
        survived, tried = self.results.get(name, (0, 0))
        self.results[name] = (survived + (not reason), tried + 1)

    def kill(self, name: str, words: Words) -> None:
        """Start a command and kill it with all its processes at a random moment of its work."""
        number = start(words, self.log)
        time.sleep(self.chance.uniform(PART, 1.0) * self.took[name])
        if os.waitpid(number, os.WNOHANG)[0] == 0:
            os.killpg(number, signal.SIGKILL)
            os.waitpid(number, 0)

    def killed_training(self) -> str:
        """Kill a training, resume it (or start again if it had not begun), and compare with an undisturbed one."""
        run = self.folder / f"killed{self.chance.random()}"
        words = self.train(run)
        self.kill("train", words)
        if not (run / "model.json").exists():
            resumed = [*words[:5], "--resume"] if (run / "checkpoints").is_dir() else words
            if finish(start(resumed, self.log)):
                return f"could not be continued: {self.log.read_text()[-300:]}"
        if not (run / "model.safetensors").exists() or digest(run / "model.safetensors") != self.whole:
            return "the resumed training differs"
        score = ["score", "--run", run, "--cohort", self.folder / "cohort.csv", "--draws", "5", "--overwrite", "--out",
                 self.folder / "k.csv"]  # fmt: skip
        if finish(start(score, self.log)):
            return f"the run cannot be read: {self.log.read_text()[-300:]}"
        if self.leftovers():
            self.run("train", *words[1:], "--overwrite")
        return self.leftovers()

    def killed_output(self, name: str) -> str:
        """Kill a command that replaces its output: the old or the new one is there, and the next command succeeds."""
        words, out = self.commands[name]
        before = content(out)
        self.kill(name, words)
        kept = list(out.parent.glob(f".{out.name}.*.old"))
        if not out.exists() and not kept:
            return "the earlier output is lost"
        if out.is_file() and content(out) != before:
            return "the output is neither the old nor the new one"
        if finish(start(words, self.log)):
            return f"the next command fails: {self.log.read_text()[-300:]}"
        return self.leftovers()

    def full_disk(self, name: str, size: int) -> str:
        """Run a command whose files have at most ``size`` bytes: it is refused, and the earlier output stays."""
        words, out = self.commands[name]
        before = content(out)
        status = finish(start(words, Path(os.devnull), size))  # a log would be under the same limit
        if status not in (0, 2):
            return f"status {status} with {size} bytes per file"
        if status and content(out) != before:
            return f"the earlier output has changed, with {size} bytes per file"
        return self.leftovers()

    def two_at_once(self) -> str:
        """Two trainings into one folder at once: one ends well, the other names it."""
        out = self.folder / f"both{self.chance.random()}"
        logs = [self.folder / f"both{k}.txt" for k in range(2)]
        status = sorted(finish(number) for number in [start(self.train(out), log) for log in logs])
        text = "".join(log.read_text() for log in logs)
        named = "is writing there now" in text and "process" in text
        return "" if status == [0, 2] and named else f"status {status}: {text[-300:]}"

    def leftovers(self) -> str:
        found = [path.name for path in self.folder.rglob(".*") if path.name.endswith((".part", ".old"))]
        return f"left behind: {found}" if found else ""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content(path: Path) -> dict[str, str]:
    """Names and digests of a file, or of the files in a folder that are no picture."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return {str(each.relative_to(path)): digest(each) for each in files if each.is_file() and each.suffix == ".csv"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="per command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", action="store_true", help="also kill crow evaluate and crow prepare")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        faults = Faults(Path(place), random.Random(options.seed), options.slow)
        for k in range(options.kills):
            faults.count("train, killed and resumed", faults.killed_training)
            for name in faults.commands:
                if name not in SLOW or k % 5 == 0:
                    faults.count(f"{name}, killed", lambda name=name: faults.killed_output(name))
        for size in SIZES:
            for name in [name for name in faults.commands if name not in SLOW]:
                faults.count(f"{name}, disk full", lambda name=name, size=size: faults.full_disk(name, size))
        for _ in range(max(1, options.kills // 5)):
            faults.count("two trainings at once", faults.two_at_once)
    rows = [{"fault": name, "tried": tried, "survived": survived} for name, (survived, tried) in faults.results.items()]
    for row in rows:
        print(*row.values(), flush=True)
    print(f"{time.monotonic() - began:.0f} s")
    write("faults", f"Faults survived ({options.kills} kills per command, seed {options.seed})", rows)


if __name__ == "__main__":
    main()
