"""A linear discriminant as a bijection, from visits of which few have a class: where a semi-conditional flow starts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from crow.bijections.regression import Regression

UNLABELLED = 0.3  # weight of a visit whose class is unknown
ROUNDS = 30


class Discriminant(Regression):
    """``z = L^-1 (x - mean_y)`` of ``x: [*batch, features]`` and the class y, ``[*batch, classes]`` one-hot.

    After `learn`, N(0, I) of z is linear discriminant analysis: ``x | y ~ N(mean_y, L L')``.
    """

    @torch.no_grad()
    def learn(self, x: Tensor, label: Tensor, subject: Tensor, prior: Tensor) -> None:
        """Fit to ``x [visit, features]`` of ``subject``s, whose class is ``label``, or unknown (-1).

        `Regression.fit` to those with a class; then expectation maximisation with the others, which count `UNLABELLED`.
        ``prior [class]`` is p(y). Source: Nigam et al. 2000, Text classification from labeled and unlabeled documents
        using EM, section 5.3.1.
        """
        known = label >= 0
        classes = functional.one_hot(label[known], self.context)
        self.fit(x[known], classes, subject[known])
        seen, others, count = x[known].double(), x[~known].double(), classes.double()
        own, factor = count.sum(0), self.factor.double()
        mean, covariance = (self.level[:, None] + self.effect).mT.double(), factor @ factor.mT
        labelled = covariance * len(seen)
        for _ in range(ROUNDS if len(others) else 0):
            share = UNLABELLED * _log_joint(others, mean, covariance, prior).softmax(1)
            total = own + share.sum(0)
            mean = (count.mT @ seen + share.mT @ others) / total[:, None]
            apart = others[:, None] - mean
            covariance = (labelled + torch.einsum("vk,vki,vkj->ij", share, apart, apart)) / total.sum()
        self._take(torch.zeros_like(self.level), mean.mT, covariance)


def _log_joint(x: Tensor, mean: Tensor, covariance: Tensor, prior: Tensor) -> Tensor:
    """``log p(x, y) [visit, class]`` but for what is the same for all."""
    factor = torch.linalg.cholesky(covariance)
    z = torch.linalg.solve_triangular(factor, (x[:, None] - mean).flatten(0, 1).mT, upper=False)
    return -0.5 * z.square().sum(0).unflatten(0, (len(x), len(mean))) + prior.double().log()
