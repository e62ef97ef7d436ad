"""Models before training: their sizes, chosen from the cohort's, and their parts."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from crow.data.sequences import Sequences, SequenceSource
from crow.errors import ConfigError
from crow.flows.crow import CRowFlow
from crow.flows.published import PublishedCRow
from crow.run.config import Config, ModelSettings
from crow.training.fit import with_threads
from crow.training.history import MOST_PATIENCE, usual_patience

Initialisation = Literal["mixed_model", "standard"]
# Steps of a flow no wider than this are so short that threads mostly wait for each other, minutes on a busy machine.
NARROW = 64
MEMBERS_AT_ONCE = 16  # more are hardly faster
VALUES_AT_ONCE, VALUES_A_UNIT = 2**28, 16  # that a step keeps for the gradient: 1 GiB
VALUE_DROPOUT = 0.1  # of subjects per batch, in cohorts that lack values


def resolve(config: Config, data: SequenceSource) -> Config:
    """The settings with every None chosen from the cohort's size: wider and longer for a larger cohort.

    About 20 subjects are the validation set of a member: enough to stop the training, and few are lost to it.
    Members in groups of a given size (``members_at_once``) have one thread per group, wherever they are trained.
    Raises ConfigError for what the cohort or the machine does not have.
    """
    if config.model.objective == "inn" and data.context.shape[2] < 1:
        raise ConfigError("model.objective inn generates regions from covariates: the cohort has none. Name some.")
    if config.training.accelerator == "gpu" and not torch.accelerator.is_available():
        raise ConfigError("training.accelerator gpu: no GPU was found. Set it to cpu or auto.")
    hidden, epochs, validation = config.model.hidden, config.training.max_epochs, config.training.validation_fraction
    if hidden is None and config.model.objective == "likelihood":
        hidden = int(np.clip(8 * round(3 * (int(data.mask.sum()) / 1200) ** 0.5), 16, 128))
    if epochs is None:
        epochs = int(np.clip(30 * (len(data) / 150) ** 0.5, 30, 200))
    if validation is None:
        validation = float(np.clip(20 / len(data), 0.1, 0.25))
    patience = config.training.patience
    if patience is None:
        patience = usual_patience(epochs) if data.in_memory else MOST_PATIENCE
    threads, value_dropout = config.training.threads, config.training.value_dropout
    if value_dropout is None:
        value_dropout = VALUE_DROPOUT if isinstance(data, Sequences) and data.measured is not None else 0.0
    narrow = data.in_memory and hidden is not None and hidden <= NARROW
    if threads is None and (narrow or config.training.members_at_once is not None):
        threads = 1
    model = config.model.model_copy(update={"hidden": hidden})
    chosen = {
        "max_epochs": epochs,
        "patience": patience,
        "validation_fraction": validation,
        "threads": threads,
        "value_dropout": value_dropout,
    }
    training = with_threads(config.training.model_copy(update=chosen))
    return config.model_copy(update={"model": model, "training": training})


def members_at_once(config: Config, data: SequenceSource) -> int:
    """How many members of resolved settings are trained together, as one task."""
    if config.training.members_at_once is not None:
        return config.training.members_at_once
    if config.model.base == "continuous":  # its solver looks at values
        return 1
    visits = min(config.training.batch_size, len(data)) * data.mask.shape[1]
    units = VALUES_A_UNIT * 3 * config.model.blocks * int(config.model.hidden or 0) * visits
    return int(np.clip(VALUES_AT_ONCE // units, 1, MEMBERS_AT_ONCE))


def build_flow(settings: ModelSettings, features: int, context: int, initialisation: Initialisation) -> CRowFlow:
    """An unfitted member; ``settings`` are resolved."""
    if settings.hidden is None:
        raise ConfigError("model.hidden has to be a number before a flow is built.")
    return CRowFlow(
        features, context, initialisation, settings.blocks, settings.hidden, settings.dropout, base=settings.base
    )


def build_published(settings: ModelSettings, features: int, covariates: int) -> PublishedCRow:
    """An unfitted published flow; ``covariates`` is at least 1."""
    return PublishedCRow(features, covariates, settings.blocks, settings.hidden)
