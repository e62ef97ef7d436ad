"""Training of flows of whole volumes by patches: first a map of whole scans, then a flow of what it leaves."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import nn

from crow.bijections.affine import mark_initialised
from crow.bijections.base import Bijection
from crow.bijections.principal import PrincipalComponents
from crow.flows.cinn import CINN, PATCH_FEATURES
from crow.flows.predictor import Predictor
from crow.models.base import Training
from crow.representation.cross_sectional import ScanExamples
from crow.representation.residual_patches import Residual, check_patch, residual_patches
from crow.training.calibrate import calibrate_components
from crow.training.fit import Fitted
from crow.training.members import seeded

if TYPE_CHECKING:
    from crow.models.cross_sectional import CrossSectionalModel

CALIBRATED = 24  # scans for which volumes are drawn


def train_by_patches(
    model: CrossSectionalModel, whole: nn.Module, residual: Residual, stack: Bijection, examples: ScanExamples,
    subject: pd.Series, training: Training, error: Callable[[ScanExamples], float] | None = None,
) -> Fitted:  # fmt: skip
    """Train ``stack``, a part of the flow ``whole``, on patches of the ``residual`` of what is before it.

    No weight of the stack depends on the size of a volume. What is before it is fitted to whole training scans, and the
    temperature to whole validation scans, whose mean loss ``validation_loss`` then is. Draws for some training scans
    tell what the stack does to the components of a whole volume (`calibrate_components`).

    A likelihood of patches says little about draws of volumes. With the ``error`` of the model's draws for validation
    scans, the stack stays as it began if that has the smaller error.
    """
    config = model.config
    size, levels, space = config.images.patch, config.flow.levels, examples.visits.shape[1:]
    check_patch(size, levels, space)
    rows, validation = model.split_rows(examples, subject)
    model.initialise(whole, examples.subset(torch.from_numpy(rows)), torch.from_numpy(pd.factorize(subject)[0][rows]))
    patches, whose = residual_patches(residual, examples, subject, examples.visits.mask, size, levels, config.seed)
    examples.forget()
    training.echo(f"{len(patches):,} patches of {size} voxels along an axis")
    cube = (size, size, size)
    assert patches.context is not None
    given = tuple(patches.context.shape[1:])
    with seeded(config.seed, 0):
        part = CINN((1, *cube), given, levels, config.flow.depth, config.flow.hidden, PATCH_FEATURES, positions=False)
    mark_initialised(part)  # residuals have mean 0 and sd 1 already
    start = deepcopy(part.bijection.state_dict())
    if getattr(config, "pretrain_epochs", 0):
        with seeded(config.seed, 1):
            predictor = Predictor(part.h.trunk, config.flow.hidden, (1, *cube))
        model.pretrain(predictor, patches, whose, training, "h")
        if getattr(config, "freeze_conditioning", False):
            part.h.freeze()
    fit = model.optimise(part, patches, whose, training)
    del patches
    whole.eval()
    model.flow, model.log, model.interrupted = whole, fit.history.assign(member=1), fit.interrupted
    apart = examples.subset(torch.from_numpy(validation))
    some = examples.subset(torch.from_numpy(rows[:: max(1, len(rows) // CALIBRATED)][:CALIBRATED]))
    layers = [module for module in whole.modules() if isinstance(module, PrincipalComponents)]
    log_sds = [layer.log_sd.clone() for layer in layers]

    def calibrate(weights: dict[str, torch.Tensor]) -> None:
        stack.load_state_dict(weights)
        for layer, log_sd in zip(layers, log_sds, strict=True):
            layer.log_sd.copy_(log_sd)
            layer.mean.zero_()
        model.calibrate(whole, model.in_order(apart))
        calibrate_components(whole, model.in_order(some), log_sds, config.seed)

    of_start = math.inf
    if error is not None:
        calibrate(start)
        of_start = error(apart)
    calibrate(part.bijection.state_dict())
    if error is not None and (of_trained := error(apart)) >= of_start:
        calibrate(start)
        training.echo(
            f"the flow of patches has a larger error (CRPS {of_trained:.4g}) for the validation scans than the "
            f"regression and the principal components that it began with ({of_start:.4g}): these are kept"
        )
    with torch.no_grad():
        losses = [float(whole.loss(batch)) for batch in model.in_order(apart)]  # type: ignore[operator]
    return Fitted(float(np.mean(losses)), fit.epoch, fit.history, fit.interrupted, fit.out_of_sample)
