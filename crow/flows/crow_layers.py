"""What the layers of the conditional recurrent flow have in common, and those of single visits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crow.bijections.base import RecurrentBijection
from crow.bijections.mixing import Rotation
from crow.bijections.ode import ODE
from crow.networks.dynamics import MeasuredUnits
from crow.networks.packing import Packing

BASE_STEPS = 8  # of the solver of a continuous base: fixed, so that no visit's step depends on another visit


class Layer(RecurrentBijection):
    """A layer of the flow: a recurrent bijection of the values that were ``measured [batch, time, region]``."""

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        state: Any = None,
        measured: Tensor | None = None,
        packing: Packing | None = None,
    ) -> tuple[Tensor, Tensor, Any]:
        raise NotImplementedError

    def inverse(
        self, z: Tensor, context: Tensor | None = None, state: Any = None, measured: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Any]:
        raise NotImplementedError


class Rotate(Layer):
    """A rotation of single visits."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.bijection = Rotation(features)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        state: None = None,
        measured: Tensor | None = None,
        packing: Packing | None = None,
    ) -> tuple[Tensor, Tensor, None]:
        return *self.bijection(x, context, measured, packing), None

    def inverse(
        self, z: Tensor, context: Tensor | None = None, state: None = None, measured: Tensor | None = None
    ) -> tuple[Tensor, Tensor, None]:
        return *self.bijection.inverse(z, context, measured), None


class Continuous(Layer):
    """A continuous flow of single visits, which knows from the end of its context which values move."""

    def __init__(self, features: int, context: int, hidden: int) -> None:
        super().__init__()
        self.bijection = ODE(features, MeasuredUnits(features, context, hidden=hidden), steps=BASE_STEPS)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        state: None = None,
        measured: Tensor | None = None,
        packing: Packing | None = None,
    ) -> tuple[Tensor, Tensor, None]:
        return *self.bijection(x, self._with_measured(x, context, measured)), None

    def inverse(
        self, z: Tensor, context: Tensor | None = None, state: None = None, measured: Tensor | None = None
    ) -> tuple[Tensor, Tensor, None]:
        return *self.bijection.inverse(z, self._with_measured(z, context, measured)), None

    def _with_measured(self, x: Tensor, context: Tensor | None, measured: Tensor | None) -> Tensor:
        assert context is not None
        moves = torch.ones_like(x) if measured is None else measured.to(x.dtype)
        return torch.cat([context, moves], -1)
