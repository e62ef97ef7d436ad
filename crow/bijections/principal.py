"""What all values of an image have in common, made as large as the rest: along the principal components of a start."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from crow.bijections.base import Bijection

COMPONENTS = 16
A_SUBJECT = 1 / 4  # components to a subject, at most
FOLDS = 5
CHUNK_BYTES = 2**27  # of images in memory at once


class PrincipalComponents(Bijection):
    """``z = x + sum_k (exp(-log_sd_k) - 1) (u_k . x) u_k`` of ``x: [batch, *event]``, ``u: [k, *event]`` orthonormal.

    Under N(0, I) of z, x is normal with variance ``exp(2 log_sd_k)`` along u_k and 1 across all of them: probabilistic
    principal components (Tipping & Bishop 1999), which a stack of local couplings would learn but slowly. The identity
    until `fit`; what was fitted does not learn. Raises ValueError for x of another event.
    """

    directions: Tensor
    log_sd: Tensor

    def __init__(self, event: tuple[int, ...], components: int = COMPONENTS) -> None:
        super().__init__()
        self.register_buffer("directions", torch.zeros(components, *event))
        self.register_buffer("log_sd", torch.zeros(components))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._scaled(x, -self.log_sd)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._scaled(z, self.log_sd)

    def _scaled(self, x: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[1:] != self.directions.shape[1:]:
            event = ", ".join(map(str, self.directions.shape[1:]))
            raise ValueError(f"PrincipalComponents expects [batch, {event}], got {list(x.shape)}")
        u = self.directions.flatten(1)
        moved = (x.flatten(1) @ u.T * log_scale.expm1()) @ u
        return x + moved.view_as(x), log_scale.sum().expand(len(x))

    @torch.no_grad()
    def fit(self, read: Callable[[Tensor], Tensor], subject: Tensor) -> Tensor:
        """Take the components of ``read(rows): [row, *event]``, images of mean 0 of ``subject [row]``, the same at
        every reading, and return what they leave: the sd of every value, ``[*event]``.

        The sd along a component is that of subjects whom it was not made from (5 folds), and so is the mean of what is
        left: in few images the largest components of those same images are too large, and leave too little. Where it is
        no larger than the rest, nothing is scaled. There is at most one to four subjects: what components take from the
        images that they were made from, the rest of a flow would take for certain. From the Gram matrix, over pairs of
        chunks of images.
        """
        rows, values = torch.arange(len(subject)), self.directions[0].numel()
        step = max(1, CHUNK_BYTES // (4 * values))
        gram = _gram(read, rows.split(step), len(rows))
        fold = torch.unique(subject, return_inverse=True)[1] % FOLDS
        most = min(len(self.log_sd), values // 2, max(1, int(A_SUBJECT * len(subject.unique()))))
        along, total = gram.new_zeros(most), gram.diagonal().sum()
        for k in fold.unique():
            kept, left = fold != k, fold == k
            along += (gram[left][:, kept] @ _mix(gram[kept][:, kept], most)).square().sum(0)
        across = (total - along.sum()) / (len(rows) * (values - most))
        mix = _mix(gram, most).float()
        found = torch.zeros_like(self.directions[:most]).flatten(1)
        for part in rows.split(step):
            found += mix[part].T @ read(part).flatten(1)
        there = found.square().sum(1) > 0.5
        u = self.directions.zero_().flatten(1)
        u[:most][there] = torch.linalg.qr(found[there].double().T)[0].T.float()  # against rounding
        squares = torch.zeros_like(u[0])
        for part in rows.split(step):
            x = read(part).flatten(1)
            squares += (x - x @ u.T @ u).square().sum(0)
        left_over = squares * (across / squares.mean())
        self.log_sd.zero_()[:most] = (along / len(rows) / across).clamp_min(1).log().float() / 2
        return left_over.sqrt().view_as(self.directions[0])


def _gram(read: Callable[[Tensor], Tensor], parts: tuple[Tensor, ...], count: int) -> Tensor:
    """Inner products of all pairs of images, ``[n, n]`` in float64; two chunks are in memory."""
    gram = torch.empty(count, count, dtype=torch.float64)
    for k, first in enumerate(parts):
        a = read(first).flatten(1)
        for second in parts[k:]:
            products = (a @ (a if second is first else read(second).flatten(1)).T).double()
            gram[first[:, None], second], gram[second[:, None], first] = products, products.T
    return gram


def _mix(gram: Tensor, most: int) -> Tensor:
    """``[n, most]``: the combinations of n images that are their first principal components, of length 1, or 0 where
    they have not so many."""
    values, vectors = (part[..., -most:].flip(-1) for part in torch.linalg.eigh(gram))
    return torch.where(values > 1e-6 * values[0], vectors / values.abs().sqrt(), 0.0)
