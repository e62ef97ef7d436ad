"""The contract of every bijection, recurrent ones too: each check takes (bijection, x, context)."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


def perturb(module: nn.Module, seed: int = 0) -> None:
    """Moves every parameter off its initial value, so far that every layer changes what it gets by order one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.add_(noise / max(4, parameter.shape[1:].numel()) ** 0.5)


def check_round_trip(bijection: nn.Module, x: Tensor, context: Tensor | None, tolerance: float) -> None:
    z, log_det = _run(bijection, x, context)
    back, inverse_log_det = _run(bijection.inverse, z, context)
    assert back.dtype == z.dtype == log_det.dtype == x.dtype
    torch.testing.assert_close(back, x, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(inverse_log_det, -log_det, atol=tolerance, rtol=tolerance)
    x_again, _ = _run(bijection.inverse, z.flip(0), None if context is None else context.flip(0))
    torch.testing.assert_close(x_again, x.flip(0), atol=tolerance, rtol=tolerance)


def check_log_det(bijection: nn.Module, x: Tensor, context: Tensor | None, tolerance: float = 1e-8) -> None:
    """Against the autograd Jacobian of one batch element after the other, in both directions."""
    z, log_det = _run(bijection, x, context)
    _, inverse_log_det = _run(bijection.inverse, z, context)
    for i in range(len(x)):
        c = None if context is None else context[i : i + 1]
        for way, at, found in ((bijection, x, log_det), (bijection.inverse, z, inverse_log_det)):
            jacobian = torch.autograd.functional.jacobian(lambda v, way=way, c=c: _run(way, v, c)[0], at[i : i + 1])
            expected = torch.linalg.slogdet(jacobian.reshape(at[i].numel(), at[i].numel())).logabsdet
            torch.testing.assert_close(_total(found)[i], expected, atol=tolerance, rtol=tolerance)


def check_gradients(bijection: nn.Module, x: Tensor, context: Tensor | None, context_matters: bool) -> None:
    """A gradient that is not zero reaches x, every parameter and the context, in both directions."""
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
    """A batch element's answer depends neither on its place nor on the others."""
    z, log_det = _run(bijection, x, context)
    for rows in (torch.arange(len(x) - 1, -1, -1), torch.tensor([1])):
        c = None if context is None else context[rows]
        z_rows, log_det_rows = _run(bijection, x[rows], c)
        torch.testing.assert_close(z_rows, z[rows], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(log_det_rows, log_det[rows], atol=1e-12, rtol=1e-12)


def check_device(bijection: nn.Module, x: Tensor, context: Tensor | None, device: str) -> None:
    z, log_det = _run(bijection, x, context)
    there = copy.deepcopy(bijection).to(device)
    c = None if context is None else context.to(device)
    z_there, log_det_there = _run(there, x.to(device), c)
    assert z_there.device.type == log_det_there.device.type == torch.device(device).type
    torch.testing.assert_close(z_there.cpu(), z, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(log_det_there.cpu(), log_det, atol=1e-9, rtol=1e-9)


def check_state_dict(bijection: nn.Module, x: Tensor, context: Tensor | None, build: Callable[[], nn.Module]) -> None:
    """A second, differently drawn one gives the same numbers once it has loaded the first one's state."""
    other = build().to(x.dtype)
    perturb(other, seed=7)
    other.load_state_dict(bijection.state_dict())
    z = _run(bijection, x, context)[0]
    for way, loaded, at in ((bijection, other, x), (bijection.inverse, other.inverse, z)):
        for expected, found in zip(_run(way, at, context), _run(loaded, at, context), strict=True):
            assert torch.equal(found, expected)


def check_modes(bijection: nn.Module, x: Tensor, context: Tensor | None) -> None:
    trained = _run(bijection.train(), x, context)
    for expected, found in zip(trained, _run(bijection.eval(), x, context), strict=True):
        assert torch.equal(found, expected)
    bijection.train()


def check_refuses(bijection: nn.Module, x: Tensor, context: Tensor | None, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        bijection(x, context)


def _run(way: Callable[..., tuple[Tensor, ...]], x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    y, log_det = way(x, context)[:2]
    assert log_det.shape == x.shape[: log_det.dim()]
    return y, log_det


def _total(log_det: Tensor) -> Tensor:
    return log_det.reshape(len(log_det), -1).sum(1)
