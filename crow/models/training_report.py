"""What a training of `crow.models.crow.CRow` reports: the memory it takes, gross errors, what the flow is worth."""

from __future__ import annotations

from typing import Any

from crow.cohort.options import listed
from crow.errors import ConfigError
from crow.memory import require_memory
from crow.processes import processes
from crow.run.config import ModelSettings, Optimisation

BYTES_PER_WEIGHT = 20  # with its gradient, both moments of Adam, and its average
MANY_REGIONS = 1000
COPIES = 70  # of the correlations of all regions, while the mixed model is fitted


def training_memory(members: int, blocks: int, width: int, regions: int, channels: int) -> float:
    """Bytes that a training takes at least: weights of the flows, and correlations between regions."""
    weights = members * blocks * 8.0 * width * (width + regions + channels)
    return weights * BYTES_PER_WEIGHT + 8.0 * regions**2 * (members + COPIES)


def errors_found(counts: dict[str, int]) -> str:
    """A warning with the number of gross errors per region."""
    each = [f"{name} {count}" for name, count in counts.items() if count]
    return (
        f"warning: {sum(counts.values())} values are far from what their subject's other visits predict, and count as "
        f"missing: {listed(each)}. crow check names them; correct them there."
    )


def verdict(metrics: dict[str, Any]) -> str:
    """Whether the flow is worth more than the mixed model, by subjects that neither was fitted to."""
    gain = metrics["mixed_model_nll_per_visit"] - metrics["validation_nll_per_visit"]
    if gain <= 0:
        return "The flow does not improve on the mixed model out of sample: forecasts are those of the mixed model."
    return f"The flow improves on the mixed model by {gain:.3f} nats per visit out of sample."


def require_training_memory(model: ModelSettings, regions: int, channels: int) -> None:
    """Raise ConfigError if the training does not fit into memory."""
    width = int(model.hidden or 0)
    require_memory(
        training_memory(model.members, model.blocks, width, regions, channels),
        f"{model.members:,} members of {model.blocks:,} blocks, {width:,} wide, for {regions:,} regions",
        "Lower model.members, model.blocks or model.hidden, or choose fewer regions (--regions).",
    )


def many_regions(regions: int) -> str:
    """A warning about the time that many regions take."""
    return (
        f"warning: the correlations of {regions:,} regions are estimated, and the time grows with the third power of "
        "their number: minutes to hours. Choose fewer with --regions."
    )


def require_one_device(training: Optimisation) -> None:
    """Raise ConfigError for settings of several devices: the members of an ensemble are trained together on one."""
    several = processes(training.devices, training.num_nodes).total > 1
    if several or training.precision != "32-true" or training.strategy != "ddp":
        raise ConfigError(
            "training.devices, num_nodes, strategy and precision are for models of voxels and of single visits. The "
            "members of this model are trained together on one device, in 32 bits: leave these settings out, and run "
            "the command without torchrun."
        )
