"""The time and memory of `crow` commands, of this version and of an earlier revision of the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
import tomllib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

COMMAND = "from crow.cli.main import main; main()"
ROOT = Path(__file__).parents[1]
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, else in KiB


@dataclass(frozen=True)
class Cost:
    """Of a process and those that it waited for; ``peak`` is that of the largest of them."""

    wall: float
    processor: float
    peak: float

    def row(self) -> dict[str, int | float]:
        return {
            "wall, s": round(self.wall, 1), "processor, s": round(self.processor, 1), "peak, GiB": round(self.peak, 2)
        }  # fmt: skip


def package_of(revision: str, folder: Path) -> Path:
    """The package at a revision in ``folder``, for `cost_of`; a process imports it in place of the installed one."""
    archive = subprocess.run(
        ["git", "archive", revision, "pyproject.toml", "crow", "pipelines", "cli"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout  # fmt: skip
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    for part in ("pipelines", "cli"):  # as in pyproject.toml
        (folder / part).rename(folder / "crow" / part)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    return folder


def cost_of(
    *arguments: object, package: Path | None = None, code: str = COMMAND, python: str = sys.executable
) -> Cost:  # fmt: skip
    """Run a command of ``crow`` on one thread a process; ends the benchmark with its output if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if package is not None:
        environment["PYTHONPATH"] = str(package)
    start = time.perf_counter()
    # Not in the repository's root, whose folder crow would be imported.
    process = subprocess.Popen(
        [python, "-c", code, *map(str, arguments)], cwd=Path(__file__).parent, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    error = process.stderr.read().decode(errors="replace")
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(error)
    peak = used.ru_maxrss * PEAK_UNIT / 2**30
    return Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime, peak)
