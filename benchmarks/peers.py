"""The plain conditional coupling flow of other libraries, unmodified, at equal arithmetic.

``blocks`` times a fixed permutation and a two-sided affine coupling whose two subnets are ``inputs -> hidden -> hidden
-> outputs`` with SiLU, over a standard normal. Every flow has ``log_prob`` and ``sample``.
"""

from __future__ import annotations

from collections.abc import Callable

import FrEIA.framework
import FrEIA.modules
import nflows.distributions
import nflows.flows
import nflows.transforms
import normflows
import torch
import zuko
from torch import Tensor, nn


def perceptron(inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )


class FreiaFlow(nn.Module):
    """FrEIA's SequenceINN of PermuteRandom and GLOWCouplingBlock."""

    def __init__(self, features: int, context: int, blocks: int, hidden: int) -> None:
        super().__init__()
        self.features = features
        self.inn = FrEIA.framework.SequenceINN(features)
        for k in range(blocks):
            self.inn.append(FrEIA.modules.PermuteRandom, seed=k)
            self.inn.append(
                FrEIA.modules.GLOWCouplingBlock, cond=0, cond_shape=(context,), clamp=2.0,
                subnet_constructor=lambda i, o: perceptron(i, o, hidden),
            )  # fmt: skip

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        z, log_det = self.inn(x, c=[context])
        return -0.5 * z.square().sum(1) - 0.9189385332046727 * self.features + log_det

    def sample(self, context: Tensor) -> Tensor:
        return self.inn(torch.randn(len(context), self.features), c=[context], rev=True, jac=False)[0]


class NormflowsFlow(nn.Module):
    """normflows' ConditionalNormalizingFlow of Permute and AffineCoupling, whose subnet also receives the context.

    Its scale is unbounded by default ("exp"), which saves the clamp that all others compute; "sigmoid" bounds it.
    """

    def __init__(self, features: int, context: int, blocks: int, hidden: int, scale: str = "exp") -> None:
        super().__init__()
        flows = []
        for _ in range(blocks):
            flows += [
                _NormflowsCoupling(features, context, hidden, scale, swap=False),
                _NormflowsCoupling(features, context, hidden, scale, swap=True),
                _NormflowsPermutation(features),
            ]
        base = normflows.distributions.DiagGaussian(features, trainable=False)
        self.flow = normflows.ConditionalNormalizingFlow(_Unconditional(base), flows)

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        return self.flow.log_prob(x, context)

    def sample(self, context: Tensor) -> Tensor:
        return self.flow.sample(len(context), context)[0]


class NflowsFlow(nn.Module):
    """nflows' Flow of RandomPermutation and AffineCouplingTransform."""

    def __init__(self, features: int, context: int, blocks: int, hidden: int) -> None:
        super().__init__()
        mask = torch.arange(features) >= features // 2
        transforms = []
        for _ in range(blocks):
            net = lambda i, o: _JoinContext(perceptron(i + context, o, hidden))  # noqa: E731
            transforms += [
                nflows.transforms.RandomPermutation(features),
                nflows.transforms.AffineCouplingTransform(~mask, net),
                nflows.transforms.AffineCouplingTransform(mask, net),
            ]
        base = nflows.distributions.StandardNormal([features])
        self.flow = nflows.flows.Flow(nflows.transforms.CompositeTransform(transforms), base)

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        return self.flow.log_prob(x, context)

    def sample(self, context: Tensor) -> Tensor:
        return self.flow.sample(1, context)


class ZukoFlow(nn.Module):
    """zuko's Flow of PermutationTransform and GeneralCouplingTransform."""

    def __init__(self, features: int, context: int, blocks: int, hidden: int) -> None:
        super().__init__()
        mask = torch.arange(features) < features // 2
        transforms: list[nn.Module] = []
        for _ in range(blocks):
            order = torch.randperm(features)
            transforms += [
                zuko.flows.UnconditionalTransform(zuko.transforms.PermutationTransform, order, buffer=True),
                *(
                    zuko.flows.coupling.GeneralCouplingTransform(
                        features, context, mask=passive, hidden_features=(hidden, hidden), activation=nn.SiLU
                    )
                    for passive in (~mask, mask)
                ),
            ]
        base = zuko.flows.UnconditionalDistribution(
            zuko.distributions.DiagNormal, torch.zeros(features), torch.ones(features), buffer=True
        )
        self.flow = zuko.flows.Flow(transforms, base)

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        return self.flow(context).log_prob(x)

    def sample(self, context: Tensor) -> Tensor:
        return self.flow(context).sample()


class _JoinContext(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.net(torch.cat([x, context], 1))


class _Unconditional(normflows.distributions.BaseDistribution):
    def __init__(self, base: normflows.distributions.BaseDistribution) -> None:
        super().__init__()
        self.base = base

    def forward(self, num_samples: int, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.base(num_samples)

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        return self.base.log_prob(z)


class _NormflowsPermutation(normflows.flows.Permute):
    def __init__(self, features: int) -> None:
        super().__init__(features, mode="shuffle")

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(z)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return super().inverse(z)


class _NormflowsCoupling(normflows.flows.Flow):
    def __init__(self, features: int, context: int, hidden: int, scale: str, swap: bool) -> None:
        super().__init__()
        self.sizes, self.swap = (features // 2, features - features // 2), swap
        passive, active = reversed(self.sizes) if swap else self.sizes
        subnet = perceptron(passive + context, 2 * active, hidden)
        self.coupling = normflows.flows.AffineCoupling(subnet, scale_map=scale)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self._couple(self.coupling.forward, z, context)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self._couple(self.coupling.inverse, z, context)

    def _couple(self, way: Callable[..., tuple], z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        first, second = z.split(self.sizes, 1)
        passive, active = (second, first) if self.swap else (first, second)
        (_, moved), log_det = way([torch.cat([passive, context], 1), active])
        return torch.cat([moved, passive] if self.swap else [passive, moved], 1), log_det
