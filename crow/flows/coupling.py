"""The plain conditional coupling flow over vectors."""

from __future__ import annotations

from functools import partial

import torch

from crow.bijections.base import Bijection
from crow.bijections.chain import Chain
from crow.bijections.coupling import AffineCoupling, Subnet
from crow.bijections.mixing import Permutation
from crow.bijections.priors import StandardPrior
from crow.bijections.reversible import ReversibleChain
from crow.flows.base import Flow
from crow.networks.mlp import MLP


class CouplingFlow(Flow):
    """``blocks`` two-sided conditional affine couplings over ``x: [*batch, features]``, each after a fixed permutation.

    N(0, I) at initialisation. Source: Winkler et al. 2019; Ardizzone et al. 2019.

    Args:
        context: channels of the context ``[*batch, context]`` (0 for none).
        subnet: makes each coupling's network; by default an MLP of two hidden layers of 128.
        generator: of the permutations.
        reversible: train in memory that does not grow with the blocks, for a third more time.
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        blocks: int = 8,
        subnet: Subnet | None = None,
        clamp: float = 2.0,
        generator: torch.Generator | None = None,
        reversible: bool = False,
    ) -> None:
        subnet = subnet or partial(MLP, hidden=128)
        bijections: list[Bijection] = []
        for _ in range(blocks):
            bijections.append(Permutation(features, generator=generator))
            bijections.append(AffineCoupling(features, context, subnet, two_sided=True, clamp=clamp))
        chain = ReversibleChain(bijections) if reversible else Chain(bijections)
        super().__init__(chain, StandardPrior((features,)))
