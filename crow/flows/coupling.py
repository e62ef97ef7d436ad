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

    At initialisation it is N(0, I).

    Parameters
    ----------
    features : int
        Number of features of x.
    context : int
        Number of channels of the context ``[*batch, context]`` (0 for none).
    blocks : int
        Number of couplings.
    subnet : callable, optional
        Makes the network of a coupling; by default an MLP with two hidden layers of 128.
    clamp : float
        Bound of ``|log scale|`` of a coupling.
    generator : torch.Generator, optional
        Source of the permutations.
    reversible : bool
        Train in memory that does not grow with the blocks, in about a third more time.

    References
    ----------
    Winkler et al. 2019; Ardizzone et al. 2019.

    Examples
    --------
    >>> import torch
    >>> flow = CouplingFlow(features=4, context=2, blocks=2)
    >>> x, c = torch.randn(8, 4), torch.randn(8, 2)
    >>> flow.log_prob(x, c).shape, flow.sample(c, n=5).shape
    (torch.Size([8]), torch.Size([5, 8, 4]))
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
