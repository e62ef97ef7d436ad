"""What the models of single visits share: their data, the split, training and saving."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crow.cohort.cohort import Cohort
from crow.cohort.split import validation_folds
from crow.data.examples import Examples
from crow.errors import CohortError, ConfigError
from crow.models.base import Model, Training, name_of
from crow.representation.cross_sectional import RegionInputs, ScanExamples, ScanInputs, Visits, inputs_from_saved
from crow.run.cross_sectional_config import ARCHITECTURES, CrossSectionalConfig, architectures_of
from crow.scans.store import ScanStore
from crow.seeds import SeedStream, derived_seed
from crow.training.fit import Fitted, train, with_threads
from crow.training.members import seeded

Data = Cohort | ScanStore | pd.DataFrame
"""A cohort of regions, a table as pandas reads it, or a store of scans."""
Rows = NDArray[np.int64]
CHUNK = 256  # visits of a table computed at once


class CrossSectionalModel(Model):
    """Base of the models of single visits; a subclass defines what it learns in ``fit`` and its own questions.

    A subclass defines ``build`` and, if it keeps more than the flow and the representation, ``describe_more`` and
    ``restore_more``. The architectures of its kind are those of `crow.run.cross_sectional_config.ARCHITECTURES`.

    Attributes
    ----------
    inputs
        What one visit is to the flow: standardised regions, or a scan in grey levels.
    extra
        Tensors that a subclass keeps in the run beside those of ``inputs``.
    """

    inputs: RegionInputs | ScanInputs

    def __init__(self, config: CrossSectionalConfig | None = None, **settings: Any) -> None:
        super().__init__(config, **settings)
        self.extra: dict[str, Tensor] = {}

    @classmethod
    def settings_class(cls, settings: dict[str, Any]) -> type[CrossSectionalConfig]:
        known = architectures_of(cls.kind)
        architecture = settings.get("architecture", known[0])
        if architecture not in known:
            raise ConfigError(f"{cls.__name__} has no architecture {architecture!r}. Known are {', '.join(known)}.")
        return ARCHITECTURES[architecture]

    def initialise(self, flow: nn.Module, examples: Examples | ScanExamples, subject: Tensor) -> None:
        """Move an untrained ``flow`` to where training begins, given the training examples of ``subject``s."""

    def calibrate(self, flow: nn.Module, validation: Iterator[Examples]) -> None:
        """Adjust the trained ``flow`` to the validation subjects, which decided when training stopped."""

    def describe_more(self) -> dict[str, Any]:
        """JSON values of a subclass, for `restore_more`."""
        return {}

    def restore_more(self, description: dict[str, Any]) -> None:
        """Take back what `describe_more` gave."""

    def open(self, data: Data) -> Cohort | ScanStore:
        """A store as it is, anything else as a cohort."""
        return data if isinstance(data, ScanStore) else self.as_cohort(data)

    def training_visits(self, data: Cohort | ScanStore) -> tuple[Cohort, Visits]:
        """The cohort of ``data``, and its visits without those of the test subjects.

        Raises CohortError if there is too little to learn from.
        """
        if not isinstance(data, ScanStore) and self.config.images.patch:
            raise ConfigError("images.patch: patches are of scans, and this is a table. Leave it out.")
        cohort = data.cohort() if isinstance(data, ScanStore) else data
        cohort.require_usable(one_visit=True)
        return cohort, self.split(cohort)[0].visits

    def fit_inputs(self, data: Cohort | ScanStore, visits: Visits) -> RegionInputs | ScanInputs:
        """What one visit is to the flow, fitted to training visits; raises CohortError for a table of one region."""
        if isinstance(data, ScanStore):
            return ScanInputs.fit(data, visits, self.config.images, self.config.flow.levels)
        if len(data.regions) < 2:
            raise CohortError(f"{name_of(data)}: {len(data.regions)} region; a flow needs at least 2.")
        return RegionInputs.fit(data, visits)

    def train_flow(
        self, examples: Examples | ScanExamples, subject: pd.Series, training: Training, label: str = "flow"
    ) -> Fitted:
        """Train ``build()`` on examples, one row of ``subject`` each; validation subjects decide when it stops."""
        self.uses_scans = isinstance(self.inputs, ScanInputs)
        with seeded(self.config.seed, 0):
            flow = self.build()
        self._begin(training)
        settings = self.config.training
        fit, validation = self._train(flow, examples, subject, training, settings, SeedStream.TRAINING, label)
        self.calibrate(flow, self.in_order(validation))
        self.flow, self.log, self.interrupted = flow, fit.history.assign(member=1), fit.interrupted
        return fit

    def optimise(
        self, part: nn.Module, examples: Examples | ScanExamples, subject: pd.Series, training: Training
    ) -> Fitted:
        """Train a part of the flow in place, as `train_flow` trains all of it."""
        self._begin(training)
        return self._train(part, examples, subject, training, self.config.training, SeedStream.TRAINING, "flow")[0]

    def pretrain(
        self, part: nn.Module, examples: Examples | ScanExamples, subject: pd.Series, training: Training, label: str
    ) -> None:
        """Train a part of the flow in place, on a task of its own, for ``pretrain_epochs`` before `train_flow`.

        Ctrl-C ends it with KeyboardInterrupt: the training has to be resumed.
        """
        self._begin(training)
        settings = self.config.training.model_copy(update={"max_epochs": self.config.pretrain_epochs})
        fit, _ = self._train(part, examples, subject, training, settings, SeedStream.PRETRAINING, label)
        if fit.interrupted:
            raise KeyboardInterrupt

    def _begin(self, training: Training) -> None:
        self.config = self.config.model_copy(update={"training": with_threads(self.config.training)})
        training.begin(self.config)

    def in_order(self, examples: Examples | ScanExamples) -> Iterator[Examples]:
        """All examples in order: many regions at once, or one scan.

        The dequantisation of each scan begins with seed 0, so that the answer for one scan depends on no other.
        """
        with torch.random.fork_rng():
            for rows in torch.arange(len(examples)).split(CHUNK if self.inputs.greys is None else 1):
                torch.manual_seed(0)
                yield examples[rows]

    def split_rows(self, examples: Examples | ScanExamples, subject: pd.Series) -> tuple[Rows, Rows]:
        """The rows to train on, some of them several times, and the rows of the validation subjects."""
        validation = self.validation(subject)
        return np.flatnonzero(~validation), np.flatnonzero(validation)

    def validation(self, subject: pd.Series) -> NDArray[np.bool_]:
        """Which rows belong to validation subjects, decided by the seed and the names."""
        numbers, names = pd.factorize(subject)
        units = [self.family.get(name, name) for name in names]
        chosen = validation_folds(units, self.config.training.validation_fraction, self.config.seed)[0]
        return np.isin(numbers, chosen)

    def _train(
        self, part: nn.Module, examples: Examples | ScanExamples, subject: pd.Series, training: Training,
        settings: Any, stream: SeedStream, label: str,
    ) -> tuple[Fitted, Examples | ScanExamples]:  # fmt: skip
        """Train ``part`` in place; also returns the validation examples."""
        rows, validation_rows = self.split_rows(examples, subject)
        once = np.unique(rows)
        numbers = torch.from_numpy(pd.factorize(subject)[0][once])
        self.initialise(part, subset(examples, torch.from_numpy(once)), numbers)
        kept, validation = (subset(examples, torch.from_numpy(each)) for each in (rows, validation_rows))
        seed = derived_seed(self.config.seed, stream)
        where = training.folder, training.resume, training.progress
        return train(part, kept, validation, settings, seed, *where, label), validation

    def tensors(self) -> dict[str, Tensor]:
        return self.inputs.tensors() | self.extra

    def describe(self) -> dict[str, Any]:
        return {"inputs": self.inputs.describe(), **self.describe_more()}

    def restore(self, description: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.inputs, self.extra = inputs_from_saved(tensors, description["inputs"]), tensors
        self.uses_scans = isinstance(self.inputs, ScanInputs)
        self.restore_more(description)

    def summary(self) -> str:
        return f"{self.config.architecture} of {self.inputs}, validation loss {self.metrics['validation_loss']:.3f}"


def subset(examples: Examples | ScanExamples, rows: Tensor) -> Examples | ScanExamples:
    """The examples of some rows; no scan is read."""
    return examples.subset(rows) if isinstance(examples, ScanExamples) else examples[rows]
