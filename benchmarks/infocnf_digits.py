"""InfoCNF on handwritten digits: ``infocnf_digits.py [--seeds 3] [--figure docs/infocnf_digits.png]``.

Three flows of the same size: CCNF (all latent values depend on the class) and InfoCNF (half of them do), both solved to
a tolerance of 1e-5, and InfoCNF with learned tolerances. On test images: the error of the classifier; bits per value of
``log p(x | y)``, a bound with the exact trace and the mean of four draws of the dequantisation; and the evaluations of
the dynamics in one pass over all images. An independent classifier gives the share of 500 samples that have the
requested class. About 15 minutes of one processor. With 1,800 test images the standard error of an error rate is 0.4 %,
and a second training of the same flow changes it by as much.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import digits
import torch
from matplotlib.figure import Figure
from timing import write
from torch import Tensor

from crow.bijections.dequantize import UniformDequantizer
from crow.data.examples import Examples
from crow.files import writing
from crow.flows.base import bits_per_dim
from crow.flows.infocnf import InfoCNF
from crow.report.figures import style
from crow.run.config import Optimisation
from crow.training.fit import train

FIXED = 1e-5
TEST, VALIDATION, DRAWS, SAMPLES = 600, 200, 4, 50
VARIANTS: dict[str, tuple[float, float | None]] = {
    "CCNF": (1.0, FIXED),
    "InfoCNF": (0.5, FIXED),
    "InfoCNF, learned tolerances": (0.5, None),
}


@dataclass(frozen=True)
class Result:
    """The results of one variant and seed."""

    error: float
    bits: float
    evaluations: int
    agreement: float
    seconds: float
    tolerances: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, list[Result]] = {name: [] for name in VARIANTS}
    for seed in range(options.seeds):
        data = digits.load(seed, TEST)
        for name, (share, tolerance) in VARIANTS.items():
            start = time.process_time()
            flow = fit(data, share, tolerance, options.epochs, seed)
            drawn = samples(flow, seed)
            result = evaluate(flow, data, drawn, time.process_time() - start)
            results[name].append(result)
            print(f"seed {seed}, {name}: {result}", flush=True)
        if options.figure and not seed:
            picture(options.figure, drawn)
    write("infocnf_digits", "InfoCNF on handwritten digits", table(results))


def fit(data: digits.Digits, share: float, tolerance: float | None, epochs: int, seed: int) -> InfoCNF:
    torch.manual_seed(seed)
    flow = InfoCNF(
        (1, 8, 8), 10, levels=2, depth=2, hidden=32, share=share, tolerance=tolerance,
        dequantizer=UniformDequantizer(digits.LEVELS),
    )  # fmt: skip
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    validation, rest = order.split([VALIDATION, len(order) - VALIDATION])
    settings = Optimisation(
        max_epochs=epochs, steps_per_epoch=20, batch_size=64, learning_rate=5e-3, patience=epochs, threads=1
    )
    train(flow, *(Examples(data.train[r], label=data.train_label[r]) for r in (rest, validation)), settings, seed)
    return flow


@torch.no_grad()
def evaluate(flow: InfoCNF, data: digits.Digits, drawn: Tensor, seconds: float) -> Result:
    torch.manual_seed(0)  # the same dequantisation for every variant
    bits, errors, evaluations = [], [], []
    for _ in range(DRAWS):
        joint = flow.log_prob(data.test, data.test_label) - flow.class_prior[data.test_label].log()
        bits.append(float(bits_per_dim(joint, flow.values).mean()))
        evaluations.append(flow.evaluations)
        errors.append(float((flow.predict(data.test).argmax(1) != data.test_label).float().mean()))
    label = torch.arange(10).repeat(SAMPLES)
    agreement = float((torch.from_numpy(data.classify(drawn)) == label).float().mean())
    spent, tolerances = round(statistics.mean(evaluations)), [block.tolerance for block in flow.blocks]
    return Result(statistics.mean(errors), statistics.mean(bits), spent, agreement, seconds, tolerances)


def samples(flow: InfoCNF, seed: int) -> Tensor:
    """``[SAMPLES * 10, 1, 8, 8]``, with the classes in turn."""
    return flow.sample(torch.arange(10).repeat(SAMPLES), torch.Generator().manual_seed(seed))


def table(results: dict[str, list[Result]]) -> list[dict[str, str | int | float]]:
    """One row per variant: means over the seeds, with the error and the evaluations of each seed."""
    rows: list[dict[str, str | int | float]] = []
    for name, found in results.items():

        def mean(field: str, found: list[Result] = found) -> float:
            return statistics.mean(getattr(result, field) for result in found)

        rows.append({
            "flow": name, "test error, %": round(100 * mean("error"), 2),
            "per seed": ", ".join(f"{100 * result.error:.2f}" for result in found),
            "bits per value": round(mean("bits"), 3), "evaluations": round(mean("evaluations")),
            "evaluations per seed": ", ".join(str(result.evaluations) for result in found),
            "tolerance": f"{statistics.mean(t for result in found for t in result.tolerances):.1e}",
            "classifier agrees, %": round(100 * mean("agreement"), 1), "seconds of training": round(mean("seconds")),
        })  # fmt: skip
    return rows


def picture(path: Path, drawn: Tensor) -> None:
    """One column per class, with eight samples."""
    grid = drawn.view(SAMPLES, 10, 8, 8)[:8]
    with style():
        figure = Figure(figsize=(6, 5))
        axes = figure.subplots(8, 10, gridspec_kw={"wspace": 0.08, "hspace": 0.08})
        for row in range(8):
            for digit in range(10):
                axes[row, digit].imshow(grid[row, digit], cmap="gray_r", vmin=0, vmax=digits.LEVELS - 1)
                axes[row, digit].set(xticks=[], yticks=[])
                axes[row, digit].spines[:].set_visible(False)
                if not row:
                    axes[row, digit].set_title(str(digit), loc="center")
        with writing(path, overwrite=True) as temporary:
            figure.savefig(temporary, format="png", bbox_inches="tight")


if __name__ == "__main__":
    main()
