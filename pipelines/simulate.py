"""Write a simulated cohort and its truth."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crow.files import check_free, writing
from crow.simulate import Simulation, simulate_adni, simulate_av45

FILES = {
    "cohort.csv": "the table, as it would be downloaded",
    "truth.csv": "disease time, rate and noise-free regions of every visit",
    "truth.json": "the model and its parameters",
}
ADNIMERGE_REGIONS = 6


@dataclass(frozen=True)
class SimulatedFiles:
    """Numbers of subjects and visits, the regions, and each file with its content."""

    subjects: int
    visits: int
    regions: list[str]
    files: dict[Path, str]

    @property
    def more(self) -> bool:
        """Whether there are more regions than in ADNIMERGE."""
        return len(self.regions) > ADNIMERGE_REGIONS


def simulate(
    out: Path, subjects: int = 200, visits: int = 5, regions: int = 6, seed: int = 0, overwrite: bool = False
) -> SimulatedFiles:
    """Simulate an ADNIMERGE-like cohort into the folder ``out``, whole or not at all.

    Raises OutputError if ``out`` exists and ``overwrite`` is not set, or is not a folder that crow wrote.
    """
    return _write(out, lambda: simulate_adni(subjects, visits, regions, seed), overwrite)


def simulate_tadpole(
    out: Path, subjects: int = 279, visits: int = 3, seed: int = 0, overwrite: bool = False
) -> SimulatedFiles:
    """Like `simulate`, with 82 regional AV45 uptake ratios in TADPOLE's columns."""
    return _write(out, lambda: simulate_av45(subjects, visits, seed), overwrite)


def _write(out: Path, draw: Callable[[], Simulation], overwrite: bool) -> SimulatedFiles:
    check_free(out, overwrite, "simulation")
    with writing(out, overwrite, "simulation") as folder:
        folder.mkdir()
        simulation = draw()
        simulation.table.to_csv(folder / "cohort.csv", index=False)
        simulation.truth.to_csv(folder / "truth.csv", index=False)
        (folder / "truth.json").write_text(json.dumps(simulation.parameters, indent=2) + "\n", encoding="utf-8")
    parameters, files = simulation.parameters, {out / name: what for name, what in FILES.items()}
    return SimulatedFiles(parameters["subjects"], len(simulation.table), list(parameters["regions"]), files)

