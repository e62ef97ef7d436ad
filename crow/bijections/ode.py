"""The continuous flow: the solution of a differential equation, as a bijection."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from crow.bijections.channels import ChannelBijection
from crow.errors import SolverError

Trace = Literal["exact", "jacobian", "hutchinson"]
FIRST_STEP = 0.5  # of the time interval


class ODE(ChannelBijection):
    """A continuous flow: ``z = y(1)`` of ``dy/dt = f(t, y, c)`` with ``y(0) = x: [*batch, channels, *space]``.

    The log-determinant is the integral of ``tr df/dy``. The solver is Dormand-Prince 5(4) to a ``tolerance``, or
    Runge-Kutta 4 with a fixed number of ``steps``. Dormand-Prince takes the steps that the hardest item of a batch
    needs: every item's error is below the tolerance, but within it the answer for an item depends on the rest of its
    batch. With ``steps`` it does not.

    Parameters
    ----------
    channels : int
        Number of channels of x.
    dynamics : nn.Module
        ``f(t, y, c)`` over ``y: [batch, channels, *space]``. For ``trace="exact"`` it also has ``with_divergence``.
    space : int
        Number of spatial axes.
    trace : str
        ``exact`` uses the divergence of the dynamics. ``jacobian`` uses autograd, exact in as many passes as values.
        ``hutchinson`` is an unbiased estimate in one pass, with new random signs per call in training and fixed signs
        from ``seed`` in evaluation.
    adjoint : bool
        Compute gradients by a second solve backwards in time, in memory that does not grow with the evaluations.
    tolerance : float or nn.Module
        Absolute and relative tolerance, or a network that gives one per batch.
    steps : int, optional
        Number of Runge-Kutta steps.
    max_evaluations : int
        Largest number of evaluations of f in one solve.
    seed : int
        Seed of the signs of ``hutchinson``.
    name : str
        The name in error messages.

    Attributes
    ----------
    evaluations : int
        Number of evaluations of f in the last solve.
    tolerance : float
        The tolerance of the last solve.

    Raises
    ------
    SolverError
        If values are no longer finite, or if the solution needs more than ``max_evaluations``.
    ValueError
        If x has another number of channels.

    References
    ----------
    Chen et al., Neural ordinary differential equations, 2018; Grathwohl et al., FFJORD, 2019.

    Examples
    --------
    >>> import torch
    >>> from crow.networks.dynamics import HiddenUnits
    >>> ode = ODE(channels=3, dynamics=HiddenUnits(channels=3, context=0))
    >>> x = torch.randn(5, 3)
    >>> z, log_det = ode(x)
    >>> torch.allclose(ode.inverse(z)[0], x, atol=1e-3), log_det.shape
    (True, torch.Size([5]))
    """

    def __init__(
        self,
        channels: int,
        dynamics: nn.Module,
        space: int = 0,
        trace: Trace = "exact",
        adjoint: bool = False,
        tolerance: float | nn.Module = 1e-5,
        steps: int | None = None,
        max_evaluations: int = 2000,
        seed: int = 0,
        name: str = "ODE",
    ) -> None:
        super().__init__(channels, space)
        self.dynamics, self.trace, self.adjoint = dynamics, trace, adjoint
        self.gate = tolerance if isinstance(tolerance, nn.Module) else None
        self.tolerance = math.nan if isinstance(tolerance, nn.Module) else tolerance
        self.steps, self.max_evaluations, self.seed, self.name = steps, max_evaluations, seed, name
        self.evaluations = 0

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._solve(x, context, 0.0, 1.0)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._solve(z, context, 1.0, 0.0)

    def _solve(self, x: Tensor, context: Tensor | None, start: float, end: float) -> tuple[Tensor, Tensor]:
        self.check(x)
        batch, event = x.shape[: self.axis], x.shape[self.axis :]
        if context is not None:
            context = context.flatten(0, len(batch) - 1)
        y = x.reshape(-1, *event)
        if self.gate is not None:
            self.tolerance = float(self.gate(y))
        field = _Field(self, event, context)
        state = torch.cat([y.flatten(1), y.new_zeros(len(y), 1)], 1)
        if not (math.isfinite(self.tolerance) and bool(state.isfinite().all())):
            raise SolverError(
                f"{self.name}: its input is not finite, because the weights before it no longer are. Train with a "
                "smaller learning rate or more weight decay."
            )
        end_state = self._integrate(field, state, context, start, end)
        if not bool(end_state.isfinite().all()):
            raise SolverError(field.problem("the solution is not finite"))
        self.evaluations, field.evaluations = field.evaluations, 0
        return end_state[:, :-1].reshape(x.shape), end_state[:, -1].reshape(batch)

    def _integrate(self, field: _Field, state: Tensor, context: Tensor | None, start: float, end: float) -> Tensor:
        from torchdiffeq import odeint, odeint_adjoint  # with scipy's integrators, seconds to import

        times = torch.linspace(start, end, 1 + (self.steps or 1), dtype=state.dtype, device=state.device)
        first = {} if self.steps else {"first_step": FIRST_STEP}
        options = {} if self.steps else {**first, "norm": _largest_error, "step_t": times[1:]}
        method = "rk4" if self.steps else "dopri5"
        solver: dict[str, Any] = {"method": method, "rtol": self.tolerance, "atol": self.tolerance, "options": options}
        if not self.adjoint:
            return odeint(field, state, times, **solver)[-1]
        inputs = [*self.dynamics.parameters(), *([] if context is None else [context])]
        return odeint_adjoint(field, state, times, adjoint_options=first, adjoint_params=inputs, **solver)[-1]


class _Field:
    """``d/dt [y, log_det]`` of a state ``[batch, values + 1]``; counts the evaluations of one solve."""

    def __init__(self, ode: ODE, event: tuple[int, ...], context: Tensor | None) -> None:
        self.ode, self.event, self.context = ode, event, context
        self.evaluations, self.t = 0, torch.zeros(())
        self.signs: Tensor | None = None

    def __call__(self, t: Tensor, state: Tensor) -> Tensor:
        self.t = t.detach()
        self.evaluations += 1
        if self.evaluations > self.ode.max_evaluations:
            raise SolverError(self.problem(f"{self.ode.max_evaluations} evaluations were not enough"))
        y = state[:, :-1].unflatten(1, self.event)
        derivative, trace = self._derivative(t, y)
        return torch.cat([derivative.flatten(1), trace.unsqueeze(1)], 1)

    def _derivative(self, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.ode.trace == "exact":
            return self.ode.dynamics.with_divergence(t, y, self.context)  # type: ignore[operator]
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            y = y if keep and y.requires_grad else y.detach().requires_grad_()
            derivative = self.ode.dynamics(t, y, self.context)
            trace = _jacobian_trace if self.ode.trace == "jacobian" else self._estimated_trace
            divergence = trace(derivative, y, keep)
        return (derivative, divergence) if keep else (derivative.detach(), divergence.detach())

    def _estimated_trace(self, derivative: Tensor, y: Tensor, keep: bool) -> Tensor:
        """Hutchinson's estimate ``e' J e`` with random signs e."""
        if self.signs is None:
            self.signs = self._draw(y)
        (product,) = torch.autograd.grad(derivative, y, self.signs.expand_as(y), create_graph=keep, retain_graph=True)
        return (product * self.signs).flatten(1).sum(1)

    def _draw(self, y: Tensor) -> Tensor:
        if self.ode.training:
            return torch.randint_like(y, 2) * 2 - 1
        # One draw for all items, so that the answer for an item does not depend on its place in the batch.
        generator = torch.Generator().manual_seed(self.ode.seed)
        return (torch.randint(2, (1, *y.shape[1:]), generator=generator) * 2 - 1).to(y)

    def callback_step(self, t: Tensor, state: Tensor | tuple[Tensor, ...], step: Tensor) -> None:
        """Check before each step, forwards and in the adjoint, what torchdiffeq only asserts."""
        self.t = t.detach()
        parts = state if isinstance(state, tuple) else (state,)
        if not all(bool(part.isfinite().all()) for part in parts):
            raise SolverError(self.problem("the solution is not finite"))
        if bool(t + step == t):
            raise SolverError(self.problem("the next step is too small"))

    callback_step_adjoint = callback_step

    def problem(self, what: str) -> str:
        return (
            f"{self.ode.name}: its differential equation was not solved to a tolerance of {self.ode.tolerance:g}: "
            f"at t = {float(self.t):.3g} of 1, after {self.evaluations} evaluations: {what}. Look for outliers in the "
            "data, train with a smaller learning rate or more weight decay, or raise the tolerance."
        )


def _jacobian_trace(derivative: Tensor, y: Tensor, keep: bool) -> Tensor:
    flat = derivative.flatten(1)
    trace = flat.new_zeros(len(flat))
    for i in range(flat.shape[1]):
        (row,) = torch.autograd.grad(flat[:, i].sum(), y, create_graph=keep, retain_graph=True)
        trace = trace + row.flatten(1)[:, i]
    return trace


@torch.no_grad()
def _largest_error(error: Tensor) -> Tensor:
    """The largest error of an item in ``[batch, values + 1]``: the root mean square of its values, or its log_det."""
    return torch.maximum(error[:, :-1].square().mean(1).sqrt(), error[:, -1].abs()).max()
