"""New synthetic subjects, as a table in the columns of the cohort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crow.cohort import Cohort, read_cohort
from crow.cohort.writing import table_text, to_table
from crow.files import writing
from crow.memory import require_memory
from crow.models.crow import CRow
from crow.pipelines.history import Missing, read_history
from crow.pipelines.provenance import provenance_beside, write_provenance
from crow.seeds import SeedStream, derived_seed
from crow.synthetic.covariate_model import CovariateModel

CHUNK = 5_000  # subjects drawn at once
BYTES_PER_CELL = 40  # of a wide table, which is written at once
Draw = Callable[[int, int], pd.DataFrame]
"""The visits of some subjects without regions: the number of the first subject, and how many."""


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
) -> NewSubjects:
    """Write ``count`` synthetic subjects as a table in the columns of the one that the run was trained on.

    Times and covariates are drawn from a model that is fitted to the cohort (`CovariateModel`), so that none is a
    subject's own. With ``of_subjects`` they are copied from real subjects, drawn at random;
    with a table ``covariates`` (subject, time, age, covariates; no regions) they are those of its subjects, in turn. A
    file beside the table tells which, with the model and the seed. Raises RunError, CohortError, OutputError.
    """
    model = CRow.load(run)
    columns = 4 + len(model.schema.covariates) + len(model.schema.regions)
    chunk = max(1, min(CHUNK, CHUNK * 20 // columns))
    digits = max(4, len(str(count)))
    if covariates is not None:
        source = read_cohort(covariates, schema=model.schema.model_copy(update={"regions": []}))
        draw = _copier(source, lambda first, size: np.arange(first - 1, first - 1 + size), f"synthetic{{:0{digits}d}}")
        how = f"those of {covariates}, in turn"
    elif of_subjects:
        source = read_history(model, cohort, missing)
        chosen = np.random.default_rng([seed, 1]).integers(len(source.subjects), size=count)
        draw = _copier(source, lambda first, size: chosen[first - 1 : first - 1 + size], f"copied{{:0{digits}d}}")
        how = f"copied from subjects of {Path(source.path or 'the cohort').name}, drawn at random"
    else:
        source = read_history(model, cohort, missing)
        fitted = CovariateModel.fit(source)

        def draw(first: int, size: int) -> pd.DataFrame:
            generator = np.random.default_rng(derived_seed(seed, SeedStream.SYNTHETIC_COVARIATES, first))
            return fitted.draw(size, generator, first, digits)

        how = f"drawn from a model of those of {len(source.subjects):,} subjects"
    wide = model.schema.layout == "wide"
    if wide:
        cells = count * columns * len(source) / max(len(source.subjects), 1)
        require_memory(cells * BYTES_PER_CELL, f"--new-subjects {count}", "Draw fewer at once, with other seeds.")
    visits, sidecar = 0, provenance_beside(out)
    with writing(out, overwrite) as temporary, writing(sidecar, overwrite) as beside:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            for k, part in enumerate(_parts(model, draw, count, count if wide else chunk, seed)):
                text = table_text(to_table(part, model.schema), model.schema)
                file.write(text if k == 0 else text.split("\n", 1)[1])
                visits += len(part)
        write_provenance(beside, run, "subjects", seed, {"Subjects": count, "Covariates": how})
    return NewSubjects(count, visits, how, (out, sidecar))


def _parts(model: CRow, draw: Draw, count: int, chunk: int, seed: int) -> Iterator[pd.DataFrame]:
    """The visits of all subjects with their regions, some subjects at a time."""
    for start in range(0, count, chunk):
        paths = draw(start + 1, min(chunk, count - start))
        drawn = model.sample(paths, seed=seed if start == 0 else derived_seed(seed, SeedStream.NEW_SUBJECTS, start))
        yield pd.concat([paths, pd.DataFrame(drawn.values[:, 0], paths.index, drawn.regions)], axis=1)


def _copier(source: Cohort, which: Callable[[int, int], np.ndarray], name: str) -> Draw:
    """Draws that are the visits of the source's subjects without regions, under new names."""
    by_subject = {key: rows for key, rows in source.visits.groupby("subject", sort=False)}
    names = source.subjects

    def draw(first: int, size: int) -> pd.DataFrame:
        chosen = which(first, size) % len(names)
        copies = [by_subject[names[k]].assign(subject=name.format(first + n)) for n, k in enumerate(chosen)]
        return pd.concat(copies, ignore_index=True).drop(columns=source.regions)

    return draw
