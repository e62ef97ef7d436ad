"""What all values of an image have in common, scaled to the size of the rest, along fitted principal components."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from crow.bijections.base import Bijection

MAX_COMPONENTS = 16
COMPONENTS_PER_SUBJECT = 1 / 4  # at most
FOLDS = 5
CHUNK_BYTES = 2**26  # of images in memory at a time
ROUNDING_CHUNK = 2**18  # values of components in float64 at a time


class PrincipalComponents(Bijection):
    """``z = x + sum_k ((exp(-log_sd_k) - 1) (u_k . x) + mean_k) u_k``, ``x: [batch, *event]``, u ``[k, *event]``.

    u is orthonormal. Under N(0, I) of z and with mean 0, x is normal with variance ``exp(2 log_sd_k)`` along u_k and 1
    orthogonal to all of them. This is probabilistic principal component analysis (Tipping & Bishop 1999), which a stack
    of local couplings would learn only slowly. The map is the identity until `fit`; what is fitted is not trained.

    Parameters
    ----------
    event : tuple of int
        Shape of an event.
    components : int
        Largest number of components.

    Raises
    ------
    ValueError
        If x has another event shape.

    Examples
    --------
    >>> import torch
    >>> layer, x = PrincipalComponents((1, 4, 4), components=3), torch.randn(5, 1, 4, 4)
    >>> z, log_det = layer(x)
    >>> torch.equal(z, x), log_det.tolist()  # not fitted yet
    (True, [0.0, 0.0, 0.0, 0.0, 0.0])
    """

    directions: Tensor
    log_sd: Tensor
    mean: Tensor

    def __init__(self, event: tuple[int, ...], components: int = MAX_COMPONENTS) -> None:
        super().__init__()
        self.register_buffer("directions", torch.zeros(components, *event))
        self.register_buffer("log_sd", torch.zeros(components))
        self.register_buffer("mean", torch.zeros(components))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(x, self.along(x) * torch.expm1(-self.log_sd) + self.mean), self._log_det(x, -self.log_sd)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        along = self.along(z)
        return self._moved(z, (along - self.mean) * self.log_sd.exp() - along), self._log_det(z, self.log_sd)

    def along(self, x: Tensor) -> Tensor:
        """``u_k . x``, ``[batch, k]``."""
        if x.shape[1:] != self.directions.shape[1:]:
            event = ", ".join(map(str, self.directions.shape[1:]))
            raise ValueError(f"PrincipalComponents expects [batch, {event}], got {list(x.shape)}")
        return x.flatten(1) @ self.directions.flatten(1).T

    def match(self, drawn: Tensor, log_sd: Tensor) -> None:
        """Give what was drawn mean 0 and the sd ``exp(log_sd)`` along every component.

        ``drawn [n, k]`` is `along` of z: it is N(0, I) if nothing after this layer changes the components.
        """
        exists = self.directions.flatten(1).any(1)
        self.mean.copy_(torch.where(exists, drawn.mean(0), 0.0))
        self.log_sd.copy_(torch.where(exists, log_sd - drawn.std(0).log(), 0.0))

    def _moved(self, x: Tensor, by: Tensor) -> Tensor:
        return x + (by @ self.directions.flatten(1)).view_as(x)

    def _log_det(self, x: Tensor, log_scale: Tensor) -> Tensor:
        return log_scale.sum().expand(len(x))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}mean", torch.zeros_like(self.mean))  # runs of earlier versions
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @torch.no_grad()
    def fit(self, read: Callable[[Tensor], Tensor], subject: Tensor) -> Tensor:
        """Fit the components to images of mean 0.

        The sd along a component, and the mean of the residual, are cross-validated: they come from subjects whose
        images did not define the component (5 folds). With few images, the components of the same images would be too
        large and leave too little. If an sd is not larger than the residual's, the component is not scaled. There is at
        most one component per four subjects: components overfit the images that they were made from, and the rest of a
        flow would take that for certain. Computed from the Gram matrix, over pairs of chunks of images.

        Parameters
        ----------
        read : callable
            Maps row numbers to images ``[row, *event]``, the same ones at every call.
        subject : Tensor
            Subject of every image, ``[row]``.

        Returns
        -------
        Tensor
            The sd of every value of the residual, ``[*event]``.
        """
        rows, values = torch.arange(len(subject)), self.directions[0].numel()
        step = max(1, CHUNK_BYTES // (4 * values))
        gram = _gram(read, rows.split(step), len(rows))
        fold = torch.unique(subject, return_inverse=True)[1] % FOLDS
        count = min(len(self.log_sd), values // 2, max(1, int(COMPONENTS_PER_SUBJECT * len(subject.unique()))))
        along, total = gram.new_zeros(count), gram.diagonal().sum()
        for k in fold.unique():
            training, test = fold != k, fold == k
            weights = _component_weights(gram[training][:, training], count)
            along += (gram[test][:, training] @ weights).square().sum(0)
        across = (total - along.sum()) / (len(rows) * (values - count))
        weights = _component_weights(gram, count).float()
        found = torch.zeros_like(self.directions[:count]).flatten(1)
        for part in rows.split(step):
            found += weights[part].T @ read(part).flatten(1)
        exists = found.square().sum(1) > 0.5
        u = self.directions.zero_().flatten(1)
        u[:count][exists] = _orthonormal(found[exists])
        squares = torch.zeros_like(u[0])
        for part in rows.split(step):
            x = read(part).flatten(1)
            squares += (x - x @ u.T @ u).square().sum(0)
        self.log_sd.zero_()[:count] = (along / len(rows) / across).clamp_min(1).log().float() / 2
        return (squares * (across / squares.mean())).sqrt().view_as(self.directions[0])


def _orthonormal(rows: Tensor) -> Tensor:
    """Rows that are orthonormal up to rounding ``[k, values]``, corrected; in chunks, since they may be large."""
    chunks = rows.split(ROUNDING_CHUNK, 1)
    gram = torch.stack([chunk.double() @ chunk.double().T for chunk in chunks]).sum(0)
    factor = torch.linalg.cholesky(gram)
    solved = [torch.linalg.solve_triangular(factor, chunk.double(), upper=False).float() for chunk in chunks]
    return torch.cat(solved, 1)


def _gram(read: Callable[[Tensor], Tensor], parts: tuple[Tensor, ...], count: int) -> Tensor:
    """Inner products of all pairs of images, ``[n, n]`` in float64; two chunks are in memory at a time."""
    gram = torch.empty(count, count, dtype=torch.float64)
    for k, first in enumerate(parts):
        a = read(first).flatten(1)
        for second in parts[k:]:
            products = (a @ (a if second is first else read(second).flatten(1)).T).double()
            gram[first[:, None], second], gram[second[:, None], first] = products, products.T
    return gram


def _component_weights(gram: Tensor, count: int) -> Tensor:
    """``[n, count]``: the combinations of n images that are their first principal components, of length 1.

    A column is 0 if the images have fewer components.
    """
    values, vectors = (part[..., -count:].flip(-1) for part in torch.linalg.eigh(gram))
    return torch.where(values > 1e-6 * values[0], vectors / values.abs().sqrt(), 0.0)
