"""Faults survived: commands killed at random moments, a disk that is full at each write, two commands on one folder.

    python benchmarks/faults.py --kills 20 --seed 0

A fault is survived if nothing half-written is read as a result: the output is absent or whole, what stood there before
is still there, no temporary file stays after the next run, and a training that was killed ends, once resumed, with the
same bytes as one that was not.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CROW = [sys.executable, "-c", "import sys; from crow.cli.main import main; sys.argv[0] = 'crow'; main()"]
FULL = [
    sys.executable, "-c",
    "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); "
    "sys.argv = ['crow', *sys.argv[2:]]; from crow.cli.main import main; main()",
]  # fmt: skip
QUICK = ["--set", "training.max_epochs=4", "--set", "training.steps_per_epoch=4", "--set", "model.members=2",
         "--set", "model.hidden=8", "--set", "training.threads=1"]  # fmt: skip
Check = Callable[[], str]
"""Empty if the fault was survived, else what went wrong."""


def crow(*words: str | Path, start: list[str] = CROW) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*start, *map(str, words)], capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def kill_after(seconds: float, *words: str | Path) -> None:
    """Start a command and kill it with all its processes after some seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*CROW, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True, env=environment)  # fmt: skip
    time.sleep(seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def leftovers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob(".*") if path.name.endswith((".part", ".old"))]


def killed_training(folder: Path, seconds: float, whole: str, took: float) -> str:
    """Kill a training, resume it (or start again if it had not begun), and compare with the one that ran through."""
    run, words = folder / "killed", ["--cohort", folder / "cohort.csv", "--out", folder / "killed"]
    kill_after(seconds, "train", *words, *QUICK)
    if not (run / "model.json").exists():
        resume = ["--resume"] if (run / "checkpoints").is_dir() else QUICK
        done = crow("train", *words, *resume)
        if done.returncode:
            return f"could not be continued: {done.stderr.decode()[-300:]}"
    scores = ["score", "--run", run, "--cohort", folder / "cohort.csv", "--out", folder / "s.csv", "--overwrite"]
    if crow(*scores).returncode:
        return "the run cannot be read"
    if digest(run / "model.safetensors") != whole:
        return "the resumed training differs"
    found = leftovers(folder)
    crow("train", *words, *QUICK, "--overwrite")
    return f"left behind: {found}" if leftovers(folder) else ""


def killed_output(folder: Path, seconds: float, words: list[str | Path], out: Path) -> str:
    """Kill a command that replaces ``out``: the old or the new output is there, and the next one succeeds."""
    before = digest(out) if out.is_file() else sorted(path.name for path in out.iterdir())
    kill_after(seconds, *words)
    if not out.exists() and not any(out.parent.glob(f".{out.name}.*.old")):
        return "the earlier output is lost"
    if out.is_file() and digest(out) != before:
        return "the output is neither the old nor the new one"
    if crow(*words).returncode:
        return "the next command fails"
    return f"left behind: {leftovers(folder)}" if leftovers(folder) else ""


def full_disk(folder: Path, size: int, words: list[str | Path], out: Path) -> str:
    """Run a command that may write at most ``size`` bytes per file: it says so, and the earlier output stays."""
    before = digest(out)
    done = crow(size, *words, start=FULL)
    if b"Traceback" in done.stderr or done.returncode not in (0, 2):
        return f"status {done.returncode}: {done.stderr.decode()[-300:]}"
    if digest(out) != before:
        return "the earlier output has changed"
    return f"left behind: {leftovers(folder)}" if leftovers(folder) else ""


def two_at_once(folder: Path) -> str:
    """Two trainings into one folder at once: one ends well, the other names it."""
    words = ["train", "--cohort", folder / "cohort.csv", "--out", folder / "both", *QUICK]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen([*CROW, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                             env=environment) for _ in range(2)]  # fmt: skip
    said = [process.communicate()[1] for process in both]
    status = sorted(process.returncode for process in both)
    told = any(b"is writing there now" in text and b"process" in text for text in said)
    return "" if status == [0, 2] and told else f"status {status}: {[text.decode()[-200:] for text in said]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="per command")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, results = random.Random(options.seed), {}

    def count(name: str, check: Check) -> None:
        reason = check()
        survived, tried = results.get(name, (0, 0))
        results[name] = (survived + (not reason), tried + 1)
        if reason:
            print(f"{name}: {reason}", flush=True)

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        crow("simulate", "--out", folder / "sim", "--subjects", 40)
        (folder / "sim" / "cohort.csv").rename(folder / "cohort.csv")
        began = time.monotonic()
        crow("train", "--cohort", folder / "cohort.csv", "--out", folder / "run", "--test", "0.2", *QUICK)
        took = time.monotonic() - began
        crow("train", "--cohort", folder / "cohort.csv", "--out", folder / "whole", *QUICK)
        whole = digest(folder / "whole" / "model.safetensors")
        out, evaluation = folder / "new.csv", folder / "run_evaluation"
        store, of_run = folder / "store", ["--run", folder / "run", "--overwrite"]
        commands: dict[str, tuple[list[str | Path], Path]] = {
            "generate": (["generate", *of_run, "--new-subjects", "200", "--out", out], out),
            "evaluate": (["evaluate", *of_run, "--draws", "20"], evaluation),
            "prepare": (["prepare", "--cohort", folder / "bids", "--out", store, "--jobs", "1"], store),
        }  # fmt: skip
        crow("simulate", "--scans", "--out", folder / "bids", "--subjects", 4, "--visits", 2, "--resolution", 8)
        times = {}
        for name, (words, _) in commands.items():
            began = time.monotonic()
            crow(*words)
            times[name] = time.monotonic() - began
        for _ in range(options.kills):
            count("train, killed", lambda: killed_training(folder, chance.uniform(0.3, 1.0) * took, whole, took))
            for name, (words, target) in commands.items():
                moment = chance.uniform(0.3, 1.0) * times[name]
                count(f"{name}, killed", lambda w=words, t=target, m=moment: killed_output(folder, m, w, t))
        for size in (0, 100, 5_000, 20_000):
            count("generate, disk full", lambda s=size: full_disk(folder, s, *commands["generate"]))
        count("two trainings at once", lambda: two_at_once(folder))
    for name, (survived, tried) in results.items():
        print(f"{name}: {survived} of {tried} survived")


if __name__ == "__main__":
    main()
