"""A linear discriminant as a bijection, fitted to visits of which only some have a class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from crow.bijections.regression import Regression

UNLABELLED_WEIGHT = 0.3
EM_ITERATIONS = 30


class Discriminant(Regression):
    """``z = L^-1 (x - mean_y)`` of ``x: [*batch, features]`` and the class y, ``[*batch, classes]`` one-hot.

    After `fit_semi_supervised`, N(0, I) of z is linear discriminant analysis: ``x | y ~ N(mean_y, L L')``.
    """

    @torch.no_grad()
    def fit_semi_supervised(self, x: Tensor, label: Tensor, subject: Tensor, prior: Tensor) -> None:
        """Fit means and covariance to labelled and unlabelled visits.

        `Regression.fit` uses the labelled visits. Expectation maximisation then adds the unlabelled ones, with a weight
        of 0.3 per visit.

        Parameters
        ----------
        x : Tensor
            ``[visit, features]``.
        label : Tensor
            Class of every visit, ``[visit]``; -1 if it is unknown.
        subject : Tensor
            Subject of every visit, ``[visit]``.
        prior : Tensor
            ``p(y)``, ``[class]``.

        References
        ----------
        Nigam et al., Text classification from labeled and unlabeled documents using EM, 2000, section 5.3.1.
        """
        labelled = label >= 0
        classes = functional.one_hot(label[labelled], self.context)
        self.fit(x[labelled], classes, subject[labelled])
        x_labelled, x_unlabelled, one_hot = x[labelled].double(), x[~labelled].double(), classes.double()
        count, factor = one_hot.sum(0), self.factor.double()
        mean, covariance = (self.level[:, None] + self.effect).mT.double(), factor @ factor.mT
        scatter = covariance * len(x_labelled)
        for _ in range(EM_ITERATIONS if len(x_unlabelled) else 0):
            share = UNLABELLED_WEIGHT * _log_joint(x_unlabelled, mean, covariance, prior).softmax(1)
            total = count + share.sum(0)
            mean = (one_hot.mT @ x_labelled + share.mT @ x_unlabelled) / total[:, None]
            deviation = x_unlabelled[:, None] - mean
            covariance = (scatter + torch.einsum("vk,vki,vkj->ij", share, deviation, deviation)) / total.sum()
        self._set(torch.zeros_like(self.level), mean.mT, covariance)


def _log_joint(x: Tensor, mean: Tensor, covariance: Tensor, prior: Tensor) -> Tensor:
    """``log p(x, y)``, ``[visit, class]``, up to a constant."""
    factor = torch.linalg.cholesky(covariance)
    z = torch.linalg.solve_triangular(factor, (x[:, None] - mean).flatten(0, 1).mT, upper=False)
    return -0.5 * z.square().sum(0).unflatten(0, (len(x), len(mean))) + prior.double().log()
