"""CAGlow compared with CGlow on digits: ``caglow_digits.py [--seeds 3] [--figure docs/caglow.png]``, about 12 minutes.

All results are given the class. The discrepancy (unbiased conditional MMD, `crow.objectives.discrepancy`) compares
latent values that a model draws with those that its flow infers from test images: CGlow's prior with its f(x), CAGlow's
encoder with its Glow; 8 draws. An independent classifier labels 50 samples of each class. The sd ratio is the sd of
pixels within a class, divided by that of the training images. The effect of the code is the mean change of a pixel when
one number of the code goes from -1.5 to 1.5 with all else fixed, next to the effect of new noise. "recovered" is the
correlation of the code with the critic's prediction of it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import digits
import numpy as np
import torch
from matplotlib.figure import Figure
from timing import write
from torch import Tensor
from torch.nn.functional import one_hot

from crow.data.examples import Examples
from crow.files import writing
from crow.flows.caglow import CAGlow
from crow.flows.cglow import CGlow
from crow.flows.glow import Glow
from crow.objectives.discrepancy import discrepancy
from crow.report.figures import style
from crow.run.config import Optimisation
from crow.training.fit import train

SIZES = {"levels": 2, "depth": 8, "hidden": 32, "image_levels": digits.LEVELS}
VALIDATION, DRAWS, SAMPLES = 200, 8, 50
COMMON = {"steps_per_epoch": 20, "batch_size": 64, "ema_decay": 0.99, "threads": 1}
FLOW = Optimisation(max_epochs=40, learning_rate=3e-3, weight_decay=0.1, patience=40, **COMMON)
ENCODER = Optimisation(max_epochs=80, learning_rate=1e-3, weight_decay=1e-3, patience=80, **COMMON)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, float]]] = {"CGlow": [], "CAGlow": []}
    for seed in range(options.seeds):
        data = digits.load(seed)
        cglow, caglow = learn(data, seed)
        found["CGlow"].append(figures_of(data, cglow.sample, drawn_by_prior(cglow), cglow, seed))
        row = figures_of(data, caglow.sample, drawn_by_encoder(caglow), caglow.glow, seed)
        found["CAGlow"].append(row | code_effects(caglow, seed))
        print(seed, {name: rows[-1] for name, rows in found.items()}, flush=True)
        if seed == 0 and options.figure:
            with style(), writing(options.figure, overwrite=True) as path:
                grid(caglow).savefig(path, format="png", dpi=80)
    rows = [
        {"model": name, **{key: _summary([one[key] for one in each]) for key in each[0]}}
        for name, each in found.items()
    ]
    write("caglow_digits", f"CAGlow and CGlow on digits, {options.seeds} seeds", rows)


def learn(data: digits.Digits, seed: int) -> tuple[CGlow, CAGlow]:
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    x, c = data.train[order], one_hot(data.train_label[order].long(), 10).float()
    validation, training = Examples(x[:VALIDATION], c[:VALIDATION]), Examples(x[VALIDATION:], c[VALIDATION:])
    torch.manual_seed(seed)
    cglow, glow = CGlow((1, 8, 8), (10,), **SIZES), Glow((1, 8, 8), **SIZES)
    train(cglow, training, validation, FLOW, seed)
    train(glow, training, validation, FLOW, seed)
    caglow = CAGlow(glow, (10,))
    train(caglow, training, validation, ENCODER, seed)
    return cglow, caglow


def drawn_by_prior(cglow: CGlow) -> Callable[[Tensor, torch.Generator], Tensor]:
    return lambda c, generator: cglow.prior.sample((len(c),), c, generator)


def drawn_by_encoder(caglow: CAGlow) -> Callable[[Tensor, torch.Generator], Tensor]:
    return lambda c, generator: caglow.encode(c, *caglow.draw_code_and_noise(c, generator))


@torch.no_grad()
def figures_of(
    data: digits.Digits,
    sample: Callable[[Tensor, int, torch.Generator], Tensor],
    draw: Callable[[Tensor, torch.Generator], Tensor],
    flow: Glow,
    seed: int,
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    c = one_hot(data.test_label.long(), 10).float()
    distance = np.mean([float(discrepancy(draw(c, generator), flow.encode(data.test)[0], c)) for _ in range(DRAWS)])
    x = sample(torch.eye(10), SAMPLES, generator)
    agree = (data.classify(x.flatten(0, 1)) == np.tile(np.arange(10), SAMPLES)).mean()
    real = np.mean([float(data.train[data.train_label == k].std(0).mean()) for k in range(10)])
    ratio = np.mean([float(x[:, k].std(0).mean()) for k in range(10)]) / real
    return {"discrepancy": float(distance), "classifier agrees": float(agree), "sd ratio": float(ratio)}


@torch.no_grad()
def code_effects(model: CAGlow, seed: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    c = torch.eye(10).repeat(30, 1)
    code, noise = model.draw_code_and_noise(c, generator)
    z = model.encode(c, code, noise)
    prediction = model.critic(z, c).code
    recovered = [float(np.corrcoef(prediction[:, k], code[:, k])[0, 1]) for k in range(model.code)]
    other = model.glow.decode(model.encode(c, code, model.draw_code_and_noise(c, generator)[1]))
    changes = []
    for k in range(model.code):
        low, high = code.clone(), code.clone()
        low[:, k], high[:, k] = -1.5, 1.5
        images = [model.glow.decode(model.encode(c, part, noise)) for part in (low, high)]
        changes.append(float((images[1] - images[0]).abs().mean()))
    return {
        "code changes a pixel": float(np.mean(changes)),
        "noise changes a pixel": float((other - model.glow.decode(z)).abs().mean()),
        "recovered": float(np.mean(recovered)),
    }  # fmt: skip


@torch.no_grad()
def grid(model: CAGlow, steps: int = 7) -> Figure:
    """One row per class; in each half one number of the code goes from -2 to 2, with all else fixed."""
    figure = Figure(figsize=(8.6, 6.2), layout="constrained")
    halves = figure.subfigures(1, model.code)
    c, generator = torch.eye(10), torch.Generator().manual_seed(1)
    code, noise = model.draw_code_and_noise(c, generator)
    for k in range(model.code):
        axes = halves[k].subplots(10, steps)
        halves[k].suptitle(f"number {k + 1} of the code, -2 to 2", fontsize=9)
        for column, value in enumerate(torch.linspace(-2, 2, steps)):
            changed = code.clone()
            changed[:, k] = value
            images = model.glow.decode(model.encode(c, changed, noise))
            for row in range(10):
                axes[row, column].imshow(images[row, 0], cmap="gray_r", vmin=0, vmax=16)
                axes[row, column].set_axis_off()
    return figure


def _summary(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


if __name__ == "__main__":
    main()
