"""How likely each visit of a cohort is under a run, given the subject's visits before it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crow.cohort import Cohort
from crow.errors import OutputError
from crow.estimator import CRow, load
from crow.evaluation.surprise import LIMIT, surprise
from crow.files import writing
from crow.pipelines.history import Missing, read_history
from crow.report import figures


@dataclass(frozen=True)
class Scores:
    """``visits``: subject, session, time, log_prob (nats, original units), surprise, unusual, a z a region.

    ``subjects``: subject, visits, log_prob of the whole sequence, and a visit of it. ``written`` are the files made.
    """

    cohort: Cohort
    visits: pd.DataFrame
    subjects: pd.DataFrame
    written: tuple[Path, ...]

    @property
    def most_unusual(self) -> pd.DataFrame:
        """Unusual visits first, with the region whose z is largest."""
        z = self.visits.filter(regex="_z$")
        largest = np.argmax(np.abs(z.to_numpy()), axis=1)
        regions = [name.removesuffix("_z") for name in z.columns[largest]]
        named = self.visits.assign(region=regions, z=z.to_numpy()[np.arange(len(z)), largest])
        return named.sort_values("surprise", ascending=False)


def score(
    run: Path,
    cohort: Path,
    out: Path,
    *,
    figure: Path | None = None,
    samples: int = 200,
    seed: int = 0,
    missing: Missing | None = None,
    overwrite: bool = False,
) -> Scores:
    """Score a cohort; write ``out`` (a row a visit), ``<out>_subjects`` (a row a subject), and the figure asked for.

    Raises RunError, CohortError where the columns are not those of the run, and OutputError for files that exist.
    """
    beside = out.with_name(f"{out.stem}_subjects{out.suffix}")
    if out.suffix.lower() not in (".csv", ".tsv"):
        raise OutputError(f"{out}: scores are written as .csv or .tsv; found {out.suffix or 'no ending'}.")
    model = load(run)
    history = read_history(model, cohort, missing)
    visits, subjects = _scores(model, history, samples, seed)
    separator = "\t" if out.suffix.lower() == ".tsv" else ","
    with writing(out, overwrite) as by_visit, writing(beside, overwrite) as by_subject:
        visits.to_csv(by_visit, index=False, sep=separator, lineterminator="\n")
        subjects.to_csv(by_subject, index=False, sep=separator, lineterminator="\n")
        if figure is not None:
            figures.save(figures.likelihoods(visits), figure, overwrite)
    return Scores(history, visits, subjects, tuple(path for path in (out, beside, figure) if path))


def _scores(model: CRow, cohort: Cohort, samples: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    scored = model.score(cohort, samples, seed)
    how = surprise(scored)
    visits = scored[["subject", "session", "time", "log_prob"]].assign(surprise=how, unusual=how > LIMIT)
    by_subject = scored.groupby("subject", sort=False)["log_prob"]
    subjects = pd.DataFrame(
        {"visits": by_subject.size(), "log_prob": by_subject.sum(), "log_prob_per_visit": by_subject.mean()}
    )
    return pd.concat([visits, scored.filter(regex="_z$")], axis=1), subjects.reset_index()
