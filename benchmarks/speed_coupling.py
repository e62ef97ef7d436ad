"""Speed of the plain conditional coupling flow against other libraries: ``speed_coupling.py [--compiled]``.

Training step (forward, backward, fused Adam), log_prob and sampling, at a large size (82 features, 8 of context, 8
blocks, subnets 256 x 2, batch 256) and at that of a usual cohort (203 thousand parameters, batch 64).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from peers import FreiaFlow, NflowsFlow, NormflowsFlow, ZukoFlow, perceptron
from timing import interleave, shares, write
from torch import Tensor, nn

from crow.flows.coupling import CouplingFlow
from crow.networks.mlp import MLP

SIZES = {
    "large": {"features": 82, "context": 8, "blocks": 8, "hidden": 256, "batch": 256},
    "small": {"features": 82, "context": 8, "blocks": 8, "hidden": 64, "batch": 64},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiled", action="store_true", help="compile crow and FrEIA instead of running all eagerly")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=12, help="time spent on each size and task")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = []
    for size, shape in SIZES.items():
        torch.manual_seed(0)
        x, context = torch.randn(shape["batch"], shape["features"]), torch.randn(shape["batch"], shape["context"])
        for task, build in {"training step": training, "log_prob": scoring, "sample": sampling}.items():
            compared = flows(options.compiled, **shape)
            variants = {name: build(flow, x, context) for name, flow in compared.items()}
            table += shares(interleave(variants, options.seconds), "crow", size=size, task=task)
    mode = "compiled" if options.compiled else "eager"
    write(f"speed_coupling_{mode}", f"Plain conditional coupling flow, {mode}", table)


def flows(compiled: bool, features: int, context: int, blocks: int, hidden: int, batch: int) -> dict[str, nn.Module]:
    sizes = (features, context, blocks, hidden)
    crow = CouplingFlow(features, context, blocks, partial(MLP, hidden=hidden))
    variants: dict[str, nn.Module] = {"crow": crow, "FrEIA": FreiaFlow(*sizes)}
    if not compiled:
        variants |= {
            "normflows": NormflowsFlow(*sizes),
            "normflows, bounded": NormflowsFlow(*sizes, scale="sigmoid"),
            "nflows": NflowsFlow(*sizes),
            "zuko": ZukoFlow(*sizes),
            "subnets alone": SubnetsAlone(*sizes),
        }
    for flow in variants.values():
        flow.apply(_start_alike)
        if compiled:
            _compile(flow)
    return variants


def _start_alike(module: nn.Module) -> None:
    """The same distribution of weights for all: the last layers of crow are zero at first, and atan(0) is slower."""
    if isinstance(module, nn.Linear):
        module.reset_parameters()


class SubnetsAlone(nn.Module):
    """Only the subnets of all blocks on one input: a lower bound of the time of any flow with these subnets."""

    def __init__(self, features: int, context: int, blocks: int, hidden: int) -> None:
        super().__init__()
        self.half = features // 2
        self.subnets = nn.ModuleList(
            perceptron(self.half + context, 2 * (features - self.half), hidden) for _ in range(2 * blocks)
        )

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        inputs = torch.cat([x[:, : self.half], context], 1)
        return torch.stack([subnet(inputs).sum(1) for subnet in self.subnets]).sum(0)

    def sample(self, context: Tensor) -> Tensor:
        return self.log_prob(torch.zeros(len(context), self.half), context)


def training(flow: nn.Module, x: Tensor, context: Tensor) -> Callable[[], object]:
    optimiser = torch.optim.Adam(flow.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        (-flow.log_prob(x, context).mean()).backward()
        optimiser.step()

    return step


def scoring(flow: nn.Module, x: Tensor, context: Tensor) -> Callable[[], object]:
    return torch.no_grad()(partial(flow.log_prob, x, context))


def sampling(flow: nn.Module, x: Tensor, context: Tensor) -> Callable[[], object]:
    return torch.no_grad()(partial(flow.sample, context))


def _compile(flow: nn.Module) -> None:
    """Compile the map in both directions; noise and the base density are not compiled in either library."""
    if isinstance(flow, FreiaFlow):
        flow.inn.compile()
    else:
        flow.bijection.compile()
        flow.bijection.inverse = torch.compile(flow.bijection.inverse)


if __name__ == "__main__":
    main()
