"""The contract of every bijection, recurrent ones included: each check takes (bijection, x, context).

Tolerances follow from the arithmetic: machine epsilon times the condition of the map at x (see `rounding`).
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

# Rounding errors of one direction, in units of machine epsilon times the size of its input and output: a few per
# operation, and some tens of operations from x to z.
ROUNDINGS = 16


class Rounding(NamedTuple):
    """Bounds of rounding errors in the dtype of x, value by value."""

    x: Tensor  # of inverse(forward(x)), in the shape of x
    z: Tensor  # of forward(x), in the shape of z
    log_det: Tensor  # of both log-determinants, in their shape


def perturb(module: nn.Module, seed: int = 0) -> None:
    """Moves every parameter away from its initial value, enough to change every layer's output by order one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.add_(noise / max(4, parameter.shape[1:].numel()) ** 0.5)


def rounding(bijection: nn.Module, x: Tensor, context: Tensor | None) -> Rounding:
    """How large rounding errors can be, from the Jacobian J of every batch element in float64.

    With machine epsilon eps, ``forward`` returns ``z + d`` with ``|d| <= k eps (|J| |x| + |z|)``: the rounding of the
    input, amplified, and of the output. ``inverse`` amplifies d by ``|J^-1|`` and adds its own rounding of x. The two
    log-determinants differ by their gradient times that error, and by the rounding of their terms. All absolute values
    are elementwise (the condition number of Bauer and Skeel).
    """
    twin = copy.deepcopy(bijection).double()
    at, c = x.detach().double(), None if context is None else context.double()
    bounds: list[tuple[Tensor, Tensor, Tensor]] = []
    for i in range(len(at)):
        one, one_c = at[i : i + 1], None if c is None else c[i : i + 1]
        z, log_det = _run(twin, one, one_c)
        jacobian = _jacobian(lambda v, one_c=one_c: _run(twin, v, one_c)[0], one)
        gradient = _jacobian(lambda v, one_c=one_c: _run(twin, v, one_c)[1], one)
        size = one.detach().flatten().abs()
        forward = jacobian.abs() @ size + z.detach().flatten().abs()
        back = torch.linalg.inv(jacobian).abs() @ forward + size
        terms = one.numel() + log_det.detach().flatten().abs()
        bounds.append((back.view_as(one), forward.view_as(z), (gradient.abs() @ back + terms).view_as(log_det)))
    scale = ROUNDINGS * torch.finfo(x.dtype).eps
    return Rounding(*(scale * torch.cat(parts) for parts in zip(*bounds, strict=True)))


def check_round_trip(bijection: nn.Module, x: Tensor, context: Tensor | None, tolerance: float | None = None) -> None:
    """Both directions, and in another order of the batch; a ``tolerance`` is for maps with an error of their own."""
    z, log_det = _run(bijection, x, context)
    back, inverse_log_det = _run(bijection.inverse, z, context)
    assert back.dtype == z.dtype == log_det.dtype == x.dtype
    x_again, _ = _run(bijection.inverse, z.flip(0), None if context is None else context.flip(0))
    bound = _bound(bijection, x, context, tolerance)
    _assert_within(back, x, bound.x, "x after a round trip")
    _assert_within(x_again.flip(0), x, bound.x, "x after a round trip in another order")
    _assert_within(inverse_log_det, -log_det, bound.log_det, "the log-determinant of the inverse")


def check_log_det(bijection: nn.Module, x: Tensor, context: Tensor | None, tolerance: float | None = None) -> None:
    """Against the autograd Jacobian of every batch element, in both directions."""
    bound = _bound(bijection, x, context, tolerance)
    z, log_det = _run(bijection, x, context)
    _, inverse_log_det = _run(bijection.inverse, z, context)
    for i in range(len(x)):
        c = None if context is None else context[i : i + 1]
        for way, at, found in ((bijection, x, log_det), (bijection.inverse, z, inverse_log_det)):
            jacobian = _jacobian(lambda v, way=way, c=c: _run(way, v, c)[0], at[i : i + 1])
            expected = torch.linalg.slogdet(jacobian).logabsdet
            _assert_within(_total(found)[i], expected, bound.log_det[i].sum(), "the log-determinant")


