"""New synthetic subjects, as a table in the columns of the cohort."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import pandas as pd

from crow.cohort import Cohort, read_cohort
from crow.cohort.writing import table_text, to_table
from crow.files import writing
from crow.memory import require_disk, require_memory
from crow.models.crow import CRow
from crow.pipelines.history import Missing, read_history
from crow.pipelines.provenance import provenance_beside, write_provenance
from crow.seeds import SeedStream, derived_seed
from crow.synthetic.covariate_model import CovariateModel
from crow.tasks import Progress, in_order, run_tasks

CHUNK = 5_000  # subjects drawn at once
MIN_PARTS = 8  # of so many subjects, from which other processes are worth their start
BYTES_PER_CELL = 40  # of a wide table, which is written at once


class Draw(Protocol):
    """Draws the visits of some subjects without regions."""

    def __call__(self, first: int, size: int) -> pd.DataFrame:
        """The visits of ``size`` subjects from number ``first``."""
        ...


@dataclass(frozen=True)
class NewSubjects:
    """Numbers of subjects and visits, the source of times and covariates in words, and the files written."""

    subjects: int
    visits: int
    covariates: str
    written: tuple[Path, ...]


def new_subjects(
    run: Path,
    out: Path,
    count: int,
    *,
    cohort: Path | None = None,
    covariates: Path | None = None,
    of_subjects: bool = False,
    seed: int = 0,
    missing: Missing | None = None,
    overwrite: bool = False,
    jobs: int | None = None,
    progress: Progress = lambda items, what, total: items,
) -> NewSubjects:
    """Write ``count`` synthetic subjects as a table in the columns of the one that the run was trained on.

    Times and covariates are drawn from a model that is fitted to the cohort (`CovariateModel`), so that none is a
    subject's own. With ``of_subjects`` they are copied from real subjects, drawn at random;
    with a table ``covariates`` (subject, time, age, covariates; no regions) they are those of its subjects, in turn. A
    file beside the table tells which, with the model and the seed.

    Subjects are drawn and written some at a time, by ``jobs`` processes if they are many. The table does not depend on
    the number of processes. ``progress`` receives the parts, what they are and their number.

    Raises RunError, CohortError, OutputError; ConfigError if the disk has too little space for the table.
    """
    model = CRow.load(run)
    columns = 4 + len(model.schema.covariates) + len(model.schema.regions)
    chunk = max(1, min(CHUNK, CHUNK * 20 // columns))
    digits = max(4, len(str(count)))
    draw: Draw
    if covariates is not None:
        source = read_cohort(covariates, schema=model.schema.model_copy(update={"regions": []}))
        draw = _Copies.of(source, f"synthetic{{:0{digits}d}}")
        how = f"those of {covariates.name}, in turn"
    elif of_subjects:
        source = read_history(model, cohort, missing)
        draw = _Copies.of(source, f"copied{{:0{digits}d}}", seed)
        how = f"copied from subjects of {Path(source.path or 'the cohort').name}, drawn at random"
    else:
        source = read_history(model, cohort, missing)
        draw = _FromModel(CovariateModel.fit(source), seed, digits)
        how = f"drawn from a model of those of {len(source.subjects):,} subjects"
    wide = model.schema.layout == "wide"
    if wide:
        cells = count * columns * len(source) / max(len(source.subjects), 1)
        require_memory(cells * BYTES_PER_CELL, f"--new-subjects {count}", "Draw fewer at once, with other seeds.")
    size = count if wide else chunk
    tasks = [(run, draw, start, min(size, count - start), seed) for start in range(0, count, size)]
    visits, sidecar = 0, provenance_beside(out)
    with writing(out, overwrite) as temporary, writing(sidecar, overwrite) as beside:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            made = run_tasks(_drawn, tasks, 1 if len(tasks) < MIN_PARTS else jobs)
            for text, number in in_order(progress(made, "New subjects", len(tasks))):
                if not visits:
                    require_disk(len(text) * (len(tasks) - 1), out, f"--new-subjects {count}", "Draw fewer at once.")
                file.write(text)
                visits += number
        write_provenance(beside, run, "subjects", seed, {"Subjects": count, "Covariates": how})
    return NewSubjects(count, visits, how, (out, sidecar))


def _drawn(run: Path, draw: Draw, start: int, size: int, seed: int) -> tuple[str, int]:
    """The lines of some subjects, the first ones with the header, and their number of visits."""
    model = _model(run)
    paths = draw(start + 1, size)
    values = model.sample(paths, seed=seed if start == 0 else derived_seed(seed, SeedStream.NEW_SUBJECTS, start))
    visits = pd.concat([paths, pd.DataFrame(values.values[:, 0], paths.index, values.regions)], axis=1)
    text = table_text(to_table(visits, model.schema), model.schema)
    return (text.split("\n", 1)[1] if start else text), len(visits)


@lru_cache(maxsize=1)
def _model(run: Path) -> CRow:
    return CRow.load(run)


@dataclass(frozen=True)
class _FromModel:
    """Draws from a model of times and covariates."""

    fitted: CovariateModel
    seed: int
    digits: int

    def __call__(self, first: int, size: int) -> pd.DataFrame:
        generator = np.random.default_rng(derived_seed(self.seed, SeedStream.SYNTHETIC_COVARIATES, first))
        return self.fitted.draw(size, generator, first, self.digits)


@dataclass(frozen=True)
class _Copies:
    """The visits of a cohort's subjects without regions, under new names: in turn, or at random with a ``seed``."""

    visits: pd.DataFrame
    name: str
    seed: int | None

    @classmethod
    def of(cls, source: Cohort, name: str, seed: int | None = None) -> Self:
        return cls(source.visits.drop(columns=source.regions), name, seed)

    def __call__(self, first: int, size: int) -> pd.DataFrame:
        by_subject = [rows for _, rows in self.visits.groupby("subject", sort=False)]
        if self.seed is None:
            chosen = np.arange(first - 1, first - 1 + size) % len(by_subject)
        else:
            seed = derived_seed(self.seed, SeedStream.SYNTHETIC_COVARIATES, first)
            chosen = np.random.default_rng(seed).integers(len(by_subject), size=size)
        copies = [by_subject[k].assign(subject=self.name.format(first + n)) for n, k in enumerate(chosen)]
        return pd.concat(copies, ignore_index=True)
