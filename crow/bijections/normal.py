"""The log-density of the standard normal distribution."""

from __future__ import annotations

import math

from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def standard_normal_log_prob(z: Tensor, event_dims: int = 0, values: Tensor | int | None = None) -> Tensor:
    """``log N(z; 0, I)``, summed over the last ``event_dims`` axes.

    Parameters
    ----------
    z : Tensor
        ``[*batch, *event]``.
    event_dims : int
        Number of axes of an event; 0 gives the log-density of every value.
    values : Tensor or int, optional
        Number of values that count in an event. The default is all of them; give it if some are always 0, such as
        voxels outside a mask.

    Returns
    -------
    Tensor
        ``[*batch]``, in nats.

    Examples
    --------
    >>> import torch
    >>> standard_normal_log_prob(torch.zeros(2, 3), event_dims=1)
    tensor([-2.7568, -2.7568])
    """
    squares = z.square()
    if event_dims:
        squares = squares.sum(tuple(range(-event_dims, 0)))
    if values is None:
        values = z.shape[z.dim() - event_dims :].numel()
    return -0.5 * (squares + values * LOG_2PI)
