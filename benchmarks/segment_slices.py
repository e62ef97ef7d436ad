"""Segmentation of brain slices: the mean of a conditional flow's draws and the probabilities of a plain network.

    python benchmarks/segment_slices.py [--seeds 3] [--subjects 80] [--epochs 25] [--figure docs/segment.png]

Deep grey matter in simulated slices with scanner noise (3 % of white matter), on test subjects. The plain network has
the architecture of the network at which the flow is initialised (`WideTrunk` and a readout), with as many parameters as
the flow and its dequantiser; it is trained by cross-entropy for the same number of steps. F1 is over all test pixels,
with a threshold of 0.5 on the probability, for the flow the mean of 32 draws; "F1 inside" is that of the network inside
the flow. ECE is the expected calibration error (15 bins) of all pixels, and of those within one pixel of the true
border. "area in 5-95 %" is the coverage of the interval of drawn areas (too narrow for independent pixels drawn from
the plain network).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import slices
import timing
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from crow.data.examples import Examples
from crow.data.forecast import quantiles_of
from crow.data.mask_scores import calibration_error, dice
from crow.flows.base import DiscreteFlow
from crow.flows.conditional_flow import flow_of_masks
from crow.networks.conditioning import WideTrunk
from crow.networks.convolutional import ConvNet
from crow.report import figures
from crow.run.config import Optimisation
from crow.training.fit import train

STRUCTURE, NOISE = "deep_gray", 0.03 * 800 * slices.GREYS / slices.BRIGHTEST
HIDDEN, DRAWS = 24, 32
PLAIN = "plain network"
Rows = list[dict[str, str | int | float]]


class PlainNetwork(nn.Module):
    """``P(x | c) = prod_i Bernoulli(p_i(c))``."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(WideTrunk(1, hidden, 2, positions=False), ConvNet(hidden, 1, 2, hidden))

    def loss(self, batch: Examples) -> Tensor:
        return functional.binary_cross_entropy_with_logits(self.net(batch.context), batch.x)

    def draws(self, context: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Probabilities ``[batch, 1, s, s]``, and n masks of independent pixels."""
        p = torch.sigmoid(self.net(context))
        return p, (torch.rand(n, *p.shape) < p).float()

    @classmethod
    def of_size(cls, parameters: int) -> PlainNetwork:
        """The widest network with at most this number of ``parameters``."""
        width = 8
        while _count(cls(width + 4)) <= parameters:
            width += 4
        return cls(width)


def examples(data: slices.Slices) -> Examples:
    return Examples(data.mask(STRUCTURE), data.image / slices.GREYS - 0.5)


def scores(probability: Tensor, masks: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of probabilities ``[batch, 1, s, s]`` and draws ``[n, batch, 1, s, s]`` against the truth."""
    near = functional.max_pool2d(truth, 3, 1, 1) != -functional.max_pool2d(-truth, 3, 1, 1)
    p, y = probability.numpy(), truth.numpy() > 0.5
    low, high = quantiles_of(masks.flatten(2).sum(2).numpy(), [0.05, 0.95], axis=0)
    area = truth.flatten(1).sum(1).numpy()
    return {
        "F1": dice(p > 0.5, y), "ECE": calibration_error(p, y),
        "ECE at the border": calibration_error(p[near], y[near]),
        "area in 5-95 %": float(((low <= area) & (area <= high)).mean()),
        "F1 of a draw": float(np.mean([dice(mask.numpy() > 0.5, y) for mask in masks[:8]])),
    }  # fmt: skip


def run(seed: int, data: slices.Slices, epochs: int) -> tuple[Rows, DiscreteFlow]:
    """One row per model, and the flow."""
    rows_left, test = data.split(seed)
    validation, fit = rows_left[: 10 * slices.SLICES], rows_left[10 * slices.SLICES :]
    everything = examples(data)
    settings = Optimisation(
        max_epochs=epochs, steps_per_epoch=20, batch_size=24, learning_rate=5e-3, patience=epochs, threads=1
    )
    torch.manual_seed(seed)
    flow = flow_of_masks((1, slices.SIZE, slices.SIZE), 1, levels=2, depth=4, hidden=HIDDEN)
    models: dict[str, nn.Module] = {PLAIN: PlainNetwork.of_size(_count(flow)), "flow": flow}
    rows: Rows = []
    for name, model in models.items():
        began = time.process_time()
        fitted = train(model, everything[fit], everything[validation], settings, seed, label=name)
        minutes = (time.process_time() - began) / 60
        torch.manual_seed(seed)
        x, context = everything[test].x, everything[test].context
        assert context is not None
        with torch.no_grad():
            if isinstance(model, PlainNetwork):
                probability, masks = model.draws(context, DRAWS)
            else:
                masks = torch.cat([flow.sample(context, 4) for _ in range(DRAWS // 4)])
                probability = masks.mean(0)
        found = scores(probability, masks, x)
        if model is flow:
            with torch.no_grad():
                a = flow.dequantizer.threshold(context)  # type: ignore[operator]
            found["F1 inside"] = dice(a.numpy() > 0, x.numpy() > 0.5)
        found = {key: round(value, 4) for key, value in found.items()}
        rows.append({
            "seed": seed, "model": name, **found, "epoch": fitted.epoch, "parameters": _count(model),
            "minutes": round(minutes, 1),
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows, flow


def picture(flow: DiscreteFlow, data: slices.Slices, rows: Tensor) -> Figure:
    """One row per slice: the slice, the true mask, the probability, and draws."""
    batch = examples(data)[rows]
    torch.manual_seed(0)
    draws = flow.sample(batch.context, DRAWS)
    assert batch.context is not None
    columns = {
        "slice": batch.context + 0.5, "true mask": batch.x, "probability": draws.mean(0), "draw 1": draws[0],
        "draw 2": draws[1], "draw 3": draws[2], "draw 4": draws[3],
    }  # fmt: skip
    with figures.style():
        figure = Figure((1.25 * len(columns), 1.3 * len(rows) + 0.3), layout="constrained")
        axes = figure.subplots(len(rows), len(columns))
        for column, (title, images) in zip(axes.T, columns.items(), strict=True):
            for axis, image in zip(column, images, strict=True):
                colours = "magma" if title == "probability" else "gray"
                axis.imshow(np.rot90(image[0].numpy()), cmap=colours, vmin=0, vmax=1)
                axis.axis("off")
            column[0].set_title(title, fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--subjects", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = slices.draw(options.subjects, NOISE)
    table: Rows = []
    for seed in range(options.seeds):
        rows, flow = run(seed, data, options.epochs)
        table += rows
        if seed == 0 and options.figure:
            _, test = data.split(seed)
            figures.save(picture(flow, data, test[[3, 17, 31, 45]]), options.figure, overwrite=True)
    for name in (PLAIN, "flow"):
        mine = [row for row in table if row["model"] == name]
        keys = [key for key in mine[0] if key.startswith(("F1", "ECE", "area"))]
        means = {key: round(float(np.mean([row[key] for row in mine])), 4) for key in keys}
        table.append({"seed": "mean", "model": name, **means})
    timing.write("segment_slices", "Masks of deep grey matter in brain slices, on test subjects", table)


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main()
