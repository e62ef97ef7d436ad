"""Coverage of the intervals of mask areas before and after calibration on the validation subjects.

    python benchmarks/segment_volumes.py [--seeds 2] [--subjects 110] [--epochs 25] [--validation 20]

The slices, the flow and its training are those of `segment_slices.py` (deep grey matter, 2-D), on 60 subjects, with 20
validation subjects beside them. `calibrate_volumes` chooses two numbers on the validation subjects: the sd by which the
thresholds of a drawn mask shift together, for intervals of 90 %, and the power of these shifts, for those of 50 %.
Coverage of intervals of drawn areas, F1 and expected calibration error of
the mean of draws are on the test subjects, which are not used for anything else.
"""

from __future__ import annotations

import argparse

import numpy as np
import segment_slices
import slices
import timing
import torch

from crow.data.forecast import quantiles_of
from crow.data.mask_scores import calibration_error, dice
from crow.flows.conditional_flow import flow_of_masks
from crow.flows.mask_flow import MaskFlow
from crow.run.config import Optimisation
from crow.training.calibrate import MaskCase, calibrate_volumes
from crow.training.fit import train

TRAINING, DRAWS, AT_ONCE = 60, 32, 60


def trained(
    data: slices.Slices, seed: int, epochs: int, validation: int
) -> tuple[MaskFlow, torch.Tensor, torch.Tensor]:
    """The flow, and the rows of validation and test subjects."""
    order = torch.randperm(int(data.subject.max()) + 1, generator=torch.Generator().manual_seed(seed))
    parts = order[:validation], order[validation : TRAINING + validation], order[TRAINING + validation :]
    apart, fit, test = (torch.where(torch.isin(data.subject, part))[0] for part in parts)
    everything = segment_slices.examples(data)
    settings = Optimisation(
        max_epochs=epochs, steps_per_epoch=20, batch_size=24, learning_rate=5e-3, patience=epochs, threads=1
    )
    torch.manual_seed(seed)
    flow = flow_of_masks((1, slices.SIZE, slices.SIZE), 1, levels=2, depth=4, hidden=segment_slices.HIDDEN)
    train(flow, everything[fit], everything[apart], settings, seed, label="flow")
    return flow, apart, test


@torch.no_grad()
def scores(flow: MaskFlow, data: slices.Slices, rows: torch.Tensor) -> dict[str, float]:
    generator = torch.Generator().manual_seed(1)
    batch = segment_slices.examples(data)[rows]
    assert batch.context is not None
    parts = zip(batch.context.split(AT_ONCE), batch.x.split(AT_ONCE), strict=True)
    areas, p, y = [], [], []
    for context, x in parts:
        masks = flow.sample(context, DRAWS, generator)
        areas.append(masks.flatten(2).sum(2).numpy())
        p.append(masks.mean(0).numpy())
        y.append(x.numpy() > 0.5)
    drawn, probability, truth = np.concatenate(areas, 1), np.concatenate(p), np.concatenate(y)
    area = truth.reshape(len(truth), -1).sum(1)
    found: dict[str, float] = {}
    for level in (0.5, 0.8, 0.9):
        low, high = quantiles_of(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        found[f"{level:.0%} of areas"] = float(((low <= area) & (area <= high)).mean())
    found["width, pixels"] = float((high - low).mean())
    return found | {"F1": dice(probability > 0.5, truth), "ECE": calibration_error(probability, truth)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--subjects", type=int, default=110)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--validation", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = slices.draw(options.subjects, segment_slices.NOISE)
    table: list[dict[str, str | int | float]] = []
    for seed in range(options.seeds):
        flow, apart, test = trained(data, seed, options.epochs, options.validation)
        batch = segment_slices.examples(data)[apart]
        assert batch.context is not None
        inside = torch.ones(batch.x.shape[2:], dtype=torch.bool)
        cases = [MaskCase(c, inside, float(x.sum())) for c, x in zip(batch.context, batch.x, strict=True)]
        before = scores(flow, data, test)
        calibrate_volumes(flow, cases, seed)
        after = scores(flow, data, test)
        for name, found in (("as trained", before), ("calibrated", after)):
            shift = {"shift sd": 0.0, "power": 1.0}
            if name == "calibrated":
                shift = {"shift sd": round(flow.shift_sd, 2), "power": flow.shift_power}
            table.append({"seed": seed, "flow": name, **{k: round(v, 4) for k, v in found.items()}, **shift})
            print(table[-1], flush=True)
    for name in ("as trained", "calibrated"):
        mine = [row for row in table if row["flow"] == name]
        keys = [key for key in mine[0] if key not in ("seed", "flow")]
        means = {key: round(float(np.mean([row[key] for row in mine])), 4) for key in keys}
        table.append({"seed": "mean", "flow": name, **means})
    timing.write("segment_volumes", "Intervals of areas of deep grey matter in brain slices, on test subjects", table)


if __name__ == "__main__":
    main()
