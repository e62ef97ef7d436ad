"""How many modes of velocity: the change of test subjects' last scans, the same data for every number of modes.

    python benchmarks/velocity_modes.py --store DIR [--modes 4,1,2,3,6,10] [--folds 3]

The store is one of `benchmarks/scans.py`. In each fold, modes and the mixed model of their coefficients are fitted to
the other subjects, and forecast the velocity of each test subject's last scan from its earlier scans. "error": squared
error as a share of the squared velocity. "log-likelihood": of a normal distribution at every third node along each
axis, mean over nodes and subjects, minus that of the first number of modes; its variance is that of the coefficients
plus that of the training velocities around their modes. "s.e." is over subjects.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from timing import write
from voxel_change import known

from crow.bijections.change_fit import fit_change_model
from crow.bijections.innovation import MixedModelInnovation
from crow.representation.velocity_modes import VelocityModes
from crow.scans.store import ScanStore

Values = NDArray[np.float64]
NODES = (slice(None), *[slice(None, None, 3)] * 3)  # neighbours are nearly the same
LEAST = 1e-3  # of the mean variance of a node


class Forecaster:
    """Velocity modes, and the mixed model of their coefficients, of the training subjects in ``groups``."""

    def __init__(self, store: ScanStore, groups: Sequence[NDArray[np.int64]], count: int) -> None:
        self.store, nodes = store, store.info.velocity_grid
        assert nodes is not None
        time = store.visits["time"].to_numpy(float)
        years = np.concatenate([time[rows[1:]] - time[rows[0]] for rows in groups])
        self.modes = VelocityModes.fit(store, np.concatenate([rows[1:] for rows in groups]), years, nodes, count)
        x = [torch.tensor(self.coefficients(rows[1:])) for rows in groups]
        context = [torch.tensor(known(store, rows)) for rows in groups]
        self.unit = torch.cat(x).square().mean(0).sqrt()
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(v), dtype=torch.bool) for v in x], batch_first=True)
        values, channels = (torch.nn.utils.rnn.pad_sequence(v, batch_first=True) for v in (x, context))
        effects = channels.shape[2]
        self.model = MixedModelInnovation(count, range(effects), range(1, effects)).double()
        fit_change_model(self.model, values / self.unit, channels, mask)
        rest = [np.square(self.velocity(row) - self.field(a)) for rows in groups
                for row, a in zip(rows[1:], self.coefficients(rows[1:]), strict=True)]  # fmt: skip
        self.rest = np.mean(rest, 0)

    def velocity(self, row: int) -> Values:
        return np.asarray(self.store.array("velocity")[int(row)], np.float64)

    def coefficients(self, rows: NDArray[np.int64]) -> Values:
        each = [np.tensordot(self.modes.duals, self.velocity(row), ((1, 2, 3, 4), (0, 1, 2, 3))) for row in rows]
        return np.array(each).reshape(len(rows), len(self.modes.duals))

    def field(self, coefficients: Values) -> Values:
        return np.asarray(np.tensordot(coefficients, self.modes.fields, 1))

    @torch.no_grad()
    def scores(self, rows: NDArray[np.int64]) -> tuple[float, float]:
        """Squared error of the velocity of the last row, and its log-likelihood per node."""
        context = torch.tensor(known(self.store, rows))[None]
        past = torch.tensor(self.coefficients(rows[1:-1]))[None] / self.unit
        moments = self.model.predict(past, context[:, :-1])[1]
        found = self.model.predict(torch.zeros(1, 1, len(self.unit)).double(), context[:, -1:], moments)[0]
        mean, sd = ((v[0, 0] * self.unit).numpy() for v in (found.mean, found.sd))
        square = np.square(self.velocity(int(rows[-1])) - self.field(mean))
        variance = self.rest + np.tensordot(sd**2, np.square(self.modes.fields), 1)
        variance = np.maximum(variance, LEAST * variance.mean())
        return float(square.sum()), float((-0.5 * square / variance - 0.5 * np.log(variance))[NODES].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--modes", default="4,1,2,3,6,10")
    parser.add_argument("--folds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store, counts = ScanStore.open(arguments.store), [int(k) for k in arguments.modes.split(",")]
    groups = [own.index.to_numpy() for _, own in store.cohort().visits.groupby("subject", sort=False)]
    order = np.random.default_rng(0).permutation(len(groups))
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    for fold in range(arguments.folds):
        test = order[fold :: arguments.folds]
        for count in counts:
            model = Forecaster(store, [groups[k] for k in order if k not in test], count)
            found[count] += [model.scores(groups[k]) for k in test]
    size = sum(float(np.square(np.asarray(store.array("velocity")[int(rows[-1])], float)).sum()) for rows in groups)
    rows = []
    for count in sorted(counts):
        error, log_lik = np.array(found[count]).T
        better = log_lik - np.array(found[counts[0]])[:, 1]
        rows.append({
            "modes": count, "error": round(float(error.sum() / size), 4),
            f"log-likelihood - that of {counts[0]}": round(float(better.mean()), 4),
            "s.e.": round(float(better.std() / np.sqrt(len(better))), 4),
        })  # fmt: skip
    resolution = float(store.info.settings["resolution"])
    write(f"velocity_modes_{resolution:g}mm", f"Number of modes: {len(groups)} subjects, {resolution:g} mm", rows)


if __name__ == "__main__":
    main()
