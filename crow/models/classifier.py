"""The class of a visit when few visits have labels, with refusal of visits unlike any seen in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from crow.cohort.split import validation_of_each_class
from crow.data.examples import UNKNOWN, Examples
from crow.errors import CohortError, ConfigError
from crow.models.base import FitOptions, Training, name_of
from crow.models.cross_sectional import CrossSectionalModel, Data, Rows, subset
from crow.models.flow_builders import built
from crow.representation.classes import Classes
from crow.representation.cross_sectional import ScanExamples, cohort_of
from crow.training.fit import Fitted

REFUSED = 0.01  # share of known visits that lie below the threshold, at most
LABELLED = 0.25  # of a batch, at least


class Classifier(CrossSectionalModel):
    """p(class | visit) and p(visit), from visits of which few have a label (``architecture="semi-conditional"``).

    A visit is refused if ``log p(x)`` lies below ``threshold``: the 1 % quantile over validation visits or over
    training visits, whichever is lower, because a small validation set may contain no outlier.

    Attributes
    ----------
    classes
        Names of the classes.
    threshold
        The lowest log-density in nats of a visit that is not refused.

    Examples
    --------
    >>> import crow
    >>> cohort = crow.read_cohort("adni.csv")
    >>> training = {"max_epochs": 2, "steps_per_epoch": 2}  # to be quick: the defaults train until nothing improves
    >>> model = crow.Classifier(seed=1, training=training).fit(cohort, "DX")
    >>> list(model.predict(cohort))
    ['subject', 'session', 'time', 'p_CN', 'p_MCI', 'predicted', 'log_prob', 'refused']
    """

    kind = command = "classify"

    def fit(
        self,
        data: Data,
        label: str,
        out: str | Path | None = None,
        **options: Unpack[FitOptions],
    ) -> Classifier:
        """Train on all visits, labelled or not.

        Parameters
        ----------
        data
            A cohort of regions, a table, or a store of scans.
        label
            The column of classes; an empty cell is a visit without a label.
        out
            Where to write a run folder; nothing is written if it is None.
        **options
            `crow.models.base.FitOptions`.

        Raises
        ------
        CohortError
            If there is nothing to learn from.
        OutputError
            If ``out`` exists already.
        """
        if self.config.images.patch:
            raise ConfigError("images.patch: a class is of a whole scan. Leave it out; images.size limits the memory.")
        training, data = Training.at(out, **options), self.open(data)
        cohort, visits = self.training_visits(data)
        self.classes = Classes.fit(cohort, visits, label)
        self.inputs = self.fit_inputs(data, visits)
        known = self.classes.encode(visits)
        labelled = visits["subject"][known.numpy() >= 0].nunique()
        training.echo(
            f"training {self.config.architecture} on {len(visits)} visits of {visits['subject'].nunique()} subjects: "
            f"{self.inputs}; {int((known >= 0).sum())} visits of {labelled} subjects have a label "
            f"({', '.join(self.classes.levels)})"
        )
        examples = self.inputs.examples(data, visits, label=known)
        fit = self.train_flow(examples, visits["subject"], training)
        self._evaluate(examples, visits["subject"], fit)
        return self.finish(training)

    def predict(self, data: Data) -> pd.DataFrame:
        """One row per visit: ``subject, session, time``, ``p_<class>``, ``predicted``, ``log_prob``, ``refused``.

        ``log_prob`` is log p(x) in nats: of regions exact and in original units, of scans that of their grey levels (a
        lower bound, dequantised with seed 0). Raises CohortError for visits that are not of the kind trained on.
        """
        self.fitted()
        data = self.open(data)
        cohort = cohort_of(data)
        visits = cohort.visits
        if visits.empty:
            raise CohortError(f"{name_of(cohort)}: there is no visit.")
        p, log_prob = self._answer(self.inputs.examples(data, visits))
        table = visits[["subject", "session", "time"]].copy()
        table[[f"p_{level}" for level in self.classes.levels]] = p.astype(float)
        table["predicted"] = np.array(self.classes.levels)[p.argmax(1)]
        table["log_prob"] = log_prob
        table["refused"] = ~(log_prob >= self.threshold)
        return table

    def build(self) -> nn.Module:
        return built(self.config, self.inputs.shape, self.inputs.greys, len(self.classes), self.classes.shares)

    def initialise(self, flow: nn.Module, examples: Examples | ScanExamples, subject: Tensor) -> None:
        start = getattr(flow, "initialise", None)
        if start is not None and isinstance(examples, Examples):
            start(examples, subject)

    def split_rows(self, examples: Examples | ScanExamples, subject: pd.Series) -> tuple[Rows, Rows]:
        """Training rows, with labelled ones repeated until they are a quarter of a batch; and validation rows."""
        label = _label(examples)
        validation = self._validation(subject, label)
        known = (label >= 0).numpy()
        times = round(LABELLED / (1 - LABELLED) * (~known & ~validation).sum() / (known & ~validation).sum())
        rows = np.flatnonzero(~validation)
        return np.repeat(rows, np.where(known[rows], max(1, times), 1)), np.flatnonzero(validation)

    def describe_more(self) -> dict[str, Any]:
        return {"classes": self.classes.model_dump(), "threshold": self.threshold}

    def restore_more(self, description: dict[str, Any]) -> None:
        self.classes, self.threshold = Classes.model_validate(description["classes"]), float(description["threshold"])

    def _validation(self, subject: pd.Series, label: Tensor) -> NDArray[np.bool_]:
        return validation_of_each_class(
            [self.family.get(name, name) for name in subject],
            label.numpy(),
            self.config.training.validation_fraction,
            self.config.seed,
        )

    def _evaluate(self, examples: Examples | ScanExamples, subject: pd.Series, fit: Fitted) -> None:
        """Set the threshold, and compare validation errors with those of a logistic regression on the same labels."""
        label = _label(examples)
        validation, known = self._validation(subject, label), (label >= 0).numpy()
        apart = subset(examples, torch.from_numpy(np.flatnonzero(validation)))
        p, log_prob = self._answer(apart)
        _, of_trained = self._answer(subset(examples, torch.from_numpy(np.flatnonzero(~validation))))
        self.threshold = float(min(np.quantile(log_prob, REFUSED), np.quantile(of_trained, REFUSED)))
        asked = known[validation]
        truth = label.numpy()[validation][asked]
        taught = subset(examples, torch.from_numpy(np.flatnonzero(known & ~validation)))[:]
        other = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        other.fit(taught.x.flatten(1).numpy(), _label(taught).numpy())
        guess = other.predict(apart[torch.from_numpy(np.flatnonzero(asked))].x.flatten(1).numpy())
        wrong, subjects = p.argmax(1)[asked] != truth, subject[validation & known].to_numpy()
        low, high = error_interval(wrong, subjects)
        self.metrics = {
            "validation_loss": fit.validation_loss, "epoch": fit.epoch, "visits": len(label),
            "labelled_visits": int(known.sum()),
            "validation_error": float(wrong.mean()), "validation_error_low": low, "validation_error_high": high,
            "validation_error_logistic_regression": float((guess != truth).mean()),
            "validation_labelled_visits": int(asked.sum()),
            "validation_labelled_subjects": len(np.unique(subjects)), "threshold": self.threshold,
        }  # fmt: skip

    @torch.no_grad()
    def _answer(self, examples: Examples | ScanExamples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``p(y | x) [visit, class]`` and ``log p(x) [visit]``, in nats and original units."""
        flow: Any = self.fitted()
        p, nats = [], []
        for batch in self.in_order(examples):
            nats.append(flow.log_prob(batch.x))
            p.append(flow.predict(batch.x))
        return torch.cat(p).double().numpy(), torch.cat(nats).double().numpy() - self.inputs.log_scale


def error_interval(wrong: NDArray[np.bool_], subject: NDArray[Any], level: float = 0.95) -> tuple[float, float]:
    """Interval of an error rate over subjects, each of which may have several visits (``wrong [visit]``).

    Wilson's interval with the number of independent visits that have the same variance as the ratio of errors to visits
    over subjects (Korn & Graubard 1998): visits of one subject tend to be right or wrong together.
    """
    table = pd.DataFrame({"wrong": wrong.astype(float), "subject": subject}).groupby("subject")["wrong"]
    errors, visits = table.sum().to_numpy(), table.size().to_numpy(float)
    rate, count = float(errors.sum() / visits.sum()), float(len(visits))
    if 0 < rate < 1 and count > 1:
        variance = count / (count - 1) * float(((errors - rate * visits) ** 2).sum()) / visits.sum() ** 2
        count = min(rate * (1 - rate) / variance, float(visits.sum())) if variance > 0 else float(visits.sum())
    z = float(norm.ppf(0.5 + level / 2))
    centre = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * float(np.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2)))
    return max(0.0, centre - half), min(1.0, centre + half)


def _label(examples: Examples | ScanExamples) -> Tensor:
    label = examples.label
    return torch.full((len(examples),), UNKNOWN) if label is None else label
