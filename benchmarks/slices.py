"""Slices of simulated brains, with their structures, for the benchmarks of conditional flows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from crow.scans.template import STRUCTURES
from crow.simulate import simulate_scans

MM, SIZE, SLICES = 3.0, 32, 12
GREYS, BRIGHTEST = 256, 900.0


@dataclass(frozen=True)
class Slices:
    """Axial slices ``[n, 1, 32, 32]`` (grey levels 0 to 255), their structure labels, and their subjects ``[n]``.

    12 slices per subject, 3 mm apart, around the ventricles.
    """

    image: Tensor
    label: Tensor
    subject: Tensor

    def mask(self, name: str) -> Tensor:
        """1 in the structures whose name starts with ``name``, else 0."""
        labels = [label for label, known in STRUCTURES.items() if known.startswith(name)]
        return torch.isin(self.label, torch.tensor(labels)).float()

    def split(self, seed: int, test: float = 0.2) -> tuple[Tensor, Tensor]:
        """Rows of training and of test subjects."""
        order = torch.randperm(int(self.subject.max()) + 1, generator=torch.Generator().manual_seed(seed))
        chosen = torch.isin(self.subject, order[: round(test * len(order))])
        return torch.where(~chosen)[0], torch.where(chosen)[0]


@cache
def draw(subjects: int, noise: float, seed: int = 0) -> Slices:
    """Simulate slices; ``noise`` (sd in grey levels) is added before rounding."""
    simulation = simulate_scans(subjects, 1, MM, seed=seed)
    rng = np.random.default_rng([seed, 9])
    x, y, z = (size // 2 for size in simulation.grid.shape)
    box = (slice(x - SIZE // 2, x + SIZE // 2), slice(y - SIZE // 2, y + SIZE // 2), slice(z - 2, z - 2 + SLICES))
    images, labels = [], []
    for subject, session in simulation.visits[["subject", "session"]].itertuples(index=False):
        grey = simulation.render(subject, session)[box] * (GREYS / BRIGHTEST)
        grey = np.clip(np.floor(grey + noise * rng.standard_normal(grey.shape)), 0, GREYS - 1)
        images.append(grey.transpose(2, 0, 1))
        labels.append(simulation.labels(subject, session)[box].transpose(2, 0, 1))
    image, label = (torch.from_numpy(np.concatenate(part)[:, None]) for part in (images, labels))
    return Slices(image.float(), label.long(), torch.arange(subjects).repeat_interleave(SLICES))
