"""Time of an answer of ``crow explore`` and ``crow generate``: ``explore_time.py [--members 8] [--draws 200]``.

A simulated cohort in the columns of ADNIMERGE, and an ensemble that is trained for a moment: the time of an answer does
not depend on what it learned. The state of the subject is kept, as it is while a slider moves. The aim is 200 ms for
one course at 5 times. With ``--scan-run RUN``, for instance that of ``make demo``, also the time of a picture of a
follow-up. ``crow generate`` of one subject is a process of its own, whose time is mostly that of the imports of torch
and pandas: both are measured in turn, and the difference is that of crow. ``--only generate`` measures these alone. The
difference between processor and wall milliseconds shows how busy the machine was.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from timing import write

from crow import CRow
from crow.cohort import read_cohort
from crow.explore.explorer import Explorer
from crow.explore.open_run import open_run
from crow.explore.question import Course, Question, ScanQuestion, Step, Whose
from crow.explore.wording import Source
from crow.simulate import simulate_adni

ROUNDS = 15
PROCESSES = 5  # of each kind
COMMAND = "from crow.cli.main import main; main()"
SLIDER = Course(steps={"CDRSB": [Step(value="9", at=2)]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--scan-run", type=Path)
    parser.add_argument("--only", choices=["generate"])
    options = parser.parse_args()
    explorer = trained(options.members, options.draws)
    if options.only == "generate":
        write("explore_time_generate", "crow generate for one subject", of_processes(explorer, options.draws))
        return
    subject = explorer.cohort.subjects[0]
    questions = {
        "1 course, 5 times": Question(subject=subject, horizon=0.25, courses=[SLIDER]),
        "1 course, 10 times": Question(subject=subject, horizon=5, courses=[SLIDER]),
        "2 courses, 10 times": Question(subject=subject, horizon=5, courses=[Course(), SLIDER]),
    }
    rows = [{"question": "first answer about a subject", **timed(lambda: first(explorer, subject), 3)}]
    rows += [{"question": name, **timed(lambda asked=one: explorer.forecast(asked))} for name, one in questions.items()]
    if options.scan_run is not None:
        rows += of_scans(options.scan_run, options.draws)
    rows += of_processes(explorer, options.draws)
    title = f"Answers of crow explore: {options.members} members, {options.draws} draws"
    write("explore_time", title, rows)


def trained(members: int, draws: int) -> Explorer:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.csv"
        simulate_adni(120, 6, seed=1).table.to_csv(path, index=False)
        cohort = read_cohort(path)
    model = CRow(model={"members": members}, training={"max_epochs": 1, "steps_per_epoch": 2}).fit(cohort)
    return Explorer(model, cohort, Source(Path("run"), (path,), draws, 0))


def of_scans(run: Path, draws: int) -> list[dict[str, object]]:
    """A subject's first picture, a follow-up that was not asked for before, and another slice of it."""
    explorer = open_run(run, draws=draws)
    times = iter(np.arange(1, 200) / 10)
    subjects = iter(explorer.cohort.subjects)

    def ask(subject: str, at: float, **how: object) -> None:
        explorer.scan(ScanQuestion(subject=subject, course=Course(), at=at, **how))

    name = explorer.cohort.subjects[0]
    return [
        {"question": "scans: first picture of a subject", **timed(lambda: ask(next(subjects), 1.0), 3)},
        {"question": "scans: another time", **timed(lambda: ask(name, float(next(times))), 5)},
        {"question": "scans: another slice", **timed(lambda: ask(name, 1.0, planes="axial", slice=9), 5)},
    ]


def of_processes(explorer: Explorer, draws: int) -> list[dict[str, object]]:
    """``crow generate`` of one subject at 3 times, the imports that it cannot do without, and the difference."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        explorer.model.save(folder / "run")
        explorer.cohort.visits.to_csv(folder / "cohort.csv", index=False)
        asked = ["--subject", explorer.cohort.subjects[0], "--at", "1,2,5", "--draws", str(draws), "--overwrite"]
        places = ["--run", folder / "run", "--cohort", folder / "cohort.csv", "--out", folder / "forecast.csv"]
        commands = {
            "crow generate, 1 subject, 3 times": ["-c", COMMAND, "generate", *asked, *map(str, places)],
            "import torch, pandas": ["-c", "import torch, pandas"],
        }
        used: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(PROCESSES):
            for name, arguments in commands.items():
                used[name].append(of_process(arguments))
    middle = {name: [statistics.median(each) for each in zip(*times, strict=True)] for name, times in used.items()}
    whole, imports = middle.values()
    middle["crow generate without these imports"] = [a - b for a, b in zip(whole, imports, strict=True)]
    return [
        {"question": name, "wall_ms": round(1000 * wall), "processor_ms": round(1000 * processor)}
        for name, (wall, processor) in middle.items()
    ]


def of_process(arguments: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of ``python`` with these arguments."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first(explorer: Explorer, subject: str) -> None:
    """The visits, levels and reference centiles, nothing of which is kept."""
    Explorer(explorer.model, explorer.cohort, explorer.source).subject(Whose(subject=subject), 5.0)


def timed(answer: Callable[[], object], rounds: int = ROUNDS) -> dict[str, float]:
    """Medians over rounds, in milliseconds."""
    answer()
    wall, processor = [], []
    for _ in range(rounds):
        began, used = time.perf_counter(), time.process_time()
        answer()
        wall.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
    found = {"wall_ms": wall, "processor_ms": processor}
    return {name: round(1000 * statistics.median(times)) for name, times in found.items()}


if __name__ == "__main__":
    main()
