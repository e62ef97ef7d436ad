"""Which class a visit is of, where few visits have labels, and whether the model has seen anything like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from crow.bijections.dequantize import UniformDequantizer
from crow.cohort.split import validation_of_each_class
from crow.data.examples import UNKNOWN, Examples
from crow.errors import CohortError
from crow.flows.infocnf import InfoCNF
from crow.flows.semi_conditional import SemiConditionalFlow
from crow.flows.semi_conditional_ensemble import SemiConditionalEnsemble
from crow.models.cross_sectional import CrossSectionalModel, Data, Echo, Rows, some
from crow.representation.classes import Classes
from crow.representation.cross_sectional import ScanExamples, cohort_of
from crow.representation.views import augment_images, fixed_augmentations, noisy_values
from crow.run.cross_sectional_config import SemiConditionalConfig
from crow.training.fit import Fitted

REFUSED = 0.01  # share of known visits that lie below the threshold, at most
LABELLED = 0.25  # of a batch, at least


class Classifier(CrossSectionalModel):
    """p(class | visit) and p(visit), from visits of which few have a label (``architecture="semi-conditional"``).

    ``Classifier().fit(cohort, "DX")`` with a Cohort of regions or a ScanStore; then ``predict`` answers. A visit is
    refused where ``log p(x)`` lies below ``threshold``, the 1 % quantile of held-out subjects' visits, or of those
    trained on where that is lower (the few who are held out may be usual people).
    """

    architectures = ("semi-conditional", "infocnf", "ccnf")

    def fit(
        self,
        data: Data,
        label: str,
        out: str | Path | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = False,
        echo: Echo = lambda line: None,
    ) -> Classifier:
        """Learn from all visits, and from the column ``label`` of those that have one; with ``out`` keep a run there.

        Raises CohortError where there is nothing to learn from, OutputError where ``out`` exists.
        """
        cohort, visits = self.begin(data, out, resume, overwrite)
        self.classes = Classes.fit(cohort, visits, label)
        self.visits = self.represent(data, visits)
        known = self.classes.encode(visits)
        people = visits["subject"][known.numpy() >= 0].nunique()
        echo(
            f"training {self.config.architecture} on {len(visits)} visits of {visits['subject'].nunique()} subjects: "
            f"{self.visits}; {int((known >= 0).sum())} visits of {people} subjects have a label "
            f"({', '.join(self.classes.levels)})"
        )
        examples = self.visits.examples(data, visits, label=known)
        fit = self.learn(examples, visits["subject"], out, resume=resume, overwrite=overwrite, progress=progress)
        self._judge(examples, visits["subject"], fit)
        if out is not None:
            self.save(out, not fit.interrupted)
        return self

    def predict(self, data: Data) -> pd.DataFrame:
        """A row a visit: ``subject, session, time``, ``p_<class>``, ``predicted``, ``log_prob`` and ``refused``.

        ``log_prob`` is log p(x) in nats: of regions exact and in original units, of scans that of their grey levels (a
        lower bound, dequantised with seed 0). Raises CohortError for visits that are not of the kind trained on.
        """
        self.fitted()
        visits = cohort_of(data).visits
        if visits.empty:
            raise CohortError(f"{cohort_of(data).path or 'the cohort'}: holds no visit.")
        p, log_prob = self._answer(self.visits.examples(data, visits))
        table = visits[["subject", "session", "time"]].copy()
        table[[f"p_{level}" for level in self.classes.levels]] = p.astype(float)
        table["predicted"] = np.array(self.classes.levels)[p.argmax(1)]
        table["log_prob"] = log_prob
        table["refused"] = ~(log_prob >= self.threshold)
        return table

    def build(self) -> nn.Module:
        settings, shape, classes = self.config.flow, self.visits.shape, len(self.classes)
        image = self.visits.greys is not None
        dequantizer = UniformDequantizer(self.visits.greys) if self.visits.greys else None
        prior = torch.tensor(self.classes.shares)
        if self.config.architecture == "semi-conditional":
            assert isinstance(self.config, SemiConditionalConfig)
            flows = [
                SemiConditionalFlow.of_shape(
                    shape, classes, settings.levels, settings.depth, settings.hidden, dequantizer=dequantizer,
                    prior=prior,
                )
                for _ in range(self.config.members)
            ]  # fmt: skip
            return SemiConditionalEnsemble(flows, augment_images, fixed_augmentations) if image else SemiConditionalEnsemble(flows, noisy_values)
        share = 1.0 if self.config.architecture == "ccnf" else 0.5
        return InfoCNF(
            shape, classes, settings.levels, settings.depth, settings.hidden, share, dequantizer=dequantizer,
            prior=prior,
        )  # fmt: skip

    def initialise(self, flow: nn.Module, examples: Examples | ScanExamples, subject: Tensor) -> None:
        if isinstance(flow, SemiConditionalEnsemble) and isinstance(examples, Examples):
            flow.initialise(examples, subject)

    def parts(self, examples: Examples | ScanExamples, subject: pd.Series) -> tuple[Rows, Rows]:
        """Training rows, those with a label so often that they are a quarter of a batch; and the held-out ones."""
        label = _label(examples)
        validation = self._held_out(subject, label)
        known = (label >= 0).numpy()
        times = round(LABELLED / (1 - LABELLED) * (~known & ~validation).sum() / (known & ~validation).sum())
        rows = np.flatnonzero(~validation)
        return np.repeat(rows, np.where(known[rows], max(1, times), 1)), np.flatnonzero(validation)

    def describe(self) -> dict[str, Any]:
        return {"classes": self.classes.model_dump(), "threshold": self.threshold}

    def restore(self, facts: dict[str, Any]) -> None:
        self.classes, self.threshold = Classes.model_validate(facts["classes"]), float(facts["threshold"])

    def _held_out(self, subject: pd.Series, label: Tensor) -> NDArray[np.bool_]:
        return validation_of_each_class(
            list(subject), label.numpy(), self.config.training.validation_fraction, self.config.seed
        )

    def _judge(self, examples: Examples | ScanExamples, subject: pd.Series, fit: Fitted) -> None:
        """The threshold, and errors of held-out visits beside those of a logistic regression on the same labels."""
        label = _label(examples)
        validation, known = self._held_out(subject, label), (label >= 0).numpy()
        apart = some(examples, torch.from_numpy(np.flatnonzero(validation)))
        p, log_prob = self._answer(apart)
        _, of_trained = self._answer(some(examples, torch.from_numpy(np.flatnonzero(~validation))))
        self.threshold = float(min(np.quantile(log_prob, REFUSED), np.quantile(of_trained, REFUSED)))
        asked = known[validation]
        truth = label.numpy()[validation][asked]
        taught = some(examples, torch.from_numpy(np.flatnonzero(known & ~validation)))[:]
        other = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        other.fit(taught.x.flatten(1).numpy(), _label(taught).numpy())
        guess = other.predict(apart[torch.from_numpy(np.flatnonzero(asked))].x.flatten(1).numpy())
        self.metrics = {
            "validation_loss": fit.validation_loss, "epoch": fit.epoch, "visits": len(label),
            "labelled_visits": int(known.sum()),
            "validation_error": float((p.argmax(1)[asked] != truth).mean()),
            "validation_error_logistic_regression": float((guess != truth).mean()),
            "validation_labelled_visits": int(asked.sum()), "threshold": self.threshold,
        }  # fmt: skip

    @torch.no_grad()
    def _answer(self, examples: Examples | ScanExamples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``p(y | x) [visit, class]`` and ``log p(x) [visit]``, in nats and original units."""
        flow: Any = self.fitted()
        p, nats = [], []
        for batch in self.one_by_one(examples):
            nats.append(flow.log_prob(batch.x))
            p.append(flow.predict(batch.x))
        return torch.cat(p).double().numpy(), torch.cat(nats).double().numpy() - self.visits.log_scale


def _label(examples: Examples | ScanExamples) -> Tensor:
    label = examples.label
    return torch.full((len(examples),), UNKNOWN) if label is None else label
