"""Another modality, or other regions, of the same visit: draws, not one answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crow.bijections.affine import Standardise, mark_initialised
from crow.bijections.chain import Chain
from crow.bijections.dequantize import UniformDequantizer
from crow.bijections.principal import PrincipalComponents
from crow.bijections.regression import Regression
from crow.cohort.cohort import Cohort
from crow.cohort.options import some_columns
from crow.data.draws import median_of, sd_of
from crow.data.examples import Examples
from crow.errors import CohortError
from crow.flows.base import DiscreteFlow
from crow.flows.cinn import CINN, FEATURES, PATCH_FEATURES
from crow.flows.image_initialisation import initialise_images
from crow.flows.predictor import Predictor
from crow.memory import require_draws
from crow.models.base import MIN_SUBJECTS, FitOptions, Training
from crow.models.cross_sectional import CHUNK, CrossSectionalModel, Data
from crow.models.patch_training import train_by_patches
from crow.representation.cross_sectional import (
    GREYS,
    RegionInputs,
    ScanExamples,
    ScanInputs,
    Visits,
    cohort_of,
    inputs_from_saved,
)
from crow.representation.pairs import ScanPairs, pair, standardised
from crow.run.cross_sectional_config import CINNConfig
from crow.scans.store import ScanStore
from crow.training.calibrate import calibrate_temperature
from crow.training.fit import Fitted
from crow.training.members import seeded

SOURCE = "source."  # of the tensors of the source's representation
AT_ONCE = 2**19  # voxels of draws computed together
SCANS_FOR_ERROR, PAIRS = 12, 4  # of draws each, for the error of validation scans


@dataclass(frozen=True)
class Translation:
    """What the target of one visit may be.

    Attributes
    ----------
    visit
        The row of the visit in ``Cohort.visits``.
    samples
        Draws ``[n, X, Y, Z]`` of a scan, or ``[n, region]``, in original units.
    """

    visit: pd.Series
    samples: NDArray[np.float32]

    @property
    def median(self) -> NDArray[np.float32]:
        return median_of(self.samples)

    @property
    def sd(self) -> NDArray[np.float32]:
        return sd_of(self.samples)


class Translator(CrossSectionalModel):
    """The conditional invertible network (``architecture="cinn"``) from one modality of a visit to another.

    The modalities are two stores of the same subjects on one grid, or regions of one table.

    Attributes
    ----------
    inputs, given
        How tensors represent the target and the source.

    Examples
    --------
    >>> import crow
    >>> training = {"max_epochs": 1, "steps_per_epoch": 2}  # to be quick: the defaults train until nothing improves
    >>> model = crow.Translator(seed=1, training=training, pretrain_epochs=1)
    >>> cohort = crow.read_cohort("adni.csv")
    >>> model = model.fit(cohort, source=["Hippocampus"], target=["Ventricles", "Entorhinal"])
    >>> model.sample(cohort, n=4, seed=1).shape  # draws, visits, regions
    (4, 96, 2)

    Scans are translated in the same way:

    >>> pet, t1w = crow.ScanStore.open("pet"), crow.ScanStore.open("t1w")
    >>> flow = {"levels": 1, "depth": 1, "hidden": 4}
    >>> model = crow.Translator(seed=1, training=training, flow=flow, pretrain_epochs=1).fit(pet, t1w)
    >>> next(model.translate(t1w, n=2)).samples.shape
    (2, 6, 8, 8)
    """

    kind = command = "translate"
    config: CINNConfig
    given: RegionInputs | ScanInputs

    def __init__(self, config: CINNConfig | None = None, **settings: Any) -> None:
        super().__init__(config, **settings)
        self.trunk: dict[str, Tensor] | None = None

    def fit(
        self,
        data: Data,
        source: ScanStore | Sequence[str],
        target: Sequence[str] = (),
        out: str | Path | None = None,
        **options: Unpack[FitOptions],
    ) -> Translator:
        """Train on the visits that have both source and target.

        Parameters
        ----------
        data
            The store of the target scans, or a table.
        source
            The store of the source scans, or names or patterns of the table's regions.
        target
            Names or patterns of the table's regions; all that are not in ``source`` if it is empty.
        out
            Where to write a run folder; nothing is written if it is None.
        **options
            `crow.models.base.FitOptions`.

        Raises
        ------
        CohortError
            If there is nothing to learn from, for grids that differ, and for regions that are both.
        OutputError
            If ``out`` exists already.
        """
        training, data = Training.at(out, **options), self.open(data)
        _, visits = self.training_visits(data)
        examples: Examples | ScanExamples
        if isinstance(data, ScanStore):
            assert isinstance(source, ScanStore)
            rows = pair(data, source)
            visits = visits[visits.index.isin(rows.index)]
            self._require(visits, f"{data.path} and {source.path}")
            self.inputs, self.given = self._scans(data, source, visits, rows)
            examples = self.pairs_of(data, source, visits)
        else:
            assert not isinstance(source, ScanStore)
            names = _sides(data, source, target)
            given, wanted = (RegionInputs.fit(_only(data, part), visits) for part in names)
            self.given, self.inputs = given, wanted
            examples = wanted.examples(data, visits, given.examples(data, visits).x)
        subjects = visits["subject"].nunique()
        training.echo(
            f"training {self.config.architecture} on {len(visits)} visits of {subjects} subjects: "
            f"{self.given} to {self.inputs}"
        )
        if self.config.images.patch and isinstance(examples, ScanExamples):
            fit = self._train_by_patches(examples, visits["subject"], training)
        else:
            if self.config.pretrain_epochs:
                self._pretrain_conditioning(examples, visits["subject"], training)
            fit = self.train_flow(examples, visits["subject"], training)
        self.metrics = {"validation_loss": fit.validation_loss, "epoch": fit.epoch, "visits": len(visits)}
        if isinstance(self.inputs, RegionInputs):
            self.metrics["validation_nll_per_visit"] = fit.validation_loss + self.inputs.log_scale
        else:
            self.metrics["validation_bits_per_dim"] = fit.validation_loss / np.log(2) / int(np.prod(self.inputs.shape))
        self.extra = {f"{SOURCE}{name}": tensor for name, tensor in self.given.tensors().items()}
        return self.finish(training)

    @torch.no_grad()
    def log_prob(self, data: Data, source: ScanStore | None = None) -> pd.DataFrame:
        """Log-density of each visit's target given its source: ``subject, session, time, log_prob``, in nats.

        Of regions exact and in original units; of scans (with their ``source``) that of their grey levels, a lower
        bound, dequantised with seed 0. Visits that lack one of the two are left out.
        """
        flow, data = self.fitted(), self.open(data)
        visits = cohort_of(data).visits
        examples: Examples | ScanExamples
        if isinstance(self.inputs, ScanInputs):
            self.inputs.check(data)
            assert isinstance(data, ScanStore) and source is not None
            visits = visits.loc[pair(data, source).index]
            examples = self.pairs_of(data, source, visits)
        else:
            assert isinstance(self.given, RegionInputs)
            examples = self.inputs.examples(data, visits, self.given.examples(data, visits).x)
        nats = [flow.log_prob(batch.x, batch.context) for batch in self.in_order(examples)]
        log_prob = torch.cat(nats).double().numpy() - self.inputs.log_scale
        return visits[["subject", "session", "time"]].assign(log_prob=log_prob)

    def sample(self, source: Data, n: int = 8, seed: int = 0) -> NDArray[np.float32]:
        """Draws per visit: ``[n, visit, X, Y, Z]`` on the grid of ``inputs.affine``, or ``[n, visit, region]``."""
        return np.stack([one.samples for one in self.translate(source, n, seed)], 1)

    def translate(self, source: Data, n: int = 8, seed: int = 0) -> Iterator[Translation]:
        """``n`` draws for every visit of ``source``, one visit at a time.

        In intensities of prepared scans, or in units of the table. Raises CohortError for a source that the run was not
        trained on.
        """
        flow, source = self.fitted(), self.open(source)
        visits = cohort_of(source).visits
        together = min(len(visits), self._chunk)
        require_draws(n, (together, *self.inputs.shape), f"{together} visits" if together > 1 else "a visit")
        if isinstance(self.given, ScanInputs):
            self.given.check(source)
        else:
            contexts = self.given.examples(source, visits).x
        generator = torch.Generator().manual_seed(seed)
        for part in torch.arange(len(visits)).split(self._chunk):
            if isinstance(self.given, ScanInputs):
                assert isinstance(source, ScanStore)
                context = standardised(self.given, source, visits.index.to_numpy()[part.numpy()])
            else:
                context = contexts[part]
            step = max(1, AT_ONCE // int(np.prod(self.inputs.shape))) if self.uses_scans else n
            counts = [min(step, n - k) for k in range(0, n, step)]
            drawn = torch.cat([flow.sample(context, count, generator) for count in counts])
            for place, k in enumerate(part.tolist()):
                samples = np.asarray(self.inputs.decode(drawn[:, place]), np.float32)
                yield Translation(visits.iloc[k], samples)

    def pairs_of(self, target: ScanStore, source: ScanStore, visits: Visits) -> ScanPairs:
        """What the flow sees of ``visits`` of the target's store, each of which the source's store has too."""
        assert isinstance(self.inputs, ScanInputs) and isinstance(self.given, ScanInputs)
        return ScanPairs.of(self.inputs, target, visits, self.given, source, pair(target, source))

    def build(self) -> nn.Module:
        settings = self.config.flow
        shape, context = self.inputs.shape, self.given.shape
        levels = settings.levels if len(shape) > 1 else 1
        features = PATCH_FEATURES if len(shape) > 1 and self.config.images.patch else FEATURES
        flow = CINN(shape, context, levels, settings.depth, settings.hidden, features)
        if self.trunk is not None:
            flow.h.trunk.load_state_dict(self.trunk)
            if self.config.freeze_conditioning:
                flow.h.freeze()
        if isinstance(self.inputs, RegionInputs):
            return flow
        standard = Standardise(torch.zeros(shape), torch.ones(shape))
        flow.bijection = Chain([standard, PrincipalComponents(shape), flow.bijection])
        return DiscreteFlow(flow, UniformDequantizer(GREYS))

    def initialise(self, flow: nn.Module, examples: Examples | ScanExamples, subject: Tensor) -> None:
        """Fit the linear regression on the source, and the principal components of what that leaves.

        Regions depend on all regions of the source, a voxel on the same voxel.
        """
        parts = list(flow.modules())
        for module in parts:
            if isinstance(module, Regression):
                assert isinstance(examples, Examples) and examples.context is not None
                module.fit(examples.x, examples.context, subject)
            elif isinstance(module, Standardise):
                components = next(part for part in parts if isinstance(part, PrincipalComponents))
                initialise_images(module, components, examples, GREYS, subject)
        mark_initialised(flow)  # what is left has mean 0 and sd 1 already

    def calibrate(self, flow: nn.Module, validation: Iterator[Examples]) -> None:
        calibrate_temperature(flow, validation)

    def describe_more(self) -> dict[str, Any]:
        return {"source": self.given.describe()}

    def restore_more(self, description: dict[str, Any]) -> None:
        own = {name.removeprefix(SOURCE): t for name, t in self.extra.items() if name.startswith(SOURCE)}
        self.given = inputs_from_saved(own, description["source"])

    @property
    def _chunk(self) -> int:
        return 1 if self.uses_scans else CHUNK

    def _require(self, visits: Visits, where: str) -> None:
        if (count := visits["subject"].nunique()) < MIN_SUBJECTS:
            raise CohortError(f"{where}: {count} subjects have both scans; at least {MIN_SUBJECTS} are needed.")

    def _scans(
        self, data: ScanStore, source: ScanStore, visits: Visits, rows: pd.Series
    ) -> tuple[ScanInputs, ScanInputs]:
        images, levels = self.config.images, self.config.flow.levels
        given = source.cohort().visits.loc[rows.loc[visits.index]]
        return ScanInputs.fit(data, visits, images, levels), ScanInputs.fit(source, given, images, levels)

    def _train_by_patches(self, examples: ScanExamples, subject: pd.Series, training: Training) -> Fitted:
        self.uses_scans = True
        with seeded(self.config.seed, 0):
            whole = self.build()
        assert isinstance(whole, DiscreteFlow) and isinstance(whole.flow.bijection, Chain)
        standard, components, stack = whole.flow.bijection.bijections

        def residual(batch: Examples) -> tuple[Tensor, Tensor]:
            assert batch.context is not None
            v, _ = whole.dequantizer(batch.x)
            return components(standard(v, batch.context)[0])[0], batch.context

        return train_by_patches(
            self, whole, residual, stack, examples, subject, training, self._crps  # type: ignore[arg-type]
        )

    @torch.no_grad()
    def _crps(self, examples: ScanExamples) -> float:
        """Mean CRPS of voxels for some scans, in grey levels: ``E|x - y| - E|x - x'| / 2`` of pairs of draws x, x'."""
        flow, inside = self.fitted(), torch.from_numpy(examples.visits.mask)
        some = torch.arange(len(examples))[:: max(1, len(examples) // SCANS_FOR_ERROR)][:SCANS_FOR_ERROR]
        found, generator = [], torch.Generator().manual_seed(self.config.seed)
        for batch in self.in_order(examples.subset(some)):
            truth = batch.x[:, 0, inside]
            for _ in range(PAIRS):
                one, other = (flow.sample(batch.context, 1, generator)[0][:, 0, inside] for _ in range(2))
                error = ((one - truth).abs() + (other - truth).abs() - (one - other).abs()) / 2
                found.append(error.mean())
        return float(torch.stack(found).mean())

    def _pretrain_conditioning(self, examples: Examples | ScanExamples, subject: pd.Series, training: Training) -> None:
        """Train h as a predictor of the target, and keep it for `build`."""
        with seeded(self.config.seed, 1):
            built = self.build()
            flow = built.flow if isinstance(built, DiscreteFlow) else built
            assert isinstance(flow, CINN)
            before: list[nn.Module] = [] if flow.regression is None else [flow.regression]
            if isinstance(built, DiscreteFlow):
                assert isinstance(flow.bijection, Chain)
                before = [built.dequantizer, *flow.bijection.bijections[:2]]
            predictor = Predictor(flow.h.trunk, self.config.flow.hidden, self.inputs.shape, before=before)
        self.pretrain(predictor, examples, subject, training, "h")
        self.trunk = flow.h.trunk.state_dict()


def _sides(cohort: Cohort, source: Sequence[str], target: Sequence[str]) -> tuple[list[str], list[str]]:
    """Source and target regions; raises CohortError if they share one or are too few."""
    where = cohort.path or "the cohort"
    given, _ = some_columns("source", source, cohort.regions, where)
    wanted = [name for name in cohort.regions if name not in given]
    if target:
        wanted, _ = some_columns("target", target, cohort.regions, where)
    if both := [name for name in wanted if name in given]:
        raise CohortError(f"{where}: {', '.join(both)}: both source and target. Name each region once.")
    if not given or len(wanted) < 2:
        raise CohortError(f"{where}: {len(given)} source and {len(wanted)} target regions; they need one and two.")
    return given, wanted


def _only(cohort: Cohort, regions: list[str]) -> Cohort:
    return replace(cohort, schema=cohort.schema.model_copy(update={"regions": regions}))
