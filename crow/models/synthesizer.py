"""Synthetic visits: region profiles or scans with given attributes that vary in everything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crow.data.examples import Examples
from crow.errors import ConfigError
from crow.flows.caglow import CAGlow
from crow.flows.cglow import CGlow
from crow.flows.glow import Glow
from crow.flows.local_glow import LocalGlow
from crow.memory import require_memory
from crow.models.base import FitOptions, Training
from crow.models.cross_sectional import CHUNK, CrossSectionalModel, Data
from crow.models.flow_builders import built
from crow.models.patch_training import train_by_patches
from crow.representation.attributes import AttributeTable
from crow.representation.cross_sectional import RegionInputs, ScanExamples, cohort_of
from crow.run.cross_sectional_config import CAGlowConfig, CrossSectionalConfig
from crow.training.calibrate import calibrate_temperature
from crow.training.fit import Fitted
from crow.training.members import seeded

SCANS_AT_ONCE, AT_ONCE = 8, 2**19  # scans, and voxels, that are drawn together


class Synthesizer(CrossSectionalModel):
    """Single visits given attributes such as sex, age and diagnosis.

    CGlow (``architecture="cglow"``) has a prior that depends on the attributes. CAGlow (``architecture="caglow"``) is a
    Glow with an encoder that finds latents for them.

    Examples
    --------
    >>> import crow
    >>> cohort = crow.read_cohort("adni.csv")
    >>> training = {"max_epochs": 2, "steps_per_epoch": 2}  # to be quick: the defaults train until nothing improves
    >>> model = crow.Synthesizer(seed=1, training=training).fit(cohort, ["sex", "age"])
    >>> attributes, values = model.sample("sex=F,age=75", 5, seed=1)
    >>> values.shape  # 5 visits, 3 regions
    (5, 3)
    """

    kind = command = "synthesize"

    def __init__(self, config: CrossSectionalConfig | None = None, **settings: Any) -> None:
        super().__init__(config, **settings)
        self.glow: dict[str, Tensor] | None = None

    def fit(
        self,
        data: Data,
        attributes: list[str],
        out: str | Path | None = None,
        **options: Unpack[FitOptions],
    ) -> Synthesizer:
        """Train on every visit that has all attributes.

        Parameters
        ----------
        data
            A cohort of regions, a table, or a store of scans.
        attributes
            Columns to condition on, or sex, age, diagnosis.
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
        training, data = Training.at(out, **options), self.open(data)
        cohort, visits = self.training_visits(data)
        self.attributes = AttributeTable.fit(cohort, visits, attributes)
        known = visits[self.attributes.known(visits)]
        self.inputs = self.fit_inputs(data, known)
        context = self.attributes.encode(known)
        training.echo(
            f"training {self.config.architecture} on {len(known)} visits of {known['subject'].nunique()} subjects "
            f"({len(visits) - len(known)} lack an attribute): {self.inputs}; given {', '.join(self.attributes.names)}"
        )
        examples = self.inputs.examples(data, known, context)
        adversarial = isinstance(self.config, CAGlowConfig)
        if adversarial and self.config.images.patch:
            raise ConfigError("images.patch: not for architecture caglow, whose critic sees whole scans. Use cglow.")
        if adversarial:
            with seeded(self.config.seed, 1):
                whole = self.build()
            assert isinstance(whole, CAGlow)
            glow = whole.glow.requires_grad_(True)
            self.pretrain(glow, examples, known["subject"], training, "glow")
            self.glow = glow.state_dict()
        if self.config.images.patch and isinstance(examples, ScanExamples):
            fit = self._train_by_patches(examples, known["subject"], training)
        else:
            fit = self.train_flow(examples, known["subject"], training)
        self.metrics = {"validation_loss": fit.validation_loss, "epoch": fit.epoch, "visits": len(known)}
        if not adversarial:
            values = int(np.prod(self.inputs.shape))
            if not self.uses_scans:
                self.metrics["validation_nll_per_visit"] = fit.validation_loss * values + self.inputs.log_scale
            else:
                self.metrics["validation_bits_per_dim"] = fit.validation_loss / np.log(2)
        return self.finish(training)

    @torch.no_grad()
    def log_prob(self, data: Data) -> pd.DataFrame:
        """Log-density of each visit given its attributes: ``subject, session, time, log_prob``, in nats.

        CAGlow's is that of its Glow, given the attributes by its regression alone. Of regions exact and in original
        units; of scans that of their grey levels (a lower bound, dequantised with seed 0). Visits that lack an
        attribute are left out.
        """
        flow: Any = self.fitted()
        data = self.open(data)
        cohort = cohort_of(data)
        visits = cohort.visits[self.attributes.known(cohort.visits, cohort.path or "the cohort")]
        examples = self.inputs.examples(data, visits, self.attributes.encode(visits))
        nats = [flow.log_prob(batch.x, batch.context) for batch in self.in_order(examples)]
        log_prob = torch.cat(nats).double().numpy() - self.inputs.log_scale
        return visits[["subject", "session", "time"]].assign(log_prob=log_prob)

    def draw(
        self, given: dict[str, float | str], count: int, seed: int = 0
    ) -> Iterator[tuple[pd.DataFrame, pd.DataFrame | NDArray[np.float32]]]:
        """`sample` in parts of bounded memory, one after the other."""
        flow: Any = self.fitted()
        generator = torch.Generator().manual_seed(seed)
        rows = self.attributes.draw(given, count, seed)
        size = CHUNK
        if self.uses_scans:
            size = max(1, min(SCANS_AT_ONCE, AT_ONCE // int(np.prod(self.inputs.shape))))
        for start in range(0, count, size):
            part = rows.iloc[start : start + size]
            with torch.no_grad():
                drawn = flow.sample(self.attributes.encode(part), 1, generator)[0]
            yield part, self.inputs.decode(drawn)

    def sample(
        self, attributes: str | dict[str, float | str] = "", count: int = 1, seed: int = 0
    ) -> tuple[pd.DataFrame, pd.DataFrame | NDArray[np.float32]]:
        """Draw synthetic visits.

        Parameters
        ----------
        attributes
            ``sex=F,age=75`` or a mapping; an attribute that is not named is drawn from the training visits.
        count, seed
            How many visits; the same seed gives the same visits.

        Returns
        -------
        attributes, values
            One row per visit; and its regions, or scans ``[count, X, Y, Z]`` on the grid of ``inputs.affine``, in the
            intensities of prepared scans.
        """
        if not isinstance(attributes, str):
            attributes = ",".join(f"{name}={value}" for name, value in attributes.items())
        self.fitted()
        require_memory(
            8.0 * count * int(np.prod(self.inputs.shape)), f"{count} visits", "Draw fewer at once, with other seeds."
        )
        rows, values = zip(*self.draw(self.attributes.parse(attributes), count, seed), strict=True)
        whole = pd.concat(values) if isinstance(values[0], pd.DataFrame) else np.concatenate(values)
        return pd.concat(rows), whole.reset_index(drop=True) if isinstance(whole, pd.DataFrame) else whole

    def _train_by_patches(self, examples: ScanExamples, subject: pd.Series, training: Training) -> Fitted:
        self.uses_scans = True
        with seeded(self.config.seed, 0):
            whole = self.build()
        if not isinstance(whole, LocalGlow):
            raise ConfigError(f"images.patch: not for architecture {self.config.architecture}. Use cglow.")

        def residual(batch: Examples) -> tuple[Tensor, Tensor]:
            return whole.residual(batch.x, batch.context), whole.expected(batch.context)

        return train_by_patches(self, whole, residual, whole.f, examples, subject, training)

    def build(self) -> nn.Module:
        flow = built(self.config, self.inputs.shape, self.inputs.greys, self.attributes.channels)
        if self.glow is not None and isinstance(flow, CAGlow):
            flow.glow.load_state_dict(self.glow)
        return flow

    def initialise(self, flow: nn.Module, examples: Examples | ScanExamples, subject: Tensor) -> None:
        if not isinstance(flow, Glow):
            return  # the encoder of CAGlow, and flows that start where they were built
        zero = None
        if isinstance(self.inputs, RegionInputs):
            scale = self.inputs.table
            zero = -torch.tensor(scale.mean) / torch.tensor(scale.sd)
        flow.initialise(examples, subject, zero)

    def calibrate(self, flow: nn.Module, validation: Iterator[Examples]) -> None:
        if isinstance(flow, CGlow | LocalGlow):  # the encoder of CAGlow knows the latents of its Glow as they are
            calibrate_temperature(flow, validation)

    def describe_more(self) -> dict[str, Any]:
        return {"attributes": self.attributes.model_dump()}

    def restore_more(self, description: dict[str, Any]) -> None:
        self.attributes = AttributeTable.model_validate(description["attributes"])
