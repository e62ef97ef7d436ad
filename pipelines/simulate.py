"""Write an invented cohort and its truth."""

import json
from dataclasses import dataclass
from pathlib import Path

from crow.errors import OutputError
from crow.files import writing
from crow.simulate import simulate_adni

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
    if strangers := _strangers(out):
        raise OutputError(f"{out}: holds {strangers[0]}, which is not part of a simulation. Choose another folder.")
    with writing(out, overwrite or _is_empty(out)) as folder:
        folder.mkdir()
        simulation = simulate_adni(subjects, visits, regions, seed)
        simulation.table.to_csv(folder / "cohort.csv", index=False)
        simulation.truth.to_csv(folder / "truth.csv", index=False)
        (folder / "truth.json").write_text(json.dumps(simulation.parameters, indent=2) + "\n", encoding="utf-8")
    names = list(simulation.parameters["regions"])
    return Written(subjects, len(simulation.table), names, {out / name: what for name, what in FILES.items()})


def _strangers(out: Path) -> list[str]:
    if not out.exists():
        return []
    if not out.is_dir():
        return ["a file of that name"]
    return sorted(path.name for path in out.iterdir() if path.name not in FILES)


def _is_empty(out: Path) -> bool:
    return out.is_dir() and not any(out.iterdir())
