"""Write an invented cohort and its truth."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crow.errors import OutputError
from crow.files import writing
from crow.simulate import Simulation, simulate_adni, simulate_av45

FILES = {
    "cohort.csv": "the table, as it would be downloaded",
    "truth.csv": "disease time, rate and the regions without noise, visit by visit",
    "truth.json": "the model and its parameters",
}
USUAL = 6


@dataclass(frozen=True)
class Written:
    """What was written: people, visits, regions, and each file with what it holds."""

    subjects: int
    visits: int
    regions: list[str]
    files: dict[Path, str]

    @property
    def more(self) -> bool:
        """Whether there are regions that a reader of ADNIMERGE does not expect."""
        return len(self.regions) > USUAL


def simulate(
    out: Path, subjects: int = 200, visits: int = 5, regions: int = 6, seed: int = 0, overwrite: bool = False
) -> Written:
    """Simulate an ADNIMERGE-like cohort into the folder ``out``, whole or not at all.

    Raises OutputError where ``out`` exists and ``overwrite`` is not set, or holds anything but a simulation.
    """
    return _write(out, lambda: simulate_adni(subjects, visits, regions, seed), overwrite)


def simulate_tadpole(
    out: Path, subjects: int = 279, visits: int = 3, seed: int = 0, overwrite: bool = False
) -> Written:
    """The same of 82 regional AV45 uptake ratios in TADPOLE's columns."""
    return _write(out, lambda: simulate_av45(subjects, visits, seed), overwrite)


def _write(out: Path, draw: Callable[[], Simulation], overwrite: bool) -> Written:
    if strangers := _strangers(out):
        raise OutputError(f"{out}: holds {strangers[0]}, which is not part of a simulation. Choose another folder.")
    with writing(out, overwrite or _is_empty(out)) as folder:
        folder.mkdir()
        simulation = draw()
        simulation.table.to_csv(folder / "cohort.csv", index=False)
        simulation.truth.to_csv(folder / "truth.csv", index=False)
        (folder / "truth.json").write_text(json.dumps(simulation.parameters, indent=2) + "\n", encoding="utf-8")
    asked, files = simulation.parameters, {out / name: what for name, what in FILES.items()}
    return Written(asked["subjects"], len(simulation.table), list(asked["regions"]), files)


def _strangers(out: Path) -> list[str]:
    if not out.exists():
        return []
    if not out.is_dir():
        return ["a file of that name"]
    return sorted(path.name for path in out.iterdir() if path.name not in FILES)


def _is_empty(out: Path) -> bool:
    return out.is_dir() and not any(out.iterdir())
