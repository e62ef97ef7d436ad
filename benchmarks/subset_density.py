"""How far the density of a visit that lacks a region lies from the marginal of the complete visit, in nats.

    python benchmarks/subset_density.py [--shares 0 0.3] [--subjects 60]

crow is trained with the defaults on the simulated subjects of `benchmarks/missing.py`, of whose values a share is
missing at random. For new, complete subjects, each region in turn is taken out of each visit. ``log p(subset)`` is what
crow returns then; the marginal is its density of the complete visit, integrated over that region on a grid. Both are
given the same complete history. The mixed model is the one that crow is initialised at, for which both are equal.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from missing import simulated
from timing import write
from torch import Tensor

from crow import CRow
from crow.data.sequences import Sequences
from crow.flows.crow import map_state
from crow.flows.ensemble import FlowEnsemble

FIRST, LATER = (6.0, 601), (2.5, 501)  # sd on either side of the observed value, and points
Row = dict[str, str | int | float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.3])
    parser.add_argument("--subjects", type=int, default=60)
    arguments = parser.parse_args()
    rows: list[Row] = []
    for share in arguments.shares:
        training, _ = simulated(share, 0)
        _, complete = simulated(0.0, 0)
        complete = complete.of(complete.subjects[: arguments.subjects])
        mixed = CRow(model={"members": 1, "initialise": "mixed_model"}, training={"max_epochs": 0})
        for name, model in {"mixed model": mixed, "crow": CRow()}.items():
            model.fit(training)
            apart = distances(model.fitted(), model.table.encode(complete.visits))
            rows.append({
                "missing in training": share, "model": name, "visits": len(complete),
                "mean difference": round(float(apart.mean()), 4),
                "mean distance": round(float(np.abs(apart).mean()), 4),
                "95 % below": round(float(np.quantile(np.abs(apart), 0.95)), 4),
            })  # fmt: skip
            print(pd.DataFrame(rows).to_string(index=False), flush=True)
    write("subset_density", "log p(subset) less the marginal of the complete visit, nats per visit", rows)


@torch.no_grad()
def distances(flow: FlowEnsemble, data: Sequences) -> np.ndarray:
    """``log p(subset) - log marginal`` of every visit and region taken out of it."""
    states = [None] * len(flow.members)
    found = []
    for t in range(data.x.shape[1]):
        visit, there = data.visit(t), data.mask[:, t]
        for region in range(data.x.shape[2]):
            measured = torch.ones_like(visit.x, dtype=torch.bool)
            measured[..., region] = False
            subset = flow.step(replace(visit, measured=measured), states)[0]
            found.append((subset.double() - marginal(flow, visit, states, region, *(LATER if t else FIRST)))[there])
        states = [member.transform(visit, state)[2] for member, state in zip(flow.members, states, strict=True)]
    return torch.cat(found).numpy()


def marginal(flow: FlowEnsemble, visit: Sequences, states: list, region: int, reach: float, points: int) -> Tensor:
    """Log-density ``[batch]`` of a visit without one region, by the trapezoidal rule over that region."""
    grid = torch.linspace(-reach, reach, points, dtype=visit.x.dtype)
    copies = visit.repeat(points)
    x = copies.x.clone()
    x[:, 0, region] += grid.repeat(len(visit))
    repeated = [map_state(lambda s: s.repeat_interleave(points, 0), state) for state in states]
    log_p = flow.step(replace(copies, x=x), repeated)[0].double().view(len(visit), points)
    return torch.trapezoid((log_p - log_p.max(1, keepdim=True).values).exp(), grid.double()).log() + log_p.max(1).values


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
