"""What the models of one visit share: how they are trained, kept and brought back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from crow.cohort.cohort import Cohort
from crow.cohort.schema import Schema
from crow.cohort.split import test_subjects, validation_folds
from crow.data.examples import Examples
from crow.errors import CohortError, RunError
from crow.models.crow import FEWEST, source
from crow.representation.cross_sectional import (
    RegionInputs,
    ScanExamples,
    ScanInputs,
    Visits,
    cohort_of,
    inputs_from_saved,
)
from crow.run.cross_sectional_config import ARCHITECTURES, CrossSectionalConfig
from crow.run.folder import Run, anonymous, check_place, load_run, save_run, start_run
from crow.scans.store import ScanStore
from crow.seeds import derived_seed
from crow.training.ensemble import seeded
from crow.training.fit import Fitted, train

Data = Cohort | ScanStore
"""A table of regions, or a store of scans."""
Rows = NDArray[np.int64]
Echo = Callable[[str], None]
PREFIX = "visits."  # of the tensors that are not the flow's
CHUNK = 256  # visits of a table computed at once


class CrossSectionalModel:
    """Base of the models of single visits; a subclass says what it learns in ``fit`` and answers in its own methods.

    A subclass has ``architectures`` (the names of `crow.run.cross_sectional_config.ARCHITECTURES` that it trains), ``build`` (the unfitted flow)
    and, where it keeps more than the flow and the representation, ``describe`` and ``restore``.

    Attributes: ``config``, ``visits`` (what one visit is to the flow), ``flow``, ``more`` (tensors that a subclass
    keeps beside these), ``metrics`` and ``log`` of the training.
    """

    architectures: ClassVar[tuple[str, ...]]
    visits: RegionInputs | ScanInputs

    def __init__(self, config: CrossSectionalConfig | None = None, **settings: Any) -> None:
        architecture = settings.get("architecture", self.architectures[0])
        if architecture not in self.architectures:
            raise ValueError(f"{type(self).__name__} has no architecture {architecture!r}; it has {', '.join(self.architectures)}")
        self.config = ARCHITECTURES[architecture].model_validate(settings) if config is None else config
        self.flow: nn.Module | None = None
        self.more: dict[str, Tensor] = {}
        self.metrics: dict[str, Any] = {}
        self.log = pd.DataFrame()

    def build(self) -> nn.Module:
        """The unfitted flow that ``config``, ``visits`` and the subclass's own parts ask for."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """JSON values that the run keeps beside the flow, for `restore`."""
        return {}

    def restore(self, facts: dict[str, Any]) -> None:
        """Take back what `describe` gave."""

    def initialise(self, flow: nn.Module, examples: Examples | ScanExamples, subject: Tensor) -> None:
        """Move ``flow``, as it was built, to where training begins, given the training examples of ``subject``s."""

    def calibrate(self, flow: nn.Module, validation: Iterator[Examples]) -> None:
        """Adjust the trained ``flow`` to people whom it was not trained on, and who said when to stop."""

    def begin(self, data: Data, out: str | Path | None, resume: bool, overwrite: bool) -> tuple[Cohort, Visits]:
        """Check the place and the cohort; its visits without the test subjects.

        Raises OutputError where ``out`` exists, CohortError where there is too little to learn from.
        """
        if out is not None and not resume:
            check_place(out, overwrite)
        cohort = cohort_of(data)
        cohort.require_usable(one_visit=True)
        left = cohort.visits[~cohort.visits["subject"].isin(test_subjects(cohort, self.config.split.test, self.config.seed))]
        if (count := left["subject"].nunique()) < FEWEST:
            where = cohort.path or "the cohort"
            raise CohortError(f"{where}: {count} subjects are left to learn from; at least {FEWEST} are needed.")
        self.schema, self.source, self.findings = cohort.schema, source(cohort), anonymous(cohort.findings)
        return cohort, left

    def represent(self, data: Data, visits: Visits) -> RegionInputs | ScanInputs:
        """What one visit is to the flow, fitted to training visits; raises CohortError for a table of one region."""
        if isinstance(data, ScanStore):
            return ScanInputs.fit(data, visits, self.config.images, self.config.flow.levels)
        if len(data.regions) < 2:
            raise CohortError(f"{data.path or 'the cohort'}: {len(data.regions)} region; a flow needs at least 2.")
        return RegionInputs.fit(data, visits)

    def learn(
        self,
        examples: Examples | ScanExamples,
        subject: pd.Series,
        out: str | Path | None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = False,
        label: str = "flow",
    ) -> Fitted:
        """Train ``build()`` on examples, a row of ``subject`` each; some subjects are held out and say when to stop."""
        folder = None if out is None else Path(out)
        with seeded(self.config.seed, 0):
            flow = self.build()
        if folder is not None and not resume:
            start_run(folder, self.config, overwrite)
        kept, judged = self._begun(flow, examples, subject)
        seed = derived_seed(self.config.seed, 0)
        fit = train(flow, kept, judged, self.config.training, seed, folder, resume, progress, label)
        self.calibrate(flow, self.one_by_one(judged))
        self.flow, self.log = flow, fit.history.assign(member=1)
        return fit

    def learn_first(
        self,
        part: nn.Module,
        examples: Examples | ScanExamples,
        subject: pd.Series,
        out: str | Path | None,
        epochs: int,
        progress: bool = False,
        label: str = "first",
    ) -> None:
        """Train a part of the flow in place, on a task of its own, before `learn`; the run folder is begun already.

        Ctrl-C ends it with KeyboardInterrupt: the training is to be resumed.
        """
        kept, judged = self._begun(part, examples, subject)
        settings = self.config.training.model_copy(update={"max_epochs": epochs})
        seed, folder = derived_seed(self.config.seed, 1), None if out is None else Path(out)
        if train(part, kept, judged, settings, seed, folder, True, progress, label).interrupted:
            raise KeyboardInterrupt

    def one_by_one(self, examples: Examples | ScanExamples) -> Iterator[Examples]:
        """All of them in order: many regions at once, or one scan, whose dequantisation begins with seed 0 every time,
        so that what is said of a scan depends on no other."""
        with torch.random.fork_rng():
            for rows in torch.arange(len(examples)).split(CHUNK if self.visits.greys is None else 1):
                torch.manual_seed(0)
                yield examples[rows]

    def parts(self, examples: Examples | ScanExamples, subject: pd.Series) -> tuple[Rows, Rows]:
        """The rows that are trained on, some of them several times, and those of the subjects that are held out."""
        validation = self.validation(subject)
        return np.flatnonzero(~validation), np.flatnonzero(validation)

    def _begun(
        self, flow: nn.Module, examples: Examples | ScanExamples, subject: pd.Series
    ) -> tuple[Examples | ScanExamples, Examples | ScanExamples]:
        """What is trained on and what is held out; ``flow`` is where training begins."""
        kept, judged = self.parts(examples, subject)
        once = np.unique(kept)
        numbers = torch.from_numpy(pd.factorize(subject)[0][once])
        self.initialise(flow, some(examples, torch.from_numpy(once)), numbers)
        return some(examples, torch.from_numpy(kept)), some(examples, torch.from_numpy(judged))

    def validation(self, subject: pd.Series) -> np.ndarray:
        """Which rows are of subjects that training never sees, decided by the seed."""
        numbers, names = pd.factorize(subject)
        chosen = validation_folds(list(names), self.config.training.validation_fraction, self.config.seed)[0]
        return np.isin(numbers, chosen)

    def save(self, folder: str | Path, finished: bool) -> None:
        """Write the run folder."""
        tensors = {f"{PREFIX}{name}": tensor for name, tensor in (self.visits.tensors() | self.more).items()}
        tensors |= self.fitted().state_dict()
        description = {
            "visits": self.visits.describe(), "schema": self.schema.model_dump(), "cohort": self.source,
            "own": self.describe(),
        }  # fmt: skip
        save_run(folder, Run(self.config, tensors, description, self.metrics, self.log, self.findings, finished))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The fitted model of a run folder; raises RunError where it is not whole or of another system."""
        run = load_run(folder)
        if not isinstance(run.config, CrossSectionalConfig) or run.config.architecture not in cls.architectures:
            what = f"{run.config.architecture}. {run.config.use}" if isinstance(run.config, CrossSectionalConfig) else "crow train."
            raise RunError(f"{folder}: a run of {what}")
        model = cls(run.config)
        own = {name.removeprefix(PREFIX): t for name, t in run.tensors.items() if name.startswith(PREFIX)}
        try:
            model.visits = inputs_from_saved(own, run.description["visits"])
            model.schema = Schema.model_validate(run.description["schema"])
            model.source, model.more = run.description["cohort"], own
            model.restore(run.description["own"])
            flow = model.build().eval()
            flow.load_state_dict({name: t for name, t in run.tensors.items() if not name.startswith(PREFIX)})
        except (KeyError, TypeError, ValueError, RuntimeError, ValidationError):
            raise RunError(f"{folder}: the tensors do not fit model.json and config.yaml. Restore them all.") from None
        model.flow, model.metrics, model.log, model.findings = flow, run.metrics, run.log, run.findings
        return model

    def fitted(self) -> nn.Module:
        """The flow; raises RunError before it is fitted."""
        if self.flow is None:
            raise RunError(f"This {type(self).__name__} is not fitted yet: call fit, or crow.load(run).")
        return self.flow

    def __repr__(self) -> str:
        name = type(self).__name__
        if self.flow is None:
            return f"{name}, not fitted yet"
        return f"{name} ({self.config.architecture}) of {self.visits}, held-out loss {self.metrics['validation_loss']:.3f}"


def some(examples: Examples | ScanExamples, rows: Tensor) -> Examples | ScanExamples:
    """The examples of some rows; no scan is read."""
    return examples.some(rows) if isinstance(examples, ScanExamples) else examples[rows]
