"""What every model shares: settings, the split into training and test subjects, training runs, saving and loading."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict

import pandas as pd
from pydantic import BaseModel, TypeAdapter
from torch import Tensor, nn

from crow.cohort.cohort import Cohort
from crow.cohort.options import Missing
from crow.cohort.reader import read_cohort
from crow.cohort.schema import Schema
from crow.cohort.split import salt_of, salted_hashes, test_subjects
from crow.errors import CohortError, ConfigError, RunError
from crow.models.registry import model_class
from crow.run.config import Settings, validated
from crow.run.folder import Run, anonymous, check_place, load_run, save_run, sha256, start_run

Echo = Callable[[str], None]
MIN_SUBJECTS = 5  # to train on: one in each validation set
LAYERS = ("blocks", "depth")  # settings that count layers
TEST, EARLIER_TEST = "test_subjects", "test_subjects_sha256"  # in the description
MAX_LAYERS = 1000
REPRESENTATION = "representation."  # prefix of a run's tensors that do not belong to the flow


class HashedNames(BaseModel):
    """The test subjects of a run, without their names: `crow.cohort.split.salted_hashes`."""

    salt: str
    hashes: list[str]


class FitOptions(TypedDict, total=False):
    """Keyword arguments of every ``fit``.

    ``resume``: continue the training that was started in ``out``. ``overwrite``: replace an earlier run at ``out``.
    ``progress``: show a progress bar; None (the default) shows one in a notebook. ``echo``: receives one line of text
    per step, for example ``print``. ``jobs``: processes that train groups of ensemble members, 1 by default.
    """

    resume: bool
    overwrite: bool
    progress: bool | None
    echo: Echo
    jobs: int


@dataclass
class Training:
    """Where and how a model is being trained; the run folder appears when training itself begins."""

    folder: Path | None
    resume: bool
    overwrite: bool
    progress: bool
    echo: Echo
    jobs: int = 1

    @classmethod
    def at(
        cls,
        out: str | Path | None,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool | None = None,
        echo: Echo = lambda line: None,
        jobs: int = 1,
    ) -> Training:
        """Raises OutputError if ``out`` exists and may not be replaced, before anything is computed."""
        folder = None if out is None else Path(out)
        if folder is not None and not resume:
            check_place(folder, overwrite)
        return cls(folder, resume, overwrite, in_notebook() if progress is None else progress, echo, jobs)

    def begin(self, config: Any) -> None:
        """Make the run folder with the resolved settings, unless it is there already."""
        if self.folder is not None and not self.resume:
            start_run(self.folder, config, self.overwrite)
        self.resume = True  # later parts of the same training find their folder


class Model(ABC):
    """Base of the models that users fit, ask, save and load.

    Parameters
    ----------
    config
        All settings at once. Or name some: ``CRow(seed=1, model={"members": 3})``. Not both.

    Attributes
    ----------
    config
        The settings; sizes that depend on the cohort are filled in by ``fit``.
    flow
        The density, a torch module; None before ``fit``.
    metrics, log
        Figures of the training, and one row per epoch.
    interrupted
        Whether Ctrl-C ended the training early. The model can be used, and the run be resumed.
    schema, source, findings
        How the cohort was read, where it is (with its digest), and what the reader reported.

    Raises
    ------
    ConfigError
        For an unknown setting or an impossible value, and for settings that are given twice.
    """

    kind: ClassVar[str]
    """The name in `crow.models.registry.MODELS`; a run keeps it."""
    command: ClassVar[str]
    """The command that trains and applies this model."""
    uses_scans: bool = False
    """Whether the model reads a store of scans instead of a table."""
    missing: ClassVar[Missing] = "drop-visit"
    """What to do with visits of a table that lack a region."""

    schema: Schema
    source: dict[str, str]
    findings: list[dict[str, Any]]

    def __init__(self, config: Any = None, **settings: Any) -> None:
        if config is not None and settings:
            raise ConfigError(
                f"{type(self).__name__}: the settings {', '.join(settings)} are given beside a complete "
                f"{type(config).__name__}. Give either the one or the other."
            )
        self._configure(settings if config is None else {name: getattr(config, name) for name in _names(config)})
        self.flow: nn.Module | None = None
        self.metrics: dict[str, Any] = {}
        self.log = pd.DataFrame()
        self.interrupted = False
        self.test_hashes: HashedNames | None = None
        self.family: dict[str, str] = {}  # of each subject of the training; never saved

    @classmethod
    @abstractmethod
    def settings_class(cls, settings: dict[str, Any]) -> type[Settings]:
        """The class of ``config`` for these settings."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The flow that the settings and the representation ask for, without trained weights."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON values that a run keeps beside the flow's weights, for `restore`."""

    @abstractmethod
    def restore(self, description: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take back what `describe` and `tensors` gave."""

    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the representation that a run keeps beside the flow's weights."""
        return {}

    def fitted(self) -> Any:
        """The flow; raises RunError before ``fit``."""
        if self.flow is None:
            raise RunError(f"This {type(self).__name__} is not fitted yet: call fit, or load a run with crow.load.")
        return self.flow

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the run folder (see `crow.run.folder`); a folder in which training has begun is completed.

        Raises RunError before ``fit``, OutputError if another run is there and ``overwrite`` is False.
        """
        tensors = {**self.fitted().state_dict(), **{REPRESENTATION + name: t for name, t in self.tensors().items()}}
        description = {
            "kind": self.kind, "schema": self.schema.model_dump(), "cohort": self.source,
            TEST: self.test_hashes and self.test_hashes.model_dump(), **self.describe(),
        }  # fmt: skip
        run = Run(self.config, tensors, description, self.metrics, self.log, self.findings, not self.interrupted)
        save_run(folder, run, overwrite)

    def finish(self, training: Training) -> Self:
        """The last step of ``fit``: complete the run folder, if there is one."""
        if training.folder is not None:
            self.save(training.folder)
        return self

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The fitted model of a run folder. Loading a run from a stranger runs no code of theirs.

        Raises RunError if the folder is not whole, or holds a model of another class.
        """
        run = load_run(folder)
        check_size(Path(folder), run)
        try:
            found = model_class(str(run.description.get("kind")))
            if not issubclass(found, cls):
                raise RunError(f"{folder}: a run of crow {found.command}, not of crow {cls.command}.")
            model = found(run.config)
            model.schema = Schema.model_validate(run.description["schema"])
            source = TypeAdapter(dict[str, str]).validate_python(run.description["cohort"])
            model.source, model.findings = source, run.findings
            if (hashed := run.description.get(TEST)) is not None:
                model.test_hashes = HashedNames.model_validate(hashed)
            elif EARLIER_TEST in run.description:  # which kept one digest of all names: none of them is known
                model.test_hashes = HashedNames(salt="", hashes=[])
            model.metrics, model.log, model.interrupted = run.metrics, run.log, not run.finished
            own = {n.removeprefix(REPRESENTATION): t for n, t in run.tensors.items() if n.startswith(REPRESENTATION)}
            model.restore(run.description, own)
            model.flow = model.build().eval()
            saved = {n: t for n, t in run.tensors.items() if not n.startswith(REPRESENTATION)}
            known = {name: tensor for name, tensor in model.flow.state_dict().items() if name in saved}
            if any(saved[name].dtype != tensor.dtype for name, tensor in known.items()):
                raise RunError(f"{folder}: tensors of another type than the model's. Restore the run or train again.")
            model.flow.load_state_dict(saved)
        except RunError:
            raise
        except Exception:  # a description that was not written by crow can break any of these steps
            raise RunError(f"{folder}: the tensors do not fit model.json and config.yaml. Restore them all.") from None
        return model

    def split(self, cohort: Cohort) -> tuple[Cohort, list[str]]:
        """The cohort without the test subjects, and these, as ``split.test`` and the seed decide.

        Raises CohortError if too few subjects are left to train on.
        """
        test = test_subjects(cohort, self.config.split.test, self.config.seed)
        salt = salt_of(cohort.split_subjects)
        self.test_hashes = HashedNames(salt=salt, hashes=salted_hashes(test, salt))
        training = replace(cohort, visits=cohort.visits[~cohort.visits["subject"].isin(test)])
        if (left := len(training.subjects)) < MIN_SUBJECTS:
            raise CohortError(
                f"{name_of(cohort)}: {left} subjects are left to train on; at least {MIN_SUBJECTS} are needed. "
                "Lower split.test or give more subjects."
            )
        self.schema, self.source, self.findings = cohort.schema, source_of(cohort), anonymous(cohort.findings)
        self.family = dict(zip(cohort.subjects, cohort.split_names(cohort.subjects), strict=True))
        return training, test

    def test_set(self, cohort: Cohort) -> list[str]:
        """The test subjects of the cohort that the model was trained on, read as for training.

        Raises RunError if they are not those that the training left out, so that no training subject is evaluated.
        """
        test = test_subjects(cohort, self.config.split.test, self.config.seed)
        if self.test_hashes is not None:
            known = self.test_hashes.hashes
            found = salted_hashes(test, self.test_hashes.salt)
            if trained := len(set(found) - set(known)):
                raise RunError(
                    f"{name_of(cohort)}: its test subjects by the run's settings (seed {self.config.seed}, split.test "
                    f"{self.config.split.test:g}) are not those that the training left out: {trained} of {len(found)} "
                    "may be training subjects. Restore the table and the run as they were, or train again."
                )
        return test

    def as_cohort(self, data: Cohort | pd.DataFrame) -> Cohort:
        """A DataFrame is read like the table of the training if there was one, and like any table otherwise."""
        if not isinstance(data, pd.DataFrame):
            return data
        schema = getattr(self, "schema", None)
        return read_cohort(data, schema=schema, one_visit=True, missing=None if schema else self.missing)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name, as scikit-learn's estimators give them; ``deep`` adds ``group__setting`` names."""
        params = dict(self._given)
        if deep:
            for group, value in self._requested:
                if isinstance(value, Settings):
                    params |= {f"{group}__{name}": getattr(value, name) for name in _names(value)}
        return params

    def set_params(self, **params: Any) -> Self:
        """Change settings by name (``seed=1``, ``model__members=3``); a fitted model has to be fitted again."""
        changed: dict[str, Any] = {name: value for name, value in self._requested}
        for name, value in params.items():
            group, _, inner = name.partition("__")
            if inner:
                current = changed.get(group)
                current = current.model_dump() if isinstance(current, Settings) else dict(current or {})
                changed[group] = {**current, inner: value}
            else:
                changed[name] = value
        self._configure(changed)
        return self

    def _configure(self, settings: dict[str, Any]) -> None:
        kind = type(self).settings_class(settings)
        self._requested: Any = validated(kind, settings)
        self._given = {name: settings.get(name, getattr(self._requested, name)) for name in _names(self._requested)}
        self.config: Any = self._requested

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}, not fitted yet" if self.flow is None else f"{name}: {self.summary()}"

    @abstractmethod
    def summary(self) -> str:
        """One line about the fitted model: what it models, and how well it fits the validation subjects."""

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>"


