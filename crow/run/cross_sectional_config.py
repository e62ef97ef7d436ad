"""Settings of the flows of single visits, one class per architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from crow.errors import ConfigError
from crow.run.config import (
    BatchSize,
    CohortOptions,
    Config,
    Epochs,
    Layers,
    LearningRate,
    Optimisation,
    Seed,
    Settings,
    SplitSettings,
    StepsPerEpoch,
    Threads,
    Validation,
    load_config,
    load_settings,
)  # fmt: skip
from crow.run.presets import preset_path
from crow.run.yaml_settings import set_pair
from crow.yaml_file import read_yaml

Levels = Annotated[int, Field(ge=1, le=6, description="Levels of an image's flow; a table of regions has one.")]
Depth = Annotated[Layers, Field(ge=1, description="Steps (normalisation, 1x1 convolution, coupling) per level.")]
Blocks = Annotated[Layers, Field(ge=1, description="Continuous blocks per level; the solver decides how deep each is.")]
Hidden = Annotated[int, Field(ge=1, le=4096, description="Width of the networks that compute the parameters.")]
Patch = Annotated[int, Field(ge=4, le=512, description="Voxels of a patch along every axis; divisible by 2^levels.")]


class ImageSettings(Settings):
    """Only for scans: the part of a scan that is modelled, a box or one slice."""

    size: int | None = Field(
        32, ge=4, description="Longest side of the box, whose voxels average those of the scan; null takes every voxel."
    )
    slice: Literal["axial", "coronal", "sagittal"] | None = Field(
        None, description="One slice instead of the box: axial, coronal or sagittal; null is the box."
    )
    position: float = Field(0.0, description="Position of the slice in template space, in mm.")
    patch: Patch | None = Field(
        None,
        description="Only for translate and synthesize: voxels along an axis of the patches on which the flow of a "
        "volume is trained; null trains it on whole volumes or slices.",
    )


class FlowSettings(Settings):
    """Size of the flow."""

    levels: Levels = 2
    depth: Depth = 6
    hidden: Hidden = 64


class CrossSectionalTraining(Optimisation):
    """As for CRow, but with longer epochs and a fixed number of them."""

    max_epochs: Epochs = 60
    steps_per_epoch: StepsPerEpoch = 20
    batch_size: BatchSize = 64
    learning_rate: LearningRate = 1e-3
    validation_fraction: Validation = 0.15
    threads: Threads | None = Field(1, description="Processor threads; null is the default of torch.")


class PatchImages(Settings):
    """Only for scans: they are modelled patch by patch."""

    size: Patch = 12


class PatchFlow(FlowSettings):
    """In three dimensions a small width goes far."""

    depth: Depth = 4
    hidden: Hidden = 16


class PatchTraining(CrossSectionalTraining):
    """There are many patches: small batches."""

    batch_size: BatchSize = 16
    learning_rate: LearningRate = 2e-3


class MaskTraining(PatchTraining):
    """The network at which masks are initialised has to be learned first: a higher rate."""

    learning_rate: LearningRate = 5e-3


class CrossSectionalConfig(Settings):
    """Everything that, with a cohort, decides a run of an architecture.

    ``model`` is the kind of model that trains it (`crow.models.registry.MODELS`) and the command of crow that does so;
    ``builder`` is the function that builds its flow, as ``module:function``; models with one architecture build it
    themselves.
    """

    model: ClassVar[str]
    builder: ClassVar[str] = ""
    architecture: str = Field(description="Name of the architecture.")
    seed: Seed = 0
    cohort: CohortOptions = Field(default_factory=dict)
    flow: FlowSettings = Field(FlowSettings(), description="Size of the flow.")
    training: CrossSectionalTraining = Field(CrossSectionalTraining(), description="How it is trained.")
    images: ImageSettings = Field(ImageSettings(), description="Only for scans.")
    split: SplitSettings = Field(SplitSettings(), description="The test set.")


class CGlowConfig(CrossSectionalConfig):
    """Class-conditional Glow: `crow.flows.cglow`."""

    model: ClassVar[str] = "synthesize"
    builder: ClassVar[str] = "crow.models.flow_builders:build_cglow"
    architecture: Literal["cglow"] = Field(
        "cglow", description="cglow: the prior of the latents depends on the attributes."
    )


class CAGlowConfig(CrossSectionalConfig):
    """Glow with an encoder of the attributes that is trained against a critic: `crow.flows.caglow`."""

    model: ClassVar[str] = "synthesize"
    builder: ClassVar[str] = "crow.models.flow_builders:build_caglow"
    architecture: Literal["caglow"] = Field(
        "caglow", description="caglow: an encoder maps the attributes to latents, trained against a critic."
    )
    pretrain_epochs: int = Field(
        60,
        ge=1,
        le=1_000_000,
        description="Epochs that train the Glow by likelihood, before it is frozen and the encoder trained.",
    )
    code: int = Field(
        2, ge=1, le=4096, description="Latent numbers without a name, by which the encoder varies a visit."
    )


class CINNConfig(CrossSectionalConfig):
    """Conditional invertible network: `crow.flows.cinn`."""

    model: ClassVar[str] = "translate"
    architecture: Literal["cinn"] = Field(
        "cinn", description="cinn: one conditioning network h informs every coupling about the source."
    )
    pretrain_epochs: int = Field(
        30,
        ge=0,
        le=1_000_000,
        description="Epochs in which h learns to predict the target, before the flow is trained.",
    )
    freeze_conditioning: bool = Field(
        False, description="Whether h stays as pretrain_epochs left it; false trains it along with the flow."
    )

    @model_validator(mode="after")
    def _frozen_is_trained(self) -> Self:
        if self.freeze_conditioning and not self.pretrain_epochs:
            raise ValueError("freeze_conditioning keeps h as pretrain_epochs trained it: set them above 0")
        return self


class EnhanceConfig(CrossSectionalConfig):
    """Thin slices given thick ones, by the conditional flow over patches: `crow.flows.conditional_flow`.

    Variational dequantisation was no better on slices and took half as long again (`benchmarks/enhance_slices.py`).
    """

    model: ClassVar[str] = "enhance"
    architecture: Literal["enhance"] = Field("enhance", description="enhance: the conditional flow over patches.")
    dequantisation: Literal["uniform", "variational"] = Field(
        "uniform", description="Noise within a grey level: uniform, or variational (learned)."
    )
    flow: PatchFlow = Field(PatchFlow(), description="Size of the flow.")
    training: PatchTraining = Field(PatchTraining(), description="How it is trained.")
    images: PatchImages = Field(PatchImages(), description="Patches of a scan.")  # type: ignore[assignment]


class SegmentConfig(CrossSectionalConfig):
    """Masks given scans, by the conditional flow over patches: `crow.flows.conditional_flow`."""

    model: ClassVar[str] = "segment"
    architecture: Literal["segment"] = Field("segment", description="segment: the conditional flow over patches.")
    flow: PatchFlow = Field(PatchFlow(), description="Size of the flow.")
    training: MaskTraining = Field(MaskTraining(), description="How it is trained.")
    images: PatchImages = Field(PatchImages(), description="Patches of a scan.")  # type: ignore[assignment]


class SemiConditionalConfig(CrossSectionalConfig):
    """Classes from few labels, by flows that teach each other: `crow.flows.semi_conditional`."""

    model: ClassVar[str] = "classify"
    builder: ClassVar[str] = "crow.models.flow_builders:build_semi_conditional"
    architecture: Literal["semi-conditional"] = Field(
        "semi-conditional", description="semi-conditional: p(x, class) by a large flow, and a small one per class."
    )
    members: int = Field(
        3, ge=1, description="Ensemble members: flows that teach each other the classes of visits without a label."
    )


class ContinuousFlow(FlowSettings):
    """Size of the continuous flow."""

    depth: Blocks = 2
    hidden: Hidden = 32


class ContinuousTraining(CrossSectionalTraining):
    """Fewer and larger steps, since each costs more."""

    max_epochs: Epochs = 40
    learning_rate: LearningRate = 5e-3


class InfoCNFConfig(CrossSectionalConfig):
    """Classes by a continuous flow: `crow.flows.infocnf`."""

    model: ClassVar[str] = "classify"
    builder: ClassVar[str] = "crow.models.flow_builders:build_infocnf"
    architecture: Literal["infocnf"] = Field(
        "infocnf", description="infocnf: a continuous flow; half of its latents depend on the class."
    )
    flow: ContinuousFlow = Field(ContinuousFlow(), description="Size of the flow.")
    training: ContinuousTraining = Field(ContinuousTraining(), description="How it is trained.")


class CCNFConfig(CrossSectionalConfig):
    """Classes by a continuous flow, all of whose latents depend on the class: `crow.flows.infocnf`."""

    model: ClassVar[str] = "classify"
    builder: ClassVar[str] = "crow.models.flow_builders:build_infocnf"
    architecture: Literal["ccnf"] = Field(
        "ccnf", description="ccnf: a continuous flow; all of its latents depend on the class."
    )
    flow: ContinuousFlow = Field(ContinuousFlow(), description="Size of the flow.")
    training: ContinuousTraining = Field(ContinuousTraining(), description="How it is trained.")


ARCHITECTURES: dict[str, type[CrossSectionalConfig]] = {
    str(kind.model_fields["architecture"].default): kind
    for kind in (
        CGlowConfig, CAGlowConfig, CINNConfig, EnhanceConfig, SegmentConfig, SemiConditionalConfig, InfoCNFConfig,
        CCNFConfig,
    )
}  # fmt: skip


def architectures_of(model: str) -> list[str]:
    """The architectures that a kind of model trains, the default first."""
    return [name for name, settings in ARCHITECTURES.items() if settings.model == model]


def named_settings(
    command: str, config: Path | None, sets: list[str], architecture: str | None = None
) -> CrossSectionalConfig:
    """The settings of a training by ``command``: defaults, changed by a YAML file or preset, changed by pairs.

    The architecture is ``architecture``, or else the one that the file or a pair names, or else the default of the
    command. Raises ConfigError.
    """
    if architecture is None:
        own = architectures_of(command)
        values: dict[str, Any] = {} if config is None else read_yaml(preset_path(config))[0]
        for pair in sets:
            if pair.partition("=")[0].strip() == "architecture":
                set_pair(values, {}, pair)
        architecture = values.get("architecture", own[0])
        if architecture not in own:
            raise ConfigError(f"architecture {architecture!r} is not one of crow {command}. Choose {' or '.join(own)}.")
    return load_settings(ARCHITECTURES[architecture], config, sets)


def load_any(path: str | Path) -> Config | CrossSectionalConfig:
    """Settings of a run: of CRow, or of the ``architecture`` that the file names. Raises ConfigError."""
    architecture = read_yaml(Path(path))[0].get("architecture")
    if architecture is None:
        return load_config(path)
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"{path}: there is no architecture {architecture!r}. Known are {', '.join(ARCHITECTURES)}.")
    return load_settings(ARCHITECTURES[architecture], path)
