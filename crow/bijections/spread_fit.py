"""The most likely variances of a mixed model's random effects: the factor of g of every region."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from crow.bijections.innovation_sums import Sums

POOLED = 0.5  # sd of log |l22| over regions
TINY = 1e-6
ROUNDING = 1e-13  # of a sum
LARGE = 2**20  # sums
NEAR = 1e-5  # of a number, for differences of gradients
LEAST_START = 0.05  # sd of levels and of slopes over the follow-up, in units of sigma, where a search begins

LogPrior = Callable[[Tensor], tuple[Tensor, Tensor]]


def likeliest_factor(
    sums: Sums, slopes: Tensor, pool_slopes: bool, start: Tensor | None = None, precision: Tensor | None = None
) -> Tensor:
    """Factor of g, ``[3, region]``: the mode of the likelihood and, to pool, a prior of the slopes' spread.

    The likelihood is that of the most likely effects, or integrated over effects of a ``precision`` (`Sums.slope`).

    Maximum likelihood finds no spread of slopes at all in a third of regions that have it, and forecasts beyond the
    follow-up are then far too sure. First with the prior log |l22|, which keeps away from 0 (Chung et al. 2013), then
    with log |l22| normal around its median over regions: those that say little borrow from the others.
    """
    if not pool_slopes or not bool(slopes.any()):
        return _newton(sums, slopes, lambda size: (torch.zeros_like(size), torch.zeros_like(size)), start, precision)
    theta = _newton(sums, slopes, lambda size: (size, torch.ones_like(size)), start, precision)
    middle = theta[2][slopes].abs().log().median()

    def near(size: Tensor) -> tuple[Tensor, Tensor]:
        z = (size - middle) / POOLED
        return -0.5 * z.square(), -z / POOLED

    return _newton(sums, slopes, near, theta, precision)


def _newton(
    sums: Sums,
    slopes: Tensor,
    log_prior: LogPrior,
    start: Tensor | None,
    precision: Tensor | None,
    iterations: int = 100,
) -> Tensor:
    """Maximises the likelihood and the prior of log |l22| over g's factor ``[3, region]``.

    From ``start``, or from the best of a few. A region without ``slopes [region]`` only over its first row:
    a random intercept. ``log_prior`` returns the prior and its derivative. The Hessian is made of differences of
    gradients: regions are independent, so three steps give it all. Iterations go on for those that have not converged.
    """
    free = torch.stack([torch.ones_like(slopes), slopes, slopes]).to(sums.xx.dtype)
    scale = (sums.tt.sum() / sums.n.sum()).sqrt().clamp_min(1e-3)
    objective = _objective(sums, slopes, free, log_prior, precision)
    if start is None:
        starts = [free * torch.tensor([[a], [0.0], [b / scale]]) for a in (0.3, 1.0, 3.0) for b in (0.05, 0.5)]
        best = objective(torch.stack(starts))[0].argmax(0)
        start = torch.stack(starts).gather(0, best.expand(1, 3, -1))[0]
    else:  # where a spread is 0, its gradient is 0 as well
        least = torch.stack([torch.tensor(LEAST_START), torch.zeros(()), LEAST_START / scale])[:, None]
        start = torch.where(start.abs() < least, least, start)
    found = free * start  # [3, region]
    left, theta = torch.arange(len(slopes)), found.clone()  # the regions that have not converged, and their factors
    value, gradient, hessian = _derivatives(objective, theta)
    damping = torch.ones(len(slopes), dtype=theta.dtype)
    for _ in range(iterations):
        kept = hessian * free.T.unsqueeze(-1) * free.T.unsqueeze(-2)
        size, basis = torch.linalg.eigh(-kept)  # [region, 3]
        along = (basis.mT @ gradient.T.unsqueeze(-1)) / (size.abs() + damping[:, None]).unsqueeze(-1)
        step = (basis @ along).squeeze(-1).T
        going = (gradient * step).sum(0).abs() >= 1e-12
        # The derivatives there as well, which the next step needs if this one is better, as it mostly is.
        value_there, gradient_there, hessian_there = _derivatives(objective, theta + step)
        better = value_there > value - ROUNDING * value.abs()  # a last step is too short for the value to show it
        theta, value = torch.where(better, theta + step, theta), torch.where(better, value_there, value)
        gradient = torch.where(better, gradient_there, gradient)
        hessian = torch.where(better[:, None, None], hessian_there, hessian)
        damping = torch.where(better, damping / 5, damping * 5).clamp(1e-8, 1e12)
        if not bool(going.all()):
            found[:, left] = theta
            if not bool(going.any()):
                break
            some = going.nonzero()[:, 0]
            left, sums, slopes, free = left[some], sums.of_regions(some), slopes[some], free[:, some]
            theta, gradient = theta[:, some], gradient[:, some]
            value, hessian, damping = value[some], hessian[some], damping[some]
            precision = None if precision is None else precision[some]
            objective = _objective(sums, slopes, free, log_prior, precision)
    found[:, left] = theta
    return found


def _objective(
    sums: Sums, slopes: Tensor, free: Tensor, log_prior: LogPrior, precision: Tensor | None
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The likelihood with the prior, and its gradient, of factors ``[*, 3, region]``."""

    def objective(theta: Tensor) -> tuple[Tensor, Tensor]:
        if theta.ndim > 2 and sums.zx.numel() > LARGE:  # as many copies would fill the memory
            each = [objective(own) for own in theta]
            return torch.stack([value for value, _ in each]), torch.stack([gradient for _, gradient in each])
        log_lik, gradient = sums.slope(theta, precision)
        l22 = torch.where(slopes, theta[..., 2, :], 1.0)
        prior, by_size = log_prior(l22.abs().clamp_min(TINY).log())
        by_l22 = torch.where(slopes & (l22.abs() > TINY), by_size / l22, 0.0)
        gradient = torch.cat([gradient[..., :2, :], (gradient[..., 2, :] + by_l22).unsqueeze(-2)], -2)
        return log_lik + torch.where(slopes, prior, 0.0), gradient * free

    return objective


def _derivatives(
    objective: Callable[[Tensor], tuple[Tensor, Tensor]], theta: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Value ``[region]``, gradient ``[3, region]`` and Hessian ``[region, 3, 3]``."""
    steps = NEAR * theta.abs() + NEAR**2
    values, gradients = objective(torch.stack([theta, *(theta + steps * row[:, None] for row in torch.eye(3))]))
    gradient, *moved = gradients
    hessian = torch.stack([(there - gradient) / step for there, step in zip(moved, steps, strict=True)])
    hessian = hessian.permute(2, 0, 1)
    return values[0], gradient, (hessian + hessian.mT) / 2
