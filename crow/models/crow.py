"""CRow of a cohort's table: fit it, score visits, forecast subjects, simulate new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter
from torch import Tensor

from crow.cohort.cohort import Cohort
from crow.cohort.covariate_paths import Future, check_future, future_visits, without_carried
from crow.data.filled import Filled
from crow.data.forecast import Forecast
from crow.data.sequences import Sequences
from crow.data.sides import other_side
from crow.errors import ConfigError
from crow.flows.crow import CRowFlow
from crow.flows.ensemble import ROWS, FlowEnsemble
from crow.flows.gross_errors import gross_errors
from crow.flows.published import PublishedCRow
from crow.memory import require_memory
from crow.models.base import Echo, FitOptions, Model, Training, name_of
from crow.models.ensemble_at_sites import EnsembleAtSites
from crow.models.training_report import (
    MANY_REGIONS,
    errors_found,
    many_regions,
    require_one_device,
    require_training_memory,
    verdict,
)
from crow.representation.regions import RegionTable
from crow.representation.site_effects import SiteEffects
from crow.run.config import Config
from crow.training.build import Initialisation, build_flow, build_published, resolve
from crow.training.site_effects import SiteData, empty_mixed_model

if TYPE_CHECKING:
    from crow.training.ensemble import TrainedEnsemble

CHUNK = 256  # subjects scored at once
BYTES_PER_DRAW = 40  # of a value, with the copies that computing it and its quantiles takes
MAX_AGE = 122  # years
SITES = "sites."  # prefix of the tensors of their mixed model
CrossFitted = Callable[[Tensor], Sequences]


class CRow(Model):
    """The conditional recurrent flow of a cohort's table.

    Attributes
    ----------
    table
        How visits become tensors: columns, scales, levels of covariates.
    initialisations
        How each member of the ensemble was initialised.
    site_mixed
        The mixed model of visits without the effects of their sites; None without such effects.

    See Also
    --------
    crow.models.base.Model : settings, saving and loading.

    Examples
    --------
    >>> import crow
    >>> cohort = crow.read_cohort("adni.csv")
    >>> quick = {"max_epochs": 2, "steps_per_epoch": 2}  # the defaults train until nothing improves
    >>> model = crow.CRow(seed=1, model={"members": 1}, training=quick).fit(cohort, "run")
    >>> last = cohort.visits.groupby("subject").tail(1)
    >>> future = last.assign(time=last["time"] + 2, age=last["age"] + 2)
    >>> forecast = model.forecast(cohort, future, draws=50)
    >>> forecast.values.shape  # visits, draws, regions
    (24, 50, 3)
    >>> list(forecast.long)[:5]
    ['subject', 'time', 'age', 'region', 'median']
    >>> model.log_prob(cohort).shape == (len(cohort), 4)
    True
    """

    kind = "regions"
    command = "train"
    missing = "model"
    config: Config
    table: RegionTable

    def __init__(self, config: Config | None = None, **settings: Any) -> None:
        super().__init__(config, **settings)
        self.initialisations: list[Initialisation] = []
        self.site_mixed: CRowFlow | None = None

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

    def train(self, cohort: Cohort, training: Training, changes: bool = False) -> None:
        """`fit` without the run folder's last step, for models that keep more than this one.

        ``changes``: the values are changes since a subject's first visit, at time 0.
        """
        from crow.training.ensemble import fit_ensemble, fit_published  # Lightning takes seconds to import

        cohort.require_usable()
        learned, test = self.split(cohort)
        learned = replace(learned, visits=learned.measured_visits)
        self.table = RegionTable.fit(learned, site_effects=True, changes=changes)
        sequences = self.encode(learned, learned.visits)
        self.table.drift = self.table.fit_drift(learned, sequences)
        if test:
            self.table.encode(cohort.measured_visits, f"{name_of(cohort)} (with the test subjects)")
        names = learned.split_names(learned.subjects)
        if self._requested.model.objective == "inn" and sequences.measured is not None:
            raise ConfigError(
                f"{name_of(cohort)}: model.objective inn needs every region at every visit. "
                "Choose --missing drop-visit or --missing impute."
            )
        self.config = resolve(self._requested, sequences)
        require_one_device(self.config.training)
        model, regions = self.config.model, len(self.table.regions)
        require_training_memory(model, regions, self.table.channels)
        training.begin(self.config)
        if regions > MANY_REGIONS:
            training.echo(many_regions(regions))
        training.echo(
            f"training on {len(sequences)} subjects, {int(sequences.mask.sum())} visits, {len(self.table.regions)} "
            f"regions, {self.table.channels} context channels: {model.members} members, hidden width {model.hidden}, "
            f"at most {self.config.training.max_epochs} epochs"
        )
        where = training.folder, training.resume, training.progress
        sites = self._fit_sites(learned, sequences, training.echo)
        if sites is not None:
            sequences = self.encode(learned, learned.visits)
        if model.objective == "inn":
            self.flow, fit = fit_published(self.config, sequences, names, *where)
            self.log, self.interrupted = fit.history.assign(member=1), fit.interrupted
            self.metrics = {"validation_objective": fit.validation_loss, "epoch": fit.epoch}
        else:
            sides = other_side(self.table.regions) if changes else None
            ensemble = fit_ensemble(
                self.config, sequences, names, *where, training.echo, self.table.bounds, sites, sides,
                training.jobs,
            )  # fmt: skip
            self.flow, self.log, self.interrupted = ensemble.flow, ensemble.history, ensemble.interrupted
            self.flow.set_follow_up(self.table.follow_up)
            self.flow.drift = self.table.drift
            self.initialisations = [m["initialisation"] for m in ensemble.members if m["included"]]
            scale = float(self.table.log_scale_of(sequences, learned.visits).sum() / sequences.count)
            self.metrics = self._metrics(ensemble, cohort, test, scale)
            if (counts := ensemble.gross_errors.sum((0, 1))).any():
                self.metrics["gross_errors"] = dict(zip(self.table.regions, counts.tolist(), strict=True))
                training.echo(errors_found(self.metrics["gross_errors"]))
            training.echo(verdict(self.metrics))

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
        cohort, density, nats = self.as_cohort(data), self._density(), []
        for part, visits in self._chunks(cohort):
            log_prob = density.log_prob(part, visits).double() - self.table.log_scale_of(part, visits)
            nats.append(log_prob[part.mask])
        return cohort.measured_visits[["subject", "session", "time"]].assign(log_prob=torch.cat(nats).numpy())

    def score(self, data: Cohort | pd.DataFrame, draws: int = 200, seed: int = 0) -> pd.DataFrame:
        """`log_prob`, and ``<region>_z``: how far each value lies from what the subject's past predicts.

        z = (value - mean) / sd, with mean and sd of ``draws`` draws of the visit given the observed visits before it;
        NaN for a missing value.
        """
        cohort = self.as_cohort(data)
        mean, sd = self.predict(cohort, draws, seed)
        observed = cohort.measured_visits
        sequences = self.encode(cohort, observed)
        values = self.table.decode(sequences.x[sequences.mask], observed)
        z = (mean.rsub(values) / sd).where(sequences.values()[sequences.mask].numpy())
        return pd.concat([self.log_prob(cohort), z.add_suffix("_z")], axis=1)

    @torch.no_grad()
    def gross_errors(self, data: Cohort | pd.DataFrame) -> pd.DataFrame:
        """Values that lie so far from what the subject's other visits predict that they are errors, not measurements.

        Forecasts, z-scores and later visits take them for missing, and they have a density of their own
        (`crow.flows.gross_errors`).

        Parameters
        ----------
        data
            A cohort, or a table in the columns of the training.

        Returns
        -------
        pandas.DataFrame
            One row per value: ``subject, session, time, region, value``, and ``expected`` (the median of the training).

        Raises
        ------
        CohortError
            If a region is in other units than in the training.
        """
        cohort = self.as_cohort(data)
        visits = cohort.measured_visits
        first = cast(Any, self.ensemble().members[0])
        found = [gross_errors(first, part)[part.mask] for part, _ in self._chunks(cohort)]
        row, region = np.nonzero(torch.cat(found).numpy())
        regions = np.array(self.table.regions, dtype=object)
        return visits[["subject", "session", "time"]].iloc[row].reset_index(drop=True).assign(
            region=regions[region], value=visits[self.table.regions].to_numpy(float)[row, region],
            expected=np.array(self.table.median)[region],
        )  # fmt: skip

    @torch.no_grad()
    def predict(
        self, data: Cohort | pd.DataFrame, draws: int = 200, seed: int = 0
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Mean and sd of every visit given the observed visits before it: one row per visit, one column per region."""
        density, cohort, generator = self._density(), self.as_cohort(data), torch.Generator().manual_seed(seed)
        rows = min(len(cohort), CHUNK * int(cohort.visits.groupby("subject").size().max()))
        self.require_memory(draws, rows)
        means, sds = [], []
        for part, visits in self._chunks(cohort):
            mean, sd = density.predict(part, visits, draws, generator)
            means.append(self.table.decode(mean[part.mask], visits))
            sds.append(self.table.decode_sd(mean[part.mask], sd[part.mask], visits))
        index, regions = cohort.measured_visits.index, self.table.regions
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
            (``linear``); see `crow.cohort.covariate_paths.future_visits`. Draws include how covariates that are carried
            forward change in that time.
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
        cohort, density = self.as_cohort(data), self._density()
        visits = visits.assign(subject=visits["subject"].astype(str)) if "subject" in visits else visits
        check_future(cohort, visits)
        ahead = future_visits(cohort, visits, future)
        self.table.require(cohort.visits, name_of(cohort))
        observed = cohort.measured_visits
        history = observed[observed["subject"].isin(ahead["subject"])].sort_values(["subject", "time"])
        self.table.encode(ahead, "the visits to forecast")  # refuses what cannot be asked together, as a time twice
        self.require_memory(draws, len(ahead))
        values = np.empty((len(ahead), draws, len(self.table.regions)))
        has_history = ahead["subject"].isin(history["subject"]).to_numpy()
        question = np.zeros(len(ahead), int) if path else ahead.groupby("subject").cumcount().to_numpy()
        for known in (True, False):
            for k in np.unique(question):
                rows = (has_history == known) & (question == k)
                if not rows.any():
                    continue
                past = history[history["subject"].isin(ahead["subject"][rows])]
                before = (self.encode(cohort, past), past) if known else None
                after = self.table.encode(ahead[rows], "the visits to forecast")
                generator = torch.Generator().manual_seed(seed)
                drawn = density.forecast(before, (after, ahead[rows]), draws, generator)
                values[rows] = self.table.draws(drawn.transpose(1, 2)[after.mask], ahead[rows])
        units = {} if self.schema is None else self.schema.units
        visits = without_carried(ahead)
        return Forecast(visits, self.table.regions, values, observed, self.table.follow_up, units)

    def beyond(self, forecast: Forecast) -> str:
        """A warning about visits beyond twice the longest follow-up of the training and impossible ages, or nothing."""
        asked, known = float(forecast.visits["time"].max()), self.table.follow_up
        warnings = []
        if known and asked > 2 * known:
            warnings.append(
                f"a forecast is for {asked:.1f} years after the first visit, which is an extrapolation that no subject "
                f"supports: the longest follow-up in training was {known:.1f} years."
            )
        if (age := float(forecast.visits["age"].max())) > MAX_AGE:
            warnings.append(
                f"a forecast is for an age of {age:.1f} years; no human is known to have lived longer than {MAX_AGE}."
            )
        return "\n".join(warnings)

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
        density = self._density()
        self.table.require(cohort.visits, name_of(cohort))
        visits = cohort.visits.reset_index(drop=True)
        lacking = visits[self.table.regions].isna().any(axis=1)
        own = visits[visits["subject"].isin(visits["subject"][lacking])]
        self.require_memory(draws, len(own))
        rows = np.flatnonzero(lacking)
        if not len(rows):
            empty = np.empty((0, draws, len(self.table.regions)))
            return Filled(visits, self.table.regions, rows, empty, np.empty(0), smooth)
        sequences, generator = self.table.encode(own, name_of(cohort)), torch.Generator().manual_seed(seed)
        values, effective, subject = [], [], pd.factorize(own["subject"])[0]
        step = max(1, ROWS // draws)
        for start in range(0, len(sequences), step):
            part = sequences[start : start + step]
            theirs = own[(subject >= start) & (subject < start + step)]
            found = density.complete(part, theirs, draws, generator)
            drawn = found.smoothed if smooth else found.filtered
            values.append(self.table.draws(drawn.transpose(1, 2)[part.mask], theirs))
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
            drawn = self._density().forecast(None, (visits, paths), draws, generator)
        return Forecast(paths, self.table.regions, self.table.draws(drawn.transpose(1, 2)[visits.mask], paths))

    def _metrics(self, ensemble: TrainedEnsemble, cohort: Cohort, test: list[str], scale: float) -> dict[str, Any]:
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

    def encode(self, cohort: Cohort, visits: pd.DataFrame) -> Sequences:
        """Some visits of a cohort, whose missing values are missing unless they are to be imputed."""
        sequences = self.table.encode(visits, name_of(cohort))
        return replace(sequences, measured=None) if cohort.schema.missing == "impute" else sequences

    def _chunks(self, cohort: Cohort) -> Iterator[tuple[Sequences, pd.DataFrame]]:
        """Some subjects at a time, as sequences and as visits."""
        self.table.require(cohort.visits, name_of(cohort))
        visits = cohort.measured_visits
        data, subject = self.encode(cohort, visits), pd.factorize(visits["subject"])[0]
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK], visits[(subject >= start) & (subject < start + CHUNK)]

    def _fit_sites(self, learned: Cohort, data: Sequences, echo: Echo) -> CrossFitted | None:
        """Estimate the effects of sites and scanners, if there are any, for ``table`` to remove."""
        columns = [name for name in learned.schema.sites if name in learned.visits]
        sites = SiteEffects.of(learned.visits, columns)
        if sites is None:
            return None
        scale = self.table.site_scale
        if not bool(scale.has_effects.any()):
            return None
        self.table.sites = sites.without_effects(len(self.table.regions))
        site_data = SiteData(data, self.table.site_codes(learned.visits, data), sites.counts, scale)
        found = site_data.estimate()
        self.table.sites, self.site_mixed = sites.with_effects(found.effects), found.mixed
        echo(self.table.sites.summary())
        return partial(site_data.cross_fitted, start=found.effects)

    def require_memory(self, draws: int, visits: int) -> None:
        """Raise ConfigError if so many draws of so many visits do not fit into memory."""
        size = visits * draws * (len(self.table.regions) + 4)
        require_memory(size * BYTES_PER_DRAW, f"{draws:,} draws of {visits:,} visits", "Lower --draws.")

    def _density(self) -> EnsembleAtSites:
        ensemble = self.ensemble()
        return EnsembleAtSites(self.table, ensemble, self.site_mixed)

    def ensemble(self) -> FlowEnsemble:
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
        ensemble = FlowEnsemble([build_flow(settings, features, channels, each) for each in self.initialisations])
        ensemble.set_follow_up(self.table.follow_up)
        ensemble.drift = self.table.drift
        return ensemble

    def tensors(self) -> dict[str, Tensor]:
        state = {} if self.site_mixed is None else self.site_mixed.state_dict()
        return {SITES + name: t for name, t in state.items() if name.startswith(("mixed.", "time_scale"))}

    def describe(self) -> dict[str, Any]:
        return {"representation": self.table.model_dump(), "initialisations": self.initialisations}

    def restore(self, description: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.table = RegionTable.model_validate(description["representation"])
        self.initialisations = TypeAdapter(list[Initialisation]).validate_python(description["initialisations"])
        if self.table.sites is not None:
            regions = int(self.table.site_scale.has_effects.sum())
            self.site_mixed = empty_mixed_model(regions, self.table.channels).eval()
            own = {n.removeprefix(SITES): t for n, t in tensors.items() if n.startswith(SITES)}
            self.site_mixed.load_state_dict(own, strict=False)

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
