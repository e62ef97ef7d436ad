"""CRow of a cohort's table: fit it, score visits, forecast subjects, simulate new ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter
from torch import Tensor

from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import Future, check_future, future_visits
from crow.data.filled import Filled
from crow.data.forecast import Forecast
from crow.data.sequences import Sequences
from crow.errors import ConfigError
from crow.flows.completion import complete
from crow.flows.ensemble import ROWS, FlowEnsemble
from crow.flows.published import PublishedCRow
from crow.memory import require_memory
from crow.models.base import FitOptions, Model, Training, name_of
from crow.representation.regions import RegionTable
from crow.run.config import Config
from crow.training.build import Initialisation, build_flow, build_published, resolve

if TYPE_CHECKING:
    from crow.training.ensemble import TrainedEnsemble

CHUNK = 256  # subjects scored at once
BYTES_PER_WEIGHT = 20  # with its gradient, both moments of Adam, and its average
BYTES_PER_DRAW = 40  # of a value, with the copies that computing it and its quantiles takes


class CRow(Model):
    """The conditional recurrent flow of a cohort's table.

    Attributes
    ----------
    table
        How visits become tensors: columns, scales, levels of covariates.
    initialisations
        How each member of the ensemble was initialised.

    See Also
    --------
    crow.models.base.Model : settings, saving and loading.

    Examples
    --------
    >>> cohort = crow.read_cohort("adni.csv")  # doctest: +SKIP
    >>> model = crow.CRow(seed=1, model={"members": 3}).fit(cohort, "run")  # doctest: +SKIP
    >>> model.forecast(cohort, visits).summary  # doctest: +SKIP
    """

    kind = "regions"
    command = "train"
    missing = "model"
    config: Config
    table: RegionTable

    def __init__(self, config: Config | None = None, **settings: Any) -> None:
        super().__init__(config, **settings)
        self.initialisations: list[Initialisation] = []

    @classmethod
    def settings_class(cls, settings: dict[str, Any]) -> type[Config]:
        return Config

    def fit(self, data: Cohort | pd.DataFrame, out: str | Path | None = None, **options: Unpack[FitOptions]) -> CRow:
        """Train on a cohort.

        Parameters
        ----------
        data
            A cohort, or a table as pandas reads it.
        out
            Where to write a run folder; nothing is written if it is None.
        **options
            `crow.models.base.FitOptions`.

        Returns
        -------
        CRow
            This model, fitted.

        Raises
        ------
        CohortError
            If the cohort cannot be learned from.
        OutputError
            If ``out`` exists already.
        """
        training = Training.at(out, **options)
        self.train(self.as_cohort(data), training)
        return self.finish(training)

    def train(self, cohort: Cohort, training: Training) -> None:
        """`fit` without the run folder's last step, for models that keep more than this one."""
        from crow.training.ensemble import fit_ensemble, fit_published  # Lightning takes seconds to import

        cohort.require_usable()
        learned, test = self.split(cohort)
        learned = replace(learned, visits=_observed(learned))
        self.table = RegionTable.fit(learned)
        if test:
            self.table.encode(_observed(cohort), f"{name_of(cohort)} (with the test subjects)")
        sequences, names = self._encode(learned, learned.visits), learned.split_names(learned.subjects)
        if self._requested.model.objective == "inn" and sequences.measured is not None:
            raise ConfigError(
                f"{name_of(cohort)}: model.objective inn needs every region at every visit. "
                "Choose --missing drop-visit or --missing impute."
            )
        self.config = resolve(self._requested, sequences)
        model = self.config.model
        width = int(model.hidden or 0)
        weights = model.members * model.blocks * 8.0 * width * (width + len(self.table.regions) + self.table.channels)
        what = f"{model.members:,} members of {model.blocks:,} blocks, {width:,} wide"
        require_memory(weights * BYTES_PER_WEIGHT, what, "Lower model.members, model.blocks or model.hidden.")
        training.begin(self.config)
        training.echo(
            f"training on {len(sequences)} subjects, {int(sequences.mask.sum())} visits, {len(self.table.regions)} "
            f"regions, {self.table.channels} context channels: {model.members} members, hidden width {model.hidden}, "
            f"at most {self.config.training.max_epochs} epochs"
        )
        where = training.folder, training.resume, training.progress
        if model.objective == "inn":
            self.flow, fit = fit_published(self.config, sequences, names, *where)
            self.log, self.interrupted = fit.history.assign(member=1), fit.interrupted
            self.metrics = {"validation_objective": fit.validation_loss, "epoch": fit.epoch}
        else:
            ensemble = fit_ensemble(self.config, sequences, names, *where, training.echo)
            self.flow, self.log, self.interrupted = ensemble.flow, ensemble.history, ensemble.interrupted
            self.initialisations = [m["initialisation"] for m in ensemble.members if m["included"]]
            self.metrics = self._metrics(ensemble, cohort, test, sequences)
            training.echo(_verdict(self.metrics))

    @torch.no_grad()
    def log_prob(self, data: Cohort | pd.DataFrame) -> pd.DataFrame:
        """Exact log-density of the values measured at each visit, given those measured before it.

        Parameters
        ----------
        data
            A cohort, or a table in the columns of the training.

        Returns
        -------
        pandas.DataFrame
            One row per visit: ``subject, session, time, log_prob`` (nats, in the table's own units). The sum over a
            subject's visits is the log-density of its sequence. Visits without a single region are left out. With
            ``missing="impute"`` filled values count as data, and it is not the density of what was measured.
        """
        cohort = self.as_cohort(data)
        ensemble, nats = self._ensemble(), []
        for part in self._chunks(cohort):
            nats.append((ensemble.log_prob(part).double() - self.table.log_scale_of(part))[part.mask])
        return _observed(cohort)[["subject", "session", "time"]].assign(log_prob=torch.cat(nats).numpy())

    def score(self, data: Cohort | pd.DataFrame, draws: int = 200, seed: int = 0) -> pd.DataFrame:
        """`log_prob`, and ``<region>_z``: how far each value lies from what the subject's past predicts.

        z = (value - mean) / sd, with mean and sd of ``draws`` draws of the visit given the observed visits before it;
        NaN for a missing value.
        """
        cohort = self.as_cohort(data)
        parts = [(part.x[part.mask], part.values()[part.mask]) for part in self._chunks(cohort)]
        x, measured = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        mean, sd = self.predict(cohort, draws, seed)
        z = (mean.rsub(self.table.decode(x)) / sd).where(measured.numpy())
        return pd.concat([self.log_prob(cohort), z.add_suffix("_z")], axis=1)

    @torch.no_grad()
    def predict(
        self, data: Cohort | pd.DataFrame, draws: int = 200, seed: int = 0
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Mean and sd of every visit given the observed visits before it: one row per visit, one column per region."""
        cohort, generator = self.as_cohort(data), torch.Generator().manual_seed(seed)
        rows = min(len(cohort), CHUNK * int(cohort.visits.groupby("subject").size().max()))
        size = rows * draws * (len(self.table.regions) + 4)
        require_memory(size * BYTES_PER_DRAW, f"{draws:,} draws of {rows:,} visits", "Lower --draws.")
        means, sds = [], []
        for part in self._chunks(cohort):
            mean, sd = self._ensemble().predict(part, draws, generator)
            means.append(self.table.decode(mean[part.mask]))
            sds.append(sd[part.mask].double().numpy() * np.array(self.table.sd))
        index, regions = _observed(cohort).index, self.table.regions
        mean_frame = pd.DataFrame(np.concatenate(means), index, regions)
        return mean_frame, pd.DataFrame(np.concatenate(sds), index, regions)

    def forecast(
        self,
        data: Cohort | pd.DataFrame,
        visits: pd.DataFrame,
        future: Future = "carry",
        draws: int = 200,
        seed: int = 0,
        path: bool = False,
    ) -> Forecast:
        """Draws of future visits, given all of each subject's visits so far.

        Each requested time is a question of its own: its answer does not depend on the other times that are requested.

        Parameters
        ----------
        data
            The subjects' visits so far: a cohort, or a table in the columns of the training.
        visits
            ``subject``, ``time`` (years since the subject's first visit) and the covariates that are known there.
        future
            What to assume of the other covariates: ``carry`` the last value forward, or extend the subject's own line
            (``linear``); see `crow.cohort.covariate_paths.future_visits`.
        draws, seed
            How many draws per visit; the same seed gives the same draws.
        path
            Draw a subject's visits together, each given the drawn one before it: draw k is then one trajectory.

        Returns
        -------
        Forecast
            Draws in the table's units, with their summary and plots.

        Raises
        ------
        CohortError
            For an unknown subject, and for a time that is not after the subject's last visit.
        """
        cohort, ensemble = self.as_cohort(data), self._ensemble()
        visits = visits.assign(subject=visits["subject"].astype(str)) if "subject" in visits else visits
        check_future(cohort, visits)
        ahead = future_visits(cohort, visits, future)
        self.table.require(cohort.visits, name_of(cohort))
        observed = _observed(cohort)
        history = observed[observed["subject"].isin(ahead["subject"])].sort_values(["subject", "time"])
        self.table.encode(ahead, "the visits to forecast")  # refuses what cannot be asked together, as a time twice
        size = len(ahead) * draws * (len(self.table.regions) + 4)
        require_memory(size * BYTES_PER_DRAW, f"{draws:,} draws of {len(ahead):,} visits", "Lower --draws.")
        values = np.empty((len(ahead), draws, len(self.table.regions)))
        has_history = ahead["subject"].isin(history["subject"]).to_numpy()
        question = np.zeros(len(ahead), int) if path else ahead.groupby("subject").cumcount().to_numpy()
        for known in (True, False):
            for k in np.unique(question):
                rows = (has_history == known) & (question == k)
                if not rows.any():
                    continue
                past = history[history["subject"].isin(ahead["subject"][rows])]
                before = self._encode(cohort, past) if known else None
                after = self.table.encode(ahead[rows], "the visits to forecast")
                drawn = ensemble.forecast(before, after, draws, torch.Generator().manual_seed(seed))
                values[rows] = self.table.decode(drawn.transpose(1, 2)[after.mask])
        return Forecast(ahead, self.table.regions, values, observed)

    def beyond(self, forecast: Forecast) -> str:
        """A warning if a forecast visit lies beyond twice the longest follow-up of the training; else empty."""
        asked, known = float(forecast.visits["time"].max()), self.table.follow_up
        if not known or asked <= 2 * known:
            return ""
        return (
            f"a forecast is for {asked:.1f} years after the first visit; the longest follow-up in training was "
            f"{known:.1f} years. Beyond twice that, it is an extrapolation that no subject supports."
        )

    @torch.no_grad()
    def fill(self, data: Cohort | pd.DataFrame, draws: int = 500, smooth: bool = False, seed: int = 0) -> Filled:
        """Draw the missing regions of every visit given what was measured.

        Parameters
        ----------
        data
            A cohort, or a table in the columns of the training.
        draws
            Particles per subject (`crow.flows.completion.complete`): more are nearer to the exact distribution.
        smooth
            Also use the later visits of the subject. Else only the visit itself and those before it.
        seed
            The same seed gives the same draws.
        """
        cohort = self.as_cohort(data)
        ensemble = self._ensemble()
        self.table.require(cohort.visits, name_of(cohort))
        visits = cohort.visits.reset_index(drop=True)
        lacking = visits[self.table.regions].isna().any(axis=1)
        own = visits[visits["subject"].isin(visits["subject"][lacking])]
        size = len(own) * draws * (len(self.table.regions) + 4)
        require_memory(size * BYTES_PER_DRAW, f"{draws:,} draws of {len(own):,} visits", "Lower --draws.")
        rows = np.flatnonzero(lacking)
        if not len(rows):
            empty = np.empty((0, draws, len(self.table.regions)))
            return Filled(visits, self.table.regions, rows, empty, np.empty(0), smooth)
        sequences, generator = self.table.encode(own, name_of(cohort)), torch.Generator().manual_seed(seed)
        values, effective = [], []
        step = max(1, ROWS // draws)
        for start in range(0, len(sequences), step):
            part = sequences[start : start + step]
            found = complete(ensemble, part, draws, generator)
            drawn = found.smoothed if smooth else found.filtered
            values.append(self.table.decode(drawn.transpose(1, 2)[part.mask]))
            effective.append(found.effective[part.mask].numpy())
        chosen = lacking[own.index].to_numpy()
        return Filled(
            visits, self.table.regions, rows, np.concatenate(values)[chosen], np.concatenate(effective)[chosen], smooth
        )

    def sample(self, paths: pd.DataFrame, draws: int = 1, seed: int = 0) -> Forecast:
        """Whole synthetic subjects: draws of all visits of ``paths`` (subject, time, age, every covariate)."""
        flow, generator = self.fitted(), torch.Generator().manual_seed(seed)
        visits = self.table.encode(paths.drop(columns=self.table.regions, errors="ignore"), "the covariate paths")
        if isinstance(flow, PublishedCRow):
            copies = visits.repeat(draws)
            drawn = flow.generate(copies.context, copies.mask, generator).unflatten(0, (-1, draws))
        else:
            drawn = flow.forecast(None, visits, draws, generator)
        return Forecast(paths, self.table.regions, self.table.decode(drawn.transpose(1, 2)[visits.mask]))

    def _metrics(
        self, ensemble: TrainedEnsemble, cohort: Cohort, test: list[str], sequences: Sequences
    ) -> dict[str, Any]:
        scale = float(self.table.log_scale_of(sequences).sum() / sequences.count)
        nats = ("validation", "out_of_sample", "mixed_model")
        metrics: dict[str, Any] = {
            "members": [{**m, **{name: m[name] + scale for name in nats}} for m in ensemble.members],
            "validation_nll_per_visit": ensemble.out_of_sample + scale,
            "mixed_model_nll_per_visit": ensemble.mixed_model + scale,
        }
        if test:
            visits = cohort.visits[cohort.visits["subject"].isin(test)]
            scores = self.log_prob(replace(cohort, visits=visits))
            metrics["test_subjects"], metrics["test_nll_per_visit"] = len(test), -float(scores["log_prob"].mean())
        return metrics

    def _encode(self, cohort: Cohort, visits: pd.DataFrame) -> Sequences:
        """Some visits of a cohort, whose missing values are missing unless they are to be imputed."""
        sequences = self.table.encode(visits, name_of(cohort))
        return replace(sequences, measured=None) if cohort.schema.missing == "impute" else sequences

    def _chunks(self, cohort: Cohort) -> Iterator[Sequences]:
        self._ensemble()
        self.table.require(cohort.visits, name_of(cohort))
        data = self._encode(cohort, _observed(cohort))
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]

    def _ensemble(self) -> FlowEnsemble:
        if isinstance(flow := self.fitted(), PublishedCRow):
            raise ConfigError(
                "This model was trained with the published objective (inn): it generates whole subjects from covariate "
                "paths, and has neither a likelihood nor a history. Train with model.objective=likelihood for those."
            )
        return cast(FlowEnsemble, flow)

    def build(self) -> FlowEnsemble | PublishedCRow:
        settings, features, channels = self.config.model, len(self.table.regions), self.table.channels
        if settings.objective == "inn":
            return build_published(settings, features, channels)
        return FlowEnsemble([build_flow(settings, features, channels, each) for each in self.initialisations])

    def describe(self) -> dict[str, Any]:
        return {"representation": self.table.model_dump(), "initialisations": self.initialisations}

    def restore(self, description: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.table = RegionTable.model_validate(description["representation"])
        self.initialisations = TypeAdapter(list[Initialisation]).validate_python(description["initialisations"])

    def summary(self) -> str:
        regions = f"{len(self.table.regions)} regions"
        if self.config.model.objective == "inn":
            return f"{regions}, published objective (inn)"
        nll = self.metrics["validation_nll_per_visit"]
        start = ", ".join(sorted(set(self.initialisations))).replace("_", " ")
        count = len(self.initialisations)
        return f"{regions}, {count} ensemble members ({start}), validation NLL {nll:.3f} nats per visit"

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{pd.DataFrame(self.metrics.get('members', [])).to_html(index=False)}"


def _observed(cohort: Cohort) -> pd.DataFrame:
    """The visits with at least one region; a subject's other visits still contribute times and covariates."""
    return cohort.visits[cohort.visits[cohort.regions].notna().any(axis=1)]


def _verdict(metrics: dict[str, Any]) -> str:
    """Whether the flow is worth more than the mixed model, by subjects that neither was fitted to."""
    gain = metrics["mixed_model_nll_per_visit"] - metrics["validation_nll_per_visit"]
    if gain <= 0:
        return "The flow does not improve on the mixed model out of sample: forecasts are those of the mixed model."
    return f"The flow improves on the mixed model by {gain:.3f} nats per visit out of sample."
