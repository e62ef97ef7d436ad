"""Slices of simulated brains for the benchmarks of the conditional flow: images, their structures, subjects apart."""

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
    """Axial slices ``[n, 1, 32, 32]`` of grey levels 0 to 255 without noise, the labels of their structures, and whose
    they are ``[n]``; 12 of every subject, 3 mm apart, around the ventricles."""

    image: Tensor
    label: Tensor
    subject: Tensor

    def mask(self, name: str) -> Tensor:
        """1 in the structures whose name begins with ``name``, else 0."""
        labels = [label for label, known in STRUCTURES.items() if known.startswith(name)]
        return torch.isin(self.label, torch.tensor(labels)).float()

    def split(self, seed: int, test: float = 0.2) -> tuple[Tensor, Tensor]:
        """Rows of training and of test subjects."""
        people = torch.randperm(int(self.subject.max()) + 1, generator=torch.Generator().manual_seed(seed))
        held = torch.isin(self.subject, people[: round(test * len(people))])
        return torch.where(~held)[0], torch.where(held)[0]


@cache
def draw(subjects: int, noise: float, seed: int = 0) -> Slices:
    """``noise``: sd in grey levels, added to the scan before it is rounded."""
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
