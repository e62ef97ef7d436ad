"""The model that users hold: fit a cohort, score it, forecast its subjects, simulate new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError
from torch import Tensor

from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import Future, check_future, future_visits
from crow.cohort.schema import Schema
from crow.cohort.split import test_subjects
from crow.data.forecast import Forecast
from crow.data.sequences import Sequences
from crow.errors import CohortError, ConfigError, RunError
from crow.flows.ensemble import FlowEnsemble
from crow.flows.published import PublishedCRow
from crow.representation.regions import RegionTable
from crow.run.config import Config
from crow.run.folder import Run, anonymous, crow_config, load_run, save_run, sha256, start_run
from crow.training.build import Initialisation, build_flow, build_published, resolve

CHUNK = 256  # subjects scored at once
FEWEST = 5  # subjects to learn from: one in each part that is held out


@dataclass(frozen=True)
class ScanParts:
    """What the same run keeps of the scans behind the regions: tensors (their names begin with ``scans.``), JSON."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)


class CRow:
    """The conditional recurrent flow of a cohort.

    ``CRow().fit(cohort)`` with the defaults, or with settings: ``CRow(seed=1, model={"members": 3})``, or a `Config`.
    After fitting, ``log_prob``, ``score``, ``forecast`` and ``sample`` answer; ``crow.load(run)`` gives a fitted one.

    Attributes: ``config`` (resolved once fitted), ``metrics`` and ``log`` of the training, ``interrupted`` (whether
    Ctrl-C ended it before its time).
    """

    def __init__(self, config: Config | None = None, **settings: Any) -> None:
        self.config = Config.model_validate(settings) if config is None else config
        self._asked = self.config
        self.flow: FlowEnsemble | PublishedCRow | None = None
        self.initialisations: list[Initialisation] = []
        self.metrics: dict[str, Any] = {}
        self.log = pd.DataFrame()
        self.interrupted = False
        self.scan_parts = ScanParts()

    def fit(
        self,
        cohort: Cohort,
        out: str | Path | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = False,
        echo: Callable[[str], None] = lambda line: None,
    ) -> CRow:
        """Train on a cohort; with ``out`` keep a run folder there (see `crow.run.folder`), which ``resume`` goes on with.

        Raises CohortError where the cohort cannot be learned from, OutputError where ``out`` exists.
        """
        from crow.training.ensemble import fit_ensemble, fit_published  # Lightning takes seconds to import

        cohort.require_usable()
        held_back = test_subjects(cohort, self._asked.split.test, self._asked.seed)
        observed = _observed(cohort)
        visits = observed[~observed["subject"].isin(held_back)]
        training = Cohort(visits, cohort.schema, cohort.start, cohort.findings, cohort.path)
        if (left := len(training.subjects)) < FEWEST:
            raise CohortError(f"{_name(cohort)}: {left} subjects are left to learn from; lower split.test.")
        self.table, self.schema = RegionTable.fit(training), cohort.schema
        if held_back:
            self.table.encode(observed, f"{_name(cohort)} (with the test subjects)")
        data, names = self.table.encode(visits, _name(cohort)), training.split_names(training.subjects)
        self.config = resolve(self._asked, data)
        folder = None if out is None else Path(out)
        if folder is not None and not resume:
            start_run(folder, self.config, overwrite)
        echo(
            f"training on {len(data)} subjects, {int(data.mask.sum())} visits, {len(self.table.regions)} regions, "
            f"{self.table.channels} context channels: {self.config.model.members} members, hidden width "
            f"{self.config.model.hidden}, at most {self.config.training.max_epochs} epochs"
        )
        self.source, self.findings = source(cohort), anonymous(cohort.findings)
        if self.config.model.objective == "inn":
            self.flow, fit = fit_published(self.config, data, names, folder, resume, progress)
            self.log, self.interrupted = fit.history.assign(member=1), fit.interrupted
            self.metrics = {"validation_objective": fit.validation_loss, "epoch": fit.epoch}
        else:
            ensemble = fit_ensemble(self.config, data, names, folder, resume, progress, echo)
            self.flow, self.log, self.interrupted = ensemble.flow, ensemble.history, ensemble.interrupted
            self.initialisations = [m["initialisation"] for m in ensemble.members if m["included"]]
            self.metrics = self._metrics(ensemble.members, cohort, held_back)
        if folder is not None:
            self._save(folder, finished=not self.interrupted)
        return self

    @torch.no_grad()
    def log_prob(self, cohort: Cohort) -> pd.DataFrame:
        """Exact log-density in nats, original units, of each visit given those before it.

        One row a visit: ``subject, session, time, log_prob``; the sum over a subject's visits is that of its sequence.
        Visits without a single region are left out.
        """
        values = [self._ensemble().log_prob(part)[part.mask] for part in self._chunks(cohort)]
        nats = torch.cat(values).double().numpy() - self.table.log_scale
        return _observed(cohort)[["subject", "session", "time"]].assign(log_prob=nats)

    def score(self, cohort: Cohort, samples: int = 200, seed: int = 0) -> pd.DataFrame:
        """`log_prob`, and per region ``<region>_z``: how far the value lies from what the subject's past predicts.

        z is (value - mean) / sd of ``samples`` draws of the visit given the real ones before it.
        """
        x = torch.cat([part.x[part.mask] for part in self._chunks(cohort)])
        mean, sd = self.predict(cohort, samples, seed)
        z = (mean.rsub(self.table.decode(x))) / sd
        return pd.concat([self.log_prob(cohort), z.add_suffix("_z")], axis=1)

    @torch.no_grad()
    def predict(self, cohort: Cohort, samples: int = 200, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Mean and sd of every visit given the real ones before it, a row a visit and a column a region, by draws."""
        generator = torch.Generator().manual_seed(seed)
        means, sds = [], []
        for part in self._chunks(cohort):
            mean, sd = self._ensemble().predict(part, samples, generator)
            means.append(self.table.decode(mean[part.mask]))
            sds.append(sd[part.mask].double().numpy() * np.array(self.table.sd))
        index, regions = _observed(cohort).index, self.table.regions
        mean_frame = pd.DataFrame(np.concatenate(means), index, regions)
        return mean_frame, pd.DataFrame(np.concatenate(sds), index, regions)

    def forecast(
        self, cohort: Cohort, visits: pd.DataFrame, future: Future = "carry", samples: int = 200, seed: int = 0
    ) -> Forecast:
        """Draws of the visits of ``visits`` given all of each subject's visits in ``cohort``.

        ``visits`` has ``subject``, ``time`` (years since the subject's first visit) and any covariates known there; the
        others follow ``future`` (`crow.cohort.covariate_paths.future_visits`). Raises CohortError for an unknown subject or a time that
        does not come after the subject's last visit.
        """
        pool = self._ensemble()
        check_future(cohort, visits)
        ahead = future_visits(cohort, visits, future)
        self.table.require(cohort.visits, _name(cohort))
        observed = _observed(cohort)
        history = observed[observed["subject"].isin(ahead["subject"])].sort_values(["subject", "time"])
        generator = torch.Generator().manual_seed(seed)
        values = np.empty((len(ahead), samples, len(self.table.regions)))
        seen = ahead["subject"].isin(history["subject"]).to_numpy()
        for known in (True, False):
            if (rows := seen == known).any():
                past = self.table.encode(history, "the history") if known else None
                coming = self.table.encode(ahead[rows], "the visits to forecast")
                draws = pool.forecast(past, coming, samples, generator)
                values[rows] = self.table.decode(draws.transpose(1, 2)[coming.mask])
        return Forecast(ahead, self.table.regions, values)

    def sample(self, paths: pd.DataFrame, samples: int = 1, seed: int = 0) -> Forecast:
        """Whole synthetic subjects: draws of all visits of ``paths`` (subject, time, age, every covariate)."""
        flow = self.flow if isinstance(self.flow, PublishedCRow) else self._ensemble()
        coming = self.table.encode(paths, "the covariate paths")
        generator = torch.Generator().manual_seed(seed)
        if isinstance(flow, PublishedCRow):
            copies = coming.repeat(samples)
            draws = flow.generate(copies.context, copies.mask, generator).unflatten(0, (-1, samples))
        else:
            draws = flow.forecast(None, coming, samples, generator)
        return Forecast(paths, self.table.regions, self.table.decode(draws.transpose(1, 2)[coming.mask]))

    def _save(self, folder: Path, finished: bool) -> None:
        description = {
            "representation": self.table.model_dump(),
            "schema": self.schema.model_dump(),
            "initialisations": self.initialisations,
            "cohort": self.source,
            **self.scan_parts.description,
        }
        assert self.flow is not None
        tensors = {**self.flow.state_dict(), **self.scan_parts.tensors}
        save_run(
            folder, Run(self.config, tensors, description, self.metrics, self.log, self.findings, finished)
        )

    def _metrics(self, members: list[dict[str, Any]], cohort: Cohort, held_back: list[str]) -> dict[str, Any]:
        scale = self.table.log_scale
        kept = [m for m in members if m["included"]]
        metrics: dict[str, Any] = {
            "members": [
                {**m, "validation": m["validation"] + scale, "mixed_model": m["mixed_model"] + scale} for m in members
            ],
            "validation_nll_per_visit": float(np.mean([m["validation"] for m in kept])) + scale,
            "mixed_model_nll_per_visit": float(np.mean([m["mixed_model"] for m in kept])) + scale,
        }
        if held_back:
            visits = cohort.visits[cohort.visits["subject"].isin(held_back)]
            test = self.log_prob(Cohort(visits, cohort.schema, cohort.start))
            metrics["test_subjects"], metrics["test_nll_per_visit"] = len(held_back), -float(test["log_prob"].mean())
        return metrics

    def _chunks(self, cohort: Cohort) -> Iterator[Sequences]:
        self._ensemble()
        self.table.require(cohort.visits, _name(cohort))
        data = self.table.encode(_observed(cohort), _name(cohort))
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]

    def _ensemble(self) -> FlowEnsemble:
        if isinstance(self.flow, PublishedCRow):
            raise ConfigError(
                "This model was trained with the published objective (inn): it generates whole subjects from covariate "
                "paths, and knows no likelihood and no history. Train with model.objective=likelihood for those."
            )
        if self.flow is None:
            raise RunError("This CRow is not fitted yet: call fit(cohort), or crow.load(run).")
        return self.flow

    def __repr__(self) -> str:
        if self.flow is None:
            return "CRow, not fitted yet"
        if isinstance(self.flow, PublishedCRow):
            return f"CRow of {len(self.table.regions)} regions, published objective (inn)"
        members = f"{len(self.initialisations)} flows ({', '.join(sorted(set(self.initialisations)))} start)"
        nll = self.metrics["validation_nll_per_visit"]
        return f"CRow of {len(self.table.regions)} regions, {members}, held-out NLL {nll:.3f} nats a visit"

    def _repr_html_(self) -> str:
        rows = pd.DataFrame(self.metrics.get("members", []))
        return f"<p>{self!r}</p>{rows.to_html(index=False)}"


def load_crow(folder: str | Path) -> CRow:
    """The fitted flow of a run folder; raises RunError where the folder is not whole. Runs no code from it."""
    run = load_run(folder)
    model = CRow(crow_config(folder, run.config))
    try:
        model.table = RegionTable.model_validate(run.description["representation"])
        model.schema = Schema.model_validate(run.description["schema"])
        model.initialisations, model.source = run.description["initialisations"], run.description["cohort"]
    except (KeyError, ValidationError):
        raise RunError(f"{folder}: model.json does not describe a model of crow. Restore the folder.") from None
    model.metrics, model.log, model.findings = run.metrics, run.log, run.findings
    scans = {name: tensor for name, tensor in run.tensors.items() if name.startswith("scans.")}
    model.scan_parts = ScanParts(scans, {"scans": run.description["scans"]} if "scans" in run.description else {})
    try:
        model.flow = _built(model).eval()
        model.flow.load_state_dict({name: tensor for name, tensor in run.tensors.items() if name not in scans})
    except (RuntimeError, ValueError, ConfigError):
        raise RunError(f"{folder}: the tensors do not fit the settings in config.yaml. Restore the folder.") from None
    return model


def _built(model: CRow) -> FlowEnsemble | PublishedCRow:
    """The flow that a model's settings and columns ask for, without its weights."""
    settings, features, channels = model.config.model, len(model.table.regions), model.table.channels
    if settings.objective == "inn":
        return build_published(settings, features, channels)
    return FlowEnsemble([build_flow(settings, features, channels, start) for start in model.initialisations])


def _observed(cohort: Cohort) -> pd.DataFrame:
    """The visits with a value of at least one region; a subject's other visits still tell its times and covariates."""
    return cohort.visits[cohort.visits[cohort.regions].notna().any(axis=1)]


def _name(cohort: Cohort) -> str:
    return cohort.path or "the cohort"


def source(cohort: Cohort) -> dict[str, str]:
    """Where the table is and its digest; nothing for a cohort that is in no file."""
    if cohort.path is None or not Path(cohort.path).is_file():
        return {}
    return {"path": str(Path(cohort.path).resolve()), "sha256": sha256(cohort.path)}