def check_gradients(bijection: nn.Module, x: Tensor, context: Tensor | None, context_matters: bool) -> None:
    """x, every parameter and the context have a non-zero gradient, in both directions."""
    z = _run(bijection, x, context)[0].detach()
    for way, at in ((bijection, x), (bijection.inverse, z)):
        inputs = [at.clone().requires_grad_()]
        if context is not None and context_matters:
            inputs.append(context.clone().requires_grad_())
        y, log_det = _run(way, inputs[0], inputs[1] if len(inputs) > 1 else context)
        weights = torch.linspace(0.5, 1.5, y[0].numel(), dtype=y.dtype, device=y.device).view_as(y[0])
        loss = (weights * y.square()).sum() + _total(log_det).sum()
        names = ["x", "context"][: len(inputs)] + [name for name, _ in bijection.named_parameters()]
        gradients = torch.autograd.grad(loss, [*inputs, *bijection.parameters()], allow_unused=True)
        for name, gradient in zip(names, gradients, strict=True):
            assert gradient is not None, f"no gradient reaches {name}"
            assert bool(gradient.isfinite().all()), f"the gradient of {name} is not finite"
            assert bool(gradient.abs().sum() > 0), f"the gradient of {name} is zero"


def check_batch(bijection: nn.Module, x: Tensor, context: Tensor | None) -> None:
    """The result of a batch element depends neither on its place nor on the other elements."""
    bound = rounding(bijection, x, context)
    z, log_det = _run(bijection, x, context)
    for rows in (torch.arange(len(x) - 1, -1, -1), torch.tensor([1])):
        c = None if context is None else context[rows]
        z_rows, log_det_rows = _run(bijection, x[rows], c)
        _assert_within(z_rows, z[rows], bound.z[rows], "z")
        _assert_within(log_det_rows, log_det[rows], bound.log_det[rows], "the log-determinant")


def check_device(bijection: nn.Module, x: Tensor, context: Tensor | None, device: str) -> None:
    """A copy on another device gives the same values there."""
    bound = rounding(bijection, x, context)
    z, log_det = _run(bijection, x, context)
    copied = copy.deepcopy(bijection).to(device)
    c = None if context is None else context.to(device)
    z_there, log_det_there = _run(copied, x.to(device), c)
    assert z_there.device.type == log_det_there.device.type == torch.device(device).type
    _assert_within(z_there.cpu(), z, bound.z, "z")
    _assert_within(log_det_there.cpu(), log_det, bound.log_det, "the log-determinant")


def check_state_dict(bijection: nn.Module, x: Tensor, context: Tensor | None, build: Callable[[], nn.Module]) -> None:
    """Another instance gives the same values after it has loaded the state of the first."""
    other = build().to(x.dtype)
    perturb(other, seed=7)
    other.load_state_dict(bijection.state_dict())
    z = _run(bijection, x, context)[0]
    for way, loaded, at in ((bijection, other, x), (bijection.inverse, other.inverse, z)):
        for expected, found in zip(_run(way, at, context), _run(loaded, at, context), strict=True):
            assert torch.equal(found, expected)


def check_modes(bijection: nn.Module, x: Tensor, context: Tensor | None) -> None:
    """Training and evaluation mode give the same values."""
    trained = _run(bijection.train(), x, context)
    for expected, found in zip(trained, _run(bijection.eval(), x, context), strict=True):
        assert torch.equal(found, expected)
    bijection.train()


def check_refuses(bijection: nn.Module, x: Tensor, context: Tensor | None, name: str) -> None:
    """A bad shape raises a ValueError that names the bijection."""
    with pytest.raises(ValueError, match=name):
        bijection(x, context)


def _run(way: Callable[..., tuple[Tensor, ...]], x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    y, log_det = way(x, context)[:2]
    assert log_det.shape == x.shape[: log_det.dim()]
    return y, log_det


def _jacobian(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """``[values of the function, values of x]``."""
    jacobian = torch.autograd.functional.jacobian(function, at)
    return jacobian.reshape(-1, at.numel())


def _bound(bijection: nn.Module, x: Tensor, context: Tensor | None, tolerance: float | None) -> Rounding:
    if tolerance is None:
        return rounding(bijection, x, context)
    z, log_det = _run(bijection, x, context)
    return Rounding(*(torch.full_like(part, tolerance) for part in (x, z.detach(), log_det.detach())))


def _assert_within(found: Tensor, expected: Tensor, bound: Tensor, what: str) -> None:
    assert found.shape == expected.shape, f"{what}: shape {list(found.shape)}, expected {list(expected.shape)}"
    error = (found - expected).detach().abs()
    worst = int((error - bound).argmax())
    assert bool((error <= bound).all()), (
        f"{what}: error {float(error.flatten()[worst]):.3g}, allowed {float(bound.flatten()[worst]):.3g}"
    )


def _total(log_det: Tensor) -> Tensor:
    return log_det.reshape(len(log_det), -1).sum(1)
