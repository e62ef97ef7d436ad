"""Brain slices of twice the resolution: bits per pixel of the conditional flow and of independent pixels.

    python benchmarks/enhance_slices.py [--seeds 3] [--subjects 80] [--epochs 25] [--figure docs/enhance.png]

The pixels of a slice are predicted from its 2 x 2 means (whole grey levels), on test subjects. Both models receive the
means and their bicubic interpolation, and model the difference from the interpolation. The baseline is a discretised
logistic distribution for each pixel, whose mean and scale come from the flow's features network (`WideTrunk`, of the
same width) and a readout. Published for ImageNet32 (Winkler et al. 2019, table 1; from memory): 3.01 bits against 4.00
for the baseline. Scans are simulated, with noise of half a grey level. The bits of a flow are an upper bound; flows are
named by their dequantisation.
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
from crow.flows.base import DiscreteFlow, bits_per_dim
from crow.flows.conditional_flow import ConditionalFlow, flow_of_greys
from crow.networks.conditioning import WideTrunk
from crow.networks.convolutional import ConvNet
from crow.report import figures
from crow.run.config import Optimisation
from crow.training.fit import train

HIDDEN, NOISE = 32, 0.5
LEVELS = 2 * slices.GREYS
BASELINE = "independent pixels"
Rows = list[dict[str, str | int | float]]


class IndependentPixels(nn.Module):
    """``P(x | c) = prod_i [F((x_i + 1 - m_i) / s_i) - F((x_i - m_i) / s_i)]``, F logistic; m and s from c."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(WideTrunk(2, hidden, 2, positions=False), ConvNet(hidden, 2, 2, hidden))

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        mean, log_s = self.net(context).chunk(2, 1)
        upper, lower = ((x + edge - slices.GREYS - 10 * mean) * torch.exp(-log_s) for edge in (1, 0))
        inside = torch.log1p(-torch.exp((lower - upper).clamp(max=-1e-6)))
        return (functional.logsigmoid(upper) + functional.logsigmoid(-lower) + inside).flatten(1).sum(1)

    def loss(self, batch: Examples) -> Tensor:
        assert batch.context is not None
        return -self.log_prob(batch.x, batch.context).mean()


def given(image: Tensor) -> tuple[Tensor, Tensor]:
    """2 x 2 means in whole grey levels and their interpolation, both at full size, of slices ``[n, 1, s, s]``."""
    means = functional.avg_pool2d(image, 2).round()
    finer = functional.interpolate(means, scale_factor=2, mode="bicubic").round().clamp(0, slices.GREYS - 1)
    return means.repeat_interleave(2, 2).repeat_interleave(2, 3), finer


def examples(image: Tensor) -> Examples:
    """x is the difference of a pixel from the interpolation, plus 256."""
    means, finer = given(image)
    return Examples(image - finer + slices.GREYS, torch.cat([means, finer], 1) / slices.GREYS - 0.5)


def run(seed: int, data: slices.Slices, epochs: int, noises: tuple[str, ...]) -> tuple[Rows, nn.Module]:
    """One row per model, and the last flow."""
    rows_left, test = data.split(seed)
    validation, fit = rows_left[: 10 * slices.SLICES], rows_left[10 * slices.SLICES :]
    everything, shape = examples(data.image), tuple(data.image.shape[1:])
    settings = Optimisation(
        max_epochs=epochs, steps_per_epoch=20, batch_size=32, learning_rate=2e-3, patience=epochs, threads=1
    )
    torch.manual_seed(seed)
    models: dict[str, nn.Module] = {BASELINE: IndependentPixels(HIDDEN)}
    for noise in noises:
        flow = ConditionalFlow(shape, 2, levels=2, depth=4, hidden=HIDDEN)
        models[f"flow, {noise}"] = flow_of_greys(flow, LEVELS, noise == "variational")
    rows: Rows = []
    for name, model in models.items():
        began = time.process_time()
        fitted = train(model, everything[fit], everything[validation], settings, seed, label=name)
        minutes = (time.process_time() - began) / 60
        torch.manual_seed(seed)
        with torch.no_grad():
            log_prob = model.log_prob(everything[test].x, everything[test].context)  # type: ignore[operator]
        bits = float(bits_per_dim(log_prob, everything.x[0].numel()).mean())
        rows.append({
            "seed": seed, "model": name, "bits per pixel": round(bits, 3),
            "ratio": round(bits / float(rows[0]["bits per pixel"]), 3) if rows else 1.0, "epoch": fitted.epoch,
            "parameters": sum(p.numel() for p in model.parameters()), "minutes": round(minutes, 1),
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows, model


def picture(flow: DiscreteFlow, data: slices.Slices, rows: Tensor) -> Figure:
    """One row per slice: the means, their interpolation, draws, the sd of 16 draws, and the slice."""
    batch = examples(data.image[rows])
    means, finer = given(data.image[rows])
    draws = flow.sample(batch.context, 16, torch.Generator().manual_seed(0)) - slices.GREYS + finer
    columns = {
        "2 x 2 means": means, "bicubic": finer, "draw 1": draws[0], "draw 2": draws[1], "draw 3": draws[2],
        "sd (to 20)": draws.std(0), "true": data.image[rows],
    }  # fmt: skip
    with figures.style():
        figure = Figure((1.25 * len(columns), 1.3 * len(rows) + 0.3), layout="constrained")
        axes = figure.subplots(len(rows), len(columns))
        for column, (title, images) in zip(axes.T, columns.items(), strict=True):
            top = 255 if "sd" not in title else 20
            for axis, image in zip(column, images, strict=True):
                axis.imshow(np.rot90(image[0].numpy()), cmap="gray" if top == 255 else "magma", vmin=0, vmax=top)
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
        rows, flow = run(seed, data, options.epochs, ("uniform", "variational"))
        table += rows
        if seed == 0 and options.figure:
            assert isinstance(flow, DiscreteFlow)
            _, test = data.split(seed)
            figures.save(picture(flow, data, test[[3, 17, 31, 45]]), options.figure, overwrite=True)
    for name in dict.fromkeys(row["model"] for row in table):
        mine = [row for row in table if row["model"] == name]
        means = {key: round(float(np.mean([row[key] for row in mine])), 3) for key in ("bits per pixel", "ratio")}
        table.append({"seed": "mean", "model": name, **means})
    timing.write("enhance_slices", "Brain slices of twice the resolution, bits per pixel on test subjects", table)


if __name__ == "__main__":
    main()
