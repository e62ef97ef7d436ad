"""AdamW and its learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, StepLR

from crow.optimisers import AdamW
from crow.run.config import Optimisation


def make_optimiser(
    parameters: Iterable[tuple[str, nn.Parameter]], settings: Optimisation, stacked: bool = False
) -> torch.optim.AdamW:
    """AdamW of named parameters; ``stacked`` ones have the flow as their first axis.

    Weight decay applies to weight matrices only, not to biases, gains and the parameters of the mixed model.
    """
    decayed: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, parameter in parameters:
        if parameter.requires_grad:
            is_weight = name.rpartition(".")[2].startswith("weight") and parameter.ndim > 1 + stacked
            (decayed if is_weight else other).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay}, {"params": other, "weight_decay": 0.0}
    ]  # fmt: skip
    return AdamW([group for group in groups if group["params"]], lr=settings.learning_rate, fused=True)


def make_schedule(optimiser: torch.optim.Optimizer, settings: Optimisation, max_epochs: int) -> LRScheduler:
    """The learning rate: one cycle over all steps, or the published decay with every epoch."""
    if settings.schedule == "published":
        return StepLR(optimiser, step_size=12, gamma=0.01 ** (1 / 120))
    return OneCycleLR(
        optimiser,
        max_lr=settings.learning_rate,
        total_steps=max(1, max_epochs) * settings.steps_per_epoch,
        pct_start=settings.pct_start,
        cycle_momentum=False,
    )
