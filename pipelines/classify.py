"""Learn the classes of visits from few labels, and classify other visits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from crow.cohort import Cohort
from crow.errors import CohortError, ConfigError
from crow.files import check_free, writing
from crow.pipelines.cross_sectional_runs import Echo, Learned, learned, learning_settings, open_data
from crow.places import is_store
from crow.representation.attributes import covariate_named
from crow.tables import save_table

if TYPE_CHECKING:
    from crow.models.classifier import Classifier


@dataclass(frozen=True)
class Classified:
    """The predictions, one row per visit, and their file."""

    predictions: pd.DataFrame
    file: Path


def learn(
    cohort: Path,
    label: str,
    out: Path,
    *,
    architecture: str | None = None,
    config: Path | None = None,
    sets: list[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    echo: Echo = lambda line: None,
    **reading: Any,
) -> Learned[Classifier]:
    """Learn the visits of a table or of a store and the column ``label``; write the run folder ``out``.

    Raises ConfigError, CohortError, RunError if there is nothing to resume, OutputError if ``out`` exists.
    """
    settings = learning_settings(out, "classify", config, sets, resume, overwrite, reading, architecture)
    data = open_data(cohort, settings.cohort)
    if isinstance(data, Cohort):
        covariate_named(label, data, str(cohort))

    from crow.models.classifier import Classifier

    model = Classifier(settings)
    model.fit(data, label, out, resume=resume, overwrite=overwrite, progress=True, echo=echo)
    return learned(model, out, echo)


def classify(run: Path, cohort: Path, out: Path, *, overwrite: bool = False) -> Classified:
    """Write the table ``out``: the probability of every class, log p(x) and whether it is refused, for each visit.

    Raises RunError, CohortError for visits unlike those of the training, and OutputError if ``out`` exists.
    """
    if out.suffix not in (".csv", ".tsv"):
        raise ConfigError(f"--out {out}: predictions are a table. Name a .csv or .tsv file.")
    check_free(out, overwrite)

    from crow.models.classifier import Classifier
    from crow.representation.cross_sectional import RegionInputs
    from crow.scans.store import ScanStore

    model = Classifier.load(run)
    scans = is_store(cohort)
    if scans and isinstance(model.inputs, RegionInputs):
        raise CohortError(f"{cohort}: scans; the run was trained on a table of regions. Give such a table.")
    schema = model.schema.model_copy(update={"covariates": {}, "fixed": []})
    data = ScanStore.open(cohort) if scans else open_data(cohort, {}, schema)
    predictions = model.predict(data)
    with writing(out, overwrite) as temporary:
        save_table(predictions, temporary, out.suffix)
    return Classified(predictions, out)
