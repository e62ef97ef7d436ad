"""Visits that do not exist: region profiles or scans with given attributes, varied in everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from crow.flows.cglow import CGlow
from crow.representation.attributes import AttributeTable
from crow.representation.visits import RegionVisits, cohort_of
from crow.visit_model import Data, Say, VisitModel

CHUNK = 256  # visits computed at once


class Synthesizer(VisitModel):
    """Class-conditional Glow (``system="cglow"``) of single visits given attributes such as sex, age, diagnosis.

    ``Synthesizer().fit(cohort, ["sex", "age", "DX"])`` with a Cohort of regions or a ScanStore; then ``log_prob`` and
    ``sample`` answer.
    """

    systems = ("cglow", "caglow")

    def fit(
        self,
        data: Data,
        attributes: list[str],
        out: str | Path | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = False,
        say: Say = lambda line: None,
    ) -> Synthesizer:
        """Learn from every visit that has all ``attributes``; with ``out`` keep a run folder there.

        Raises CohortError where there is nothing to learn from, OutputError where ``out`` exists.
        """
        cohort, visits = self.begin(data, out, resume, overwrite)
        self.attributes = AttributeTable.fit(cohort, visits, attributes)
        known = visits[self.attributes.known(visits)]
        self.visits = self.represent(data, known)
        context = self.attributes.encode(known)
        say(
            f"training {self.config.system} on {len(known)} visits of {known['subject'].nunique()} subjects "
            f"({len(visits) - len(known)} lack an attribute): {self.visits}; given {', '.join(self.attributes.names)}"
        )
        examples = self.visits.examples(data, known, context)
        fit = self.learn(examples, known["subject"], out, resume=resume, overwrite=overwrite, progress=progress)
        self.metrics = {"held_out_loss": fit.held_out, "epoch": fit.epoch, "visits": len(known)}
        if self.config.system == "cglow":
            values = int(np.prod(self.visits.shape))
            if self.of_regions:
                self.metrics["held_out_nll_per_visit"] = fit.held_out * values + self.visits.log_scale
            else:
                self.metrics["held_out_bits_per_dim"] = fit.held_out / np.log(2)
        if out is not None:
            self.save(out, not fit.interrupted)
        return self

    @torch.no_grad()
    def log_prob(self, data: Data) -> pd.DataFrame:
        """Log-density of each visit given its attributes: ``subject, session, time, log_prob``, in nats.

        Of regions exact and in original units; of scans that of their grey levels (a lower bound, dequantised with seed
        0). Visits that lack an attribute are left out.
        """
        flow = self.fitted()
        visits = cohort_of(data).visits
        visits = visits[self.attributes.known(visits)]
        examples = self.visits.examples(data, visits, self.attributes.encode(visits))
        nats = []
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for rows in torch.arange(len(visits)).split(CHUNK):
                batch = examples[rows]
                nats.append(flow.log_prob(batch.x, batch.context))  # type: ignore[operator]
        log_prob = torch.cat(nats).double().numpy() - self.visits.log_scale
        return visits[["subject", "session", "time"]].assign(log_prob=log_prob)

    def sample(
        self, attributes: str | dict[str, float | str] = "", count: int = 1, seed: int = 0
    ) -> tuple[pd.DataFrame, pd.DataFrame | NDArray[np.float32]]:
        """The attributes of ``count`` invented visits, and their regions, or scans ``[count, X, Y, Z]`` (on the grid of
        ``visits.affine``, in the intensities of prepared scans).

        What ``attributes`` (``sex=F,age=75``) does not say is drawn as training visits had it.
        """
        flow = self.fitted()
        given = self.attributes.parse(attributes) if isinstance(attributes, str) else attributes
        rows = self.attributes.draw(given, count, seed)
        context, generator = self.attributes.encode(rows), torch.Generator().manual_seed(seed)
        drawn = torch.cat([flow.sample(part, 1, generator)[0] for part in context.split(CHUNK)])  # type: ignore[operator]
        return rows, self.visits.decode(drawn)

    def build(self) -> nn.Module:
        settings = self.config.flow
        shape, channels = self.visits.shape, self.attributes.channels
        return CGlow(shape, channels, settings.levels, settings.depth, settings.hidden, self.visits.greys or 0)

    def describe(self) -> dict[str, Any]:
        return {"attributes": self.attributes.model_dump()}

    def restore(self, facts: dict[str, Any]) -> None:
        self.attributes = AttributeTable.model_validate(facts["attributes"])

    @property
    def of_regions(self) -> bool:
        """Whether visits are regions of a table, and not scans."""
        return isinstance(self.visits, RegionVisits)
