"""Calibration of a trained flow on the validation set."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from crow.bijections.principal import PrincipalComponents
from crow.bijections.temperature import LatentTemperature
from crow.data.examples import Examples


@torch.no_grad()
def calibrate_temperature(flow: nn.Module, validation: Iterable[Examples]) -> None:
    """Fit the `LatentTemperature` of a trained flow to its inputs for the validation examples.

    The sds of `PrincipalComponents` are cross-validated already. They are coarse, so they are divided by the sd of the
    first latent part, which is the coarsest.

    Parameters
    ----------
    flow : nn.Module
        A flow with one `LatentTemperature` and a ``loss(batch)``.
    validation : iterable of Examples
        Batches of the validation set.
    """
    (temperature,) = (module for module in flow.modules() if isinstance(module, LatentTemperature))
    inputs: list[Tensor] = []
    hook = temperature.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    flow.eval()
    for batch in validation:
        flow.loss(batch)  # type: ignore[operator]
    hook.remove()
    temperature.fit(torch.cat(inputs))
    for module in flow.modules():
        if isinstance(module, PrincipalComponents):
            exists = module.directions.flatten(1).any(1)
            module.log_sd.sub_(temperature.log_sd[0] * exists)
