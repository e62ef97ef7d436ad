"""The two contracts of invertible maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Bijection(nn.Module):
    """An exact invertible map of x, which may depend on a context.

    ``forward`` and ``inverse`` undo each other. Each returns the log-determinant of the map that it computes, so the
    two log-determinants are negatives of each other. A bijection has no state beyond its ``state_dict``.
    ``tests/bijections/contract.py`` checks all of this for every bijection.

    Examples
    --------
    A subclass implements ``forward`` and ``inverse``:

    >>> import math
    >>> import torch
    >>> class Double(Bijection):
    ...     def forward(self, x, context=None):
    ...         return 2 * x, torch.full((len(x),), x.shape[1] * math.log(2))
    ...     def inverse(self, z, context=None):
    ...         return z / 2, torch.full((len(z),), -z.shape[1] * math.log(2))
    >>> z, log_det = Double()(torch.ones(3, 1))
    >>> z.shape, log_det.shape
    (torch.Size([3, 1]), torch.Size([3]))
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent values.

        Parameters
        ----------
        x : Tensor
            ``[batch, *event]``.
        context : Tensor, optional
            What the map depends on, with the same batch axes as x.

        Returns
        -------
        z : Tensor
            The latent values.
        log_det : Tensor
            ``log |det dz/dx|``, ``[batch]``, in nats.

        Raises
        ------
        ValueError
            If x or the context has another shape than the bijection was built for.
        """
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent values to data.

        Parameters
        ----------
        z : Tensor
            A value of ``forward``.
        context : Tensor, optional
            The context of ``forward``.

        Returns
        -------
        x : Tensor
            The data.
        log_det : Tensor
            ``log |det dx/dz|``, ``[batch]``, in nats.
        """
        raise NotImplementedError


class RecurrentBijection(nn.Module):
    """An invertible map of a sequence, whose value at time t depends on the visits up to t only.

    ``state`` carries everything that the next visit needs, so every split of a sequence gives the same answer:
    ``forward(x[:, :k])`` followed by ``forward(x[:, k:], state=state)`` equals ``forward(x)``. ``state=None`` is the
    beginning of a sequence. ``forward`` has no Python loop over time; ``inverse`` steps through time and reuses the
    state.

    Examples
    --------
    >>> import torch
    >>> class Changes(RecurrentBijection):
    ...     'Each visit minus the last one; the state is the last visit.'
    ...     def forward(self, x, context=None, state=None):
    ...         last = torch.zeros_like(x[:, :1]) if state is None else state
    ...         return x - torch.cat([last, x[:, :-1]], 1), x.new_zeros(x.shape[:2]), x[:, -1:]
    >>> x = torch.randn(4, 5, 2)
    >>> first, _, state = Changes()(x[:, :3])
    >>> rest, _, _ = Changes()(x[:, 3:], state=state)
    >>> torch.equal(torch.cat([first, rest], 1), Changes()(x)[0])
    True
    """

    def forward(self, x: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Tensor, Any]:
        """Map sequences to latent values.

        Parameters
        ----------
        x : Tensor
            ``[batch, time, features]``.
        context : Tensor, optional
            ``[batch, time, channels]``.
        state : optional
            The state after the visits before x.

        Returns
        -------
        z : Tensor
            ``[batch, time, features]``.
        log_det : Tensor
            Log-determinant per visit, ``[batch, time]``, in nats.
        state
            The state after the last visit.
        """
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Tensor, Any]:
        """Map latent values to sequences; parameters and returned values correspond to those of ``forward``."""
        raise NotImplementedError
