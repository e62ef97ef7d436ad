"""Training step of an image coupling flow compared with FrEIA and normflows at equal arithmetic: ``speed_images.py``.

1 x 64 x 64, two halvings (Haar; normflows has a squeeze only), after each four two-sided affine couplings with a fixed
permutation before them, subnets 3x3 - 1x1 - 3x3 of 64 channels with SiLU, batch 16: forward, backward, fused Adam.
"""

from __future__ import annotations

import argparse
from functools import partial

import FrEIA.framework
import FrEIA.modules
import normflows
import torch
from speed_coupling import training
from timing import interleave, shares, write
from torch import Tensor, nn

from crow.bijections.base import Bijection
from crow.bijections.chain import Chain
from crow.bijections.coupling import AffineCoupling
from crow.bijections.haar import Haar
from crow.bijections.mixing import Permutation
from crow.bijections.priors import StandardPrior
from crow.bijections.squeeze import Flatten
from crow.flows.base import Flow
from crow.networks.convolutional import ConvNet

SIZE, HALVINGS, COUPLINGS = 64, 2, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = torch.randn(options.batch, 1, SIZE, SIZE)
    flows: dict[str, nn.Module] = {
        "crow": crow(options.hidden), "FrEIA": FreiaImages(options.hidden), "normflows": NormflowsImages(options.hidden)
    }  # fmt: skip
    counts = {name: sum(p.numel() for p in flow.parameters() if p.requires_grad) for name, flow in flows.items()}
    assert len(set(counts.values())) == 1, counts
    for flow in flows.values():
        flow.apply(start_alike)
    steps = {name: training(flow, x, None) for name, flow in flows.items()}
    table = shares(interleave(steps, 0.0, options.rounds), "crow", task="training step", batch=options.batch)
    write("speed_images", "Image coupling flow, 1 x 64 x 64, eager", table)


def crow(hidden: int) -> Flow:
    channels, size, bijections = 1, SIZE, list[Bijection]()
    for _ in range(HALVINGS):
        bijections.append(Haar(channels, 2))
        channels, size = 4 * channels, size // 2
        for _ in range(COUPLINGS):
            bijections.append(Permutation(channels, 2))
            bijections.append(AffineCoupling(channels, 0, partial(ConvNet, space=2, hidden=hidden), 2, two_sided=True))
    bijections.append(Flatten((channels, size, size)))
    return Flow(Chain(bijections), StandardPrior((SIZE * SIZE,)))


class FreiaImages(nn.Module):
    """FrEIA's SequenceINN of HaarDownsampling, PermuteRandom and GLOWCouplingBlock."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.inn = FrEIA.framework.SequenceINN(1, SIZE, SIZE)
        for k in range(HALVINGS):
            self.inn.append(FrEIA.modules.HaarDownsampling)
            for j in range(COUPLINGS):
                self.inn.append(FrEIA.modules.PermuteRandom, seed=COUPLINGS * k + j)
                self.inn.append(
                    FrEIA.modules.GLOWCouplingBlock, clamp=2.0, subnet_constructor=partial(convolutions, hidden=hidden)
                )
        self.inn.append(FrEIA.modules.Flatten)

    def log_prob(self, x: Tensor, context: None) -> Tensor:
        z, log_det = self.inn(x.clone())  # its wavelet writes into its input
        return -0.5 * z.square().sum(1) - 0.9189385332046727 * z.shape[1] + log_det


class NormflowsImages(nn.Module):
    """normflows' Squeeze, Permute and AffineCoupling; its scale has no clamp, so it needs no arctangent."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        channels = 1
        for _ in range(HALVINGS):
            steps.append(normflows.flows.Squeeze())
            channels *= 4
            for _ in range(COUPLINGS):
                steps.append(normflows.flows.Permute(channels, mode="shuffle"))
                steps += [_Coupling(channels, hidden, swap) for swap in (False, True)]
        self.steps = nn.ModuleList(steps)

    def log_prob(self, x: Tensor, context: None) -> Tensor:
        log_det: Tensor | float = 0.0
        for step in self.steps:
            x, moved = step.inverse(x)
            log_det = log_det + moved
        z = x.flatten(1)
        return -0.5 * z.square().sum(1) - 0.9189385332046727 * z.shape[1] + log_det


class _Coupling(nn.Module):
    def __init__(self, channels: int, hidden: int, swap: bool) -> None:
        super().__init__()
        self.swap, half = swap, channels // 2
        self.coupling = normflows.flows.AffineCoupling(convolutions(half, channels, hidden))

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.chunk(2, 1)
        (a, b), log_det = self.coupling.inverse([second, first] if self.swap else [first, second])
        return torch.cat([b, a] if self.swap else [a, b], 1), log_det


def convolutions(inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 3, padding=1), nn.SiLU(), nn.Conv2d(hidden, hidden, 1), nn.SiLU(),
        nn.Conv2d(hidden, outputs, 3, padding=1),
    )  # fmt: skip


def start_alike(module: nn.Module) -> None:
    """The same distribution of weights for all, small enough that a scale without a clamp stays bounded."""
    if isinstance(module, nn.Conv2d):
        module.reset_parameters()
        with torch.no_grad():
            module.weight.mul_(0.5)


if __name__ == "__main__":
    main()
