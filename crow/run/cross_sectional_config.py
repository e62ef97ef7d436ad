"""Settings of the flows of one visit, a class a system."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from crow.errors import ConfigError
from crow.run.config import Config, Optimisation, Settings, SplitSettings, load_config, load_settings, read_yaml


class ImageSettings(Settings):
    """What of a scan is seen: a box of at most ``size`` voxels along an axis (None: every voxel of the store), or one
    ``slice`` of it, through the template's point ``position`` (mm along the axis across the slice)."""

    size: int | None = Field(32, ge=4)
    slice: Literal["axial", "coronal", "sagittal"] | None = None
    position: float = 0.0


class FlowSettings(Settings):
    """``levels`` of an image's stack (a table of regions has one), couplings a level, width of the subnets."""

    levels: int = Field(2, ge=1, le=6)
    depth: int = Field(6, ge=1)
    hidden: int = Field(64, ge=1, le=4096)


class CrossSectionalTraining(Optimisation):
    """As for CRow, but an epoch is longer and the number of epochs is a number."""

    max_epochs: int = Field(60, ge=0)
    steps_per_epoch: int = Field(20, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    validation_fraction: float = Field(0.15, gt=0, lt=1)
    threads: int | None = Field(1, ge=1)


class PatchImages(Settings):
    """``size`` is that of a patch of the scan, along every axis."""

    size: int = Field(12, ge=4)


class PatchFlow(FlowSettings):
    """In three dimensions a small width goes far."""

    depth: int = Field(4, ge=1)
    hidden: int = Field(16, ge=1, le=4096)


class PatchTraining(CrossSectionalTraining):
    """Of patches there are many: small batches."""

    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(2e-3, gt=0)


class MaskTraining(PatchTraining):
    """The network that masks start at is to be learned first: a higher rate."""

    learning_rate: float = Field(5e-3, gt=0)


class CrossSectionalConfig(Settings):
    """Everything that, with a cohort, decides the run of a system.

    """

    architecture: str
    seed: int = Field(0, ge=0)
    cohort: dict[str, Any] = Field(default_factory=dict)
    flow: FlowSettings = FlowSettings()
    training: CrossSectionalTraining = CrossSectionalTraining()
    images: ImageSettings = ImageSettings()
    split: SplitSettings = SplitSettings()


class CGlowConfig(CrossSectionalConfig):
    """Class-conditional Glow: `crow.flows.cglow`."""

    architecture: Literal["cglow"] = "cglow"


class CAGlowConfig(CrossSectionalConfig):
    """Glow, trained by likelihood for ``pretrain_epochs`` and then held, and an encoder of attributes and a ``code`` of so
    many numbers, trained against a critic: `crow.flows.caglow`."""

    architecture: Literal["caglow"] = "caglow"
    pretrain_epochs: int = Field(60, ge=1)
    code: int = Field(2, ge=1)


class CINNConfig(CrossSectionalConfig):
    """Conditional invertible network: `crow.flows.cinn`.

    Its h predicts the target for ``pretrain_epochs`` before the flow is trained, and then stays as it is if ``freeze_conditioning``.
    """

    architecture: Literal["cinn"] = "cinn"
    pretrain_epochs: int = Field(30, ge=0)
    freeze_conditioning: bool = False

    @model_validator(mode="after")
    def _held_is_learned(self) -> Self:
        if self.freeze_conditioning and not self.pretrain_epochs:
            raise ValueError("held keeps h as pretrain_epochs made it: they have to be more than 0")
        return self


class EnhanceConfig(CrossSectionalConfig):
    """Thin slices given thick ones, by the conditional flow over patches: `crow.flows.conditional_flow`.

    The noise within a grey level is ``uniform``, or learned (``variational``), which was no better on slices and took
    half as long again (`benchmarks/enhance_slices.py`).
    """

    architecture: Literal["enhance"] = "enhance"
    dequantisation: Literal["uniform", "variational"] = "uniform"
    flow: PatchFlow = PatchFlow()
    training: PatchTraining = PatchTraining()
    images: PatchImages = PatchImages()  # type: ignore[assignment]


class SegmentConfig(CrossSectionalConfig):
    """Masks given scans, by the conditional flow over patches: `crow.flows.conditional_flow`."""

    architecture: Literal["segment"] = "segment"
    flow: PatchFlow = PatchFlow()
    training: MaskTraining = MaskTraining()
    images: PatchImages = PatchImages()  # type: ignore[assignment]


class SemiConditionalConfig(CrossSectionalConfig):
    """Classes from few labels: ``members`` flows of `crow.flows.semi_conditional` that teach each other."""

    architecture: Literal["semi-conditional"] = "semi-conditional"
    members: int = Field(3, ge=1)


class ContinuousFlow(FlowSettings):
    """``depth`` continuous blocks a level: each is as many layers as its solution takes evaluations."""

    depth: int = Field(2, ge=1)
    hidden: int = Field(32, ge=1, le=4096)


class ContinuousTraining(CrossSectionalTraining):
    """Fewer and larger steps, since each costs more."""

    max_epochs: int = Field(40, ge=0)
    learning_rate: float = Field(5e-3, gt=0)


class InfoCNFConfig(CrossSectionalConfig):
    """Classes by a continuous flow: `crow.flows.infocnf`."""

    architecture: Literal["infocnf"] = "infocnf"
    flow: ContinuousFlow = ContinuousFlow()
    training: ContinuousTraining = ContinuousTraining()


class CCNFConfig(CrossSectionalConfig):
    """The same with all of z supervised: `crow.flows.infocnf`."""

    architecture: Literal["ccnf"] = "ccnf"
    flow: ContinuousFlow = ContinuousFlow()
    training: ContinuousTraining = ContinuousTraining()


ARCHITECTURES: dict[str, type[CrossSectionalConfig]] = {
    str(kind.model_fields["architecture"].default): kind
    for kind in (
        CGlowConfig, CAGlowConfig, CINNConfig, EnhanceConfig, SegmentConfig, SemiConditionalConfig, InfoCNFConfig,
        CCNFConfig,
    )
}  # fmt: skip


def load_any(path: str | Path) -> Config | CrossSectionalConfig:
    """Settings of a run: of CRow, or of the ``architecture`` that the file names. Raises ConfigError."""
    architecture = read_yaml(Path(path))[0].get("architecture")
    if architecture is None:
        return load_config(path)
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"{path}: there is no architecture {architecture!r}. Known are {', '.join(ARCHITECTURES)}.")
    return load_settings(ARCHITECTURES[architecture], path)