def check_size(folder: Path, run: Run) -> None:
    """Raise RunError if a run describes many more layers than it has tensors, which would only be built to be refused.

    A registered flow may take no notice of the usual numbers of layers.
    """
    layers = max(_numbers(run.config.model_dump(), LAYERS), default=1)
    members = run.description.get("initialisations")
    count = layers * len(members) if isinstance(members, list) and members else layers
    if count > max(len(run.tensors), MAX_LAYERS):
        raise RunError(
            f"{folder}: its settings describe {count:,} layers, but it has {len(run.tensors):,} tensors. Restore the "
            "run or train again."
        )


def _numbers(settings: dict[str, Any], names: Collection[str]) -> Iterator[int]:
    """The values of some settings, in all groups."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _numbers(value, names) if name != "voxels" else ()
        elif name in names and isinstance(value, int):
            yield value


def name_of(cohort: Cohort) -> str:
    """What messages call a cohort: its file, if it has one."""
    return cohort.path or "the cohort"


def source_of(cohort: Cohort) -> dict[str, str]:
    """The table's absolute path and digest; nothing for a cohort that is in no file."""
    if cohort.path is None or not Path(cohort.path).is_file():
        return {}
    return {"path": str(Path(cohort.path).resolve()), "sha256": sha256(cohort.path)}


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def _names(settings: Settings) -> list[str]:
    return list(type(settings).model_fields)
