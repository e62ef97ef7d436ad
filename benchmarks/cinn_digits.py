"""The cINN on handwritten digits: ``cinn_digits.py [--seeds 3] [--figure docs/cinn_digits.png]``.

Classes: 50 samples of each digit, and the share that an independent classifier assigns to it.

Translation of test images. *Ink*: the colour of a grey digit, in two opponent channels. Each class has two inks, more
or less diluted, and each training digit occurs four times. This stands for the colouring of photographs in the paper:
the class must be recognised, and the answer is not unique. *Lower half*: the lower half of a digit, given the upper
half. There are 8 samples per source; the error is the RMSE per image of the best one. The h of the cINN is first
trained as a predictor, then frozen or trained on. Baselines are that predictor (the same h, MSE) and a conditional VAE.
The variance of the samples is compared with that of the predictor's residuals, which perfect samples would have. About
12 minutes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import digits
import numpy as np
import torch
from cvae import ConditionalVAE
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from timing import write
from torch import Tensor, nn
from torch.nn.functional import one_hot

from crow.data.examples import Examples
from crow.files import writing
from crow.flows.cinn import CINN
from crow.flows.predictor import Predictor
from crow.report.figures import style
from crow.run.config import Optimisation
from crow.training.fit import train

Row = dict[str, str | int | float]
SAMPLES, NOISE, TIMES = 8, 0.05, 4
INKS, SD, APART = 36, 12, 120
"""Degrees of hue: between the inks of neighbouring classes, their sd, and between the two inks of one class."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    by_class, translated = [], []
    for seed in range(options.seeds):
        data = digits.load(seed)
        agreement, drawn = classes(data, seed)
        by_class.append(agreement)
        results = {name: translation(make(data, seed), seed) for name, make in TASKS.items()}
        translated.append({name: rows for name, (rows, _) in results.items()})
        if options.figure and not seed:
            picture(options.figure, drawn, {name: shown for name, (_, shown) in results.items()})
    write("cinn_digits", "cINN on handwritten digits", table(by_class, translated))


@dataclass(frozen=True)
class Pairs:
    """Sources and targets of the training and the test set."""

    train: Examples
    test: Examples


def classes(data: digits.Digits, seed: int) -> tuple[float, Tensor]:
    """The share of samples that the classifier assigns to their class, and the samples ``[50, 10, 64]`` in levels."""
    x, c = data.train.flatten(1) / 8 - 1, one_hot(data.train_label, 10).float()
    torch.manual_seed(seed)
    flow = CINN((64,), (10,), depth=8, noise=0.1)
    fit(flow, Examples(x, c), 40, seed)
    draws = flow.sample(torch.eye(10), 50, torch.Generator().manual_seed(seed))
    levels = (8 * (draws + 1)).round().clamp(0, digits.LEVELS - 1)
    predicted = data.classify(levels.view(-1, 1, 8, 8)).reshape(50, 10)
    return float((predicted == np.arange(10)).mean()), levels


def inks(data: digits.Digits, seed: int) -> Pairs:
    """Grey digits ``[n, 1, 8, 8]`` in [0, 1] and their colour ``[n, 2, 8, 8]``."""
    generator = torch.Generator().manual_seed(seed)

    def pairs(images: Tensor, label: Tensor) -> Examples:
        n, grey = len(label), images / 16
        degrees = INKS * label + APART * torch.randint(2, (n,), generator=generator)
        hue = (degrees + SD * torch.randn(n, generator=generator)) * torch.pi / 180
        strength = 0.6 + 0.4 * torch.rand(n, generator=generator)
        colour = strength * torch.stack([hue.cos(), hue.sin()])
        x = colour.T[:, :, None, None] * grey
        return Examples(x + NOISE * torch.randn(x.shape, generator=generator), grey, label)

    images, label = (each.repeat_interleave(TIMES, 0) for each in (data.train, data.train_label))
    return Pairs(pairs(images, label), pairs(data.test, data.test_label))


def halves(data: digits.Digits, seed: int) -> Pairs:
    """Upper and lower halves ``[n, 32]``, from -1 to 1; the lower ones have a little noise."""
    generator = torch.Generator().manual_seed(seed)

    def pairs(images: Tensor, label: Tensor) -> Examples:
        upper, lower = (images.flatten(1) / 8 - 1).chunk(2, 1)
        return Examples(lower + NOISE * torch.randn(lower.shape, generator=generator), upper, label)

    return Pairs(pairs(data.train, data.train_label), pairs(data.test, data.test_label))


TASKS: dict[str, Callable[[digits.Digits, int], Pairs]] = {"ink": inks, "lower half": halves}


def new_flow(pairs: Pairs, seed: int) -> CINN:
    assert pairs.train.context is not None
    torch.manual_seed(seed)
    shape, context = tuple(pairs.train.x.shape[1:]), tuple(pairs.train.context.shape[1:])
    if len(shape) == 1:
        return CINN(shape, context, depth=8, hidden=128, noise=NOISE)
    return CINN(shape, context, levels=3, depth=3, hidden=48, noise=NOISE)


