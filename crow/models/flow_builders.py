"""How the flows of single visits are built from their settings: a function for each architecture.

A settings class of `crow.run.cross_sectional_config` names its function. Functions for ``crow synthesize`` receive the
channels of each attribute, those for ``crow classify`` the number of classes and their shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import nn

from crow.bijections.dequantize import UniformDequantizer
from crow.flows.caglow import CAGlow
from crow.flows.cglow import CGlow
from crow.flows.glow import Glow
from crow.flows.infocnf import InfoCNF
from crow.flows.local_glow import LocalGlow
from crow.flows.semi_conditional import SemiConditionalFlow
from crow.flows.semi_conditional_ensemble import SemiConditionalEnsemble
from crow.representation.augmentation import augment_images, fixed_augmentations, noisy_values
from crow.run.cross_sectional_config import CAGlowConfig, CrossSectionalConfig, SemiConditionalConfig

Shape = tuple[int, ...]


def built(config: CrossSectionalConfig, shape: Shape, greys: int | None, *more: Any) -> nn.Module:
    """The flow of ``config`` for visits of ``shape``, in ``greys`` grey levels (None: continuous values)."""
    module, _, name = config.builder.partition(":")
    flow: nn.Module = getattr(import_module(module), name)(config, shape, greys, *more)
    return flow


def build_cglow(config: CrossSectionalConfig, shape: Shape, greys: int | None, channels: Sequence[int]) -> Glow:
    """The class-conditional Glow of attributes with so many ``channels`` each; of volumes by patches, a `LocalGlow`."""
    if greys and config.images.patch:
        settings = config.flow
        return LocalGlow(shape, settings.levels, settings.depth, settings.hidden, greys, sum(channels))
    return CGlow(shape, channels, config.flow.levels, config.flow.depth, config.flow.hidden, greys or 0)


def build_caglow(config: CAGlowConfig, shape: Shape, greys: int | None, channels: Sequence[int]) -> CAGlow:
    """CAGlow; its Glow is trained first (`crow.models.synthesizer`)."""
    settings = config.flow
    glow = Glow(shape, settings.levels, settings.depth, settings.hidden, greys or 0, sum(channels))
    return CAGlow(glow, channels, config.code)


def build_semi_conditional(
    config: SemiConditionalConfig, shape: Shape, greys: int | None, classes: int, shares: Sequence[float]
) -> SemiConditionalEnsemble:
    """An ensemble of semi-conditional flows, which see augmented visits in training."""
    settings = config.flow
    flows = [
        SemiConditionalFlow.of_shape(
            shape, classes, settings.levels, settings.depth, settings.hidden, dequantizer=_dequantizer(greys),
            prior=torch.tensor(shares),
        )
        for _ in range(config.members)
    ]  # fmt: skip
    if greys is None:
        return SemiConditionalEnsemble(flows, noisy_values)
    return SemiConditionalEnsemble(flows, augment_images, fixed_augmentations)


def build_infocnf(
    config: CrossSectionalConfig, shape: Shape, greys: int | None, classes: int, shares: Sequence[float]
) -> InfoCNF:
    """InfoCNF, whose supervised part is half of z, or CCNF, where it is all of z."""
    settings = config.flow
    return InfoCNF(
        shape, classes, settings.levels, settings.depth, settings.hidden, 1.0 if config.architecture == "ccnf" else 0.5,
        dequantizer=_dequantizer(greys), prior=torch.tensor(shares),
    )  # fmt: skip


def _dequantizer(greys: int | None) -> UniformDequantizer | None:
    return UniformDequantizer(greys) if greys else None