def translation(pairs: Pairs, seed: int) -> tuple[dict[str, dict[str, float]], list[Tensor]]:
    """Errors and variance of every method, and the images of the figure: sources, targets, predictions, samples."""
    source, truth = pairs.test.context, pairs.test.x
    assert source is not None
    width, shape = (128 if truth.dim() == 2 else 48), tuple(truth.shape[1:])
    predictor = Predictor(new_flow(pairs, seed).h.trunk, width, shape)
    fit(predictor, pairs.train, 40, seed)
    with torch.no_grad():
        predicted = predictor(source)
    drawn = {}
    for name in ("cINN, h frozen", "cINN, h trained"):
        flow = new_flow(pairs, seed)
        flow.h.trunk.load_state_dict(predictor.trunk.state_dict())
        if name.endswith("frozen"):
            flow.h.freeze()
        fit(flow, pairs.train, 40, seed)
        drawn[name] = flow.sample(source, SAMPLES, torch.Generator().manual_seed(seed))
    vae = ConditionalVAE(new_flow(pairs, seed).h.trunk, width, shape)
    fit(vae, pairs.train, 60, seed)
    drawn["conditional VAE"] = vae.sample(source, SAMPLES, torch.Generator().manual_seed(seed))
    alone = error(predicted, truth)
    rows = {"predictor (same h, MSE)": {"error": alone, "ratio": 1.0, "variance": 0.0}}
    for name, samples in drawn.items():
        best = error(samples, truth)
        rows[name] = {"error": best, "ratio": best / alone, "variance": float(samples.var(0).mean())}
    rows["residuals of the predictor"] = {"variance": float((predicted - truth).square().mean())}
    return rows, [source, truth, predicted, drawn["cINN, h trained"], drawn["conditional VAE"]]


def error(samples: Tensor, truth: Tensor) -> float:
    """Mean RMSE over the images; for several ``samples [n, *truth]``, that of the best per image."""
    each = (samples - truth).square().flatten(-truth.dim() + 1).mean(-1).sqrt()
    return float((each if each.dim() == 1 else each.amin(0)).mean())


def fit(model: nn.Module, data: Examples, epochs: int, seed: int) -> None:
    settings = Optimisation(max_epochs=epochs, steps_per_epoch=20, learning_rate=2e-3, patience=15)
    validation = TIMES * (len(data) // (7 * TIMES))  # all copies of a digit together
    train(model, data[:-validation], data[-validation:], settings, seed)


def table(by_class: list[float], translated: list[dict[str, dict[str, dict[str, float]]]]) -> list[Row]:
    """One row per task and method, with mean and range over the seeds."""
    agreement = mean_and_range(by_class, 3)
    rows: list[Row] = [{"task": "classes", "method": "cINN", "classifier agrees": agreement, "target": ">= 0.95"}]
    for task, methods in translated[0].items():
        for method, values in methods.items():
            row: Row = {"task": task, "method": method}
            for key in values:
                name = "best-of-8 error" if key == "error" else key
                row[name] = mean_and_range([seed[task][method][key] for seed in translated])
            if task == "ink" and method.startswith("cINN"):
                row["target"] = "ratio <= 0.6"
            rows.append(row)
    return rows


def mean_and_range(values: list[float], digits: int = 4) -> str:
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def picture(path: Path, drawn: Tensor, shown: dict[str, list[Tensor]]) -> None:
    """Samples of every class; for some sources of each task the truth, the prediction and samples."""
    columns = ["source", "truth", "MSE", *["cINN"] * 5, *["cVAE"] * 3]
    with style():
        figure = Figure(figsize=(9, 4.8), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=[1, 2.1])
        top.suptitle("cINN, samples of each class", fontsize=9, fontweight="bold")
        for axes, image in zip(top.subplots(3, 10).flat, drawn[:3].flatten(0, 1), strict=True):
            draw(axes, image.view(1, 8, 8) / 16)
        for part, (task, tensors) in zip(bottom.subfigures(1, 2), shown.items(), strict=True):
            part.suptitle(f"{task.capitalize()} of test digits", fontsize=9, fontweight="bold")
            for row, line in enumerate(part.subplots(6, len(columns))):
                for axes, image, name in zip(line, answers(task, tensors, row), columns, strict=True):
                    draw(axes, image)
                    if not row and name != columns[columns.index(name) - 1]:
                        axes.set_title(name, fontsize=7, fontweight="normal")
    with writing(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def answers(task: str, tensors: list[Tensor], row: int) -> list[Tensor]:
    """Source, truth, prediction, 5 samples of the cINN and 3 of the VAE for one source, as images."""
    source, truth, predicted, flow, vae = tensors
    images = [truth[row], predicted[row], *flow[:5, row], *vae[:3, row]]
    if task == "ink":
        return [source[row], *images]
    upper = source[row]
    return [torch.cat([upper, torch.full((32,), -1.0)]).view(1, 8, 8) / 2 + 0.5] + [
        torch.cat([upper, lower]).view(1, 8, 8) / 2 + 0.5 for lower in images
    ]


def draw(axes: Axes, image: Tensor) -> None:
    """Draw grey ``[1, 8, 8]`` or two opponent channels ``[2, 8, 8]`` as ink on white paper."""
    axes.set_axis_off()
    if len(image) == 1:
        axes.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
        return
    hue = torch.atan2(image[1], image[0]) / (2 * torch.pi) % 1
    strength = image.square().sum(0).sqrt().clamp(max=1)
    axes.imshow(hsv_to_rgb(torch.stack([hue, strength, torch.ones_like(hue)], -1).numpy()))


if __name__ == "__main__":
    main()
