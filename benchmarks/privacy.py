"""The privacy audit of models that are trained as usual, and of one that is overfitted on purpose.

    python benchmarks/privacy.py [--seeds 0 1 2]

Three simulated cohorts per seed, each with 40 test subjects: ADNI-like tables of 6 regions (160 training subjects),
AV45 tables of 82 regions (220 training subjects), and 10 of the ADNI-like subjects, whom one flow memorises in 1,500
steps without validation subjects, early stopping, weight decay, dropout or averaging of weights.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from seeds import Row, add_seeds, rows_of_seeds
from timing import write

from crow import Cohort, CRow
from crow.cohort import read_cohort
from crow.evaluation.synthetic import evaluate_privacy
from crow.flows.ensemble import FlowEnsemble
from crow.simulate import Simulation, simulate_adni, simulate_av45
from crow.training.build import build_flow

REGIONS = ["Ventricles", "Hippocampus", "WholeBrain", "Entorhinal", "Fusiform", "MidTemp"]
N_TEST, N_FEW, STEPS = 40, 10, 1500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_seeds(parser, [0, 1, 2])
    rows = rows_of_seeds(of_seed, parser.parse_args())
    write("privacy", "Privacy audits: models trained as usual, and one that memorised its subjects", rows)


def of_seed(seed: int) -> list[Row]:
    rows: list[Row] = []
    adni = _cohort(simulate_adni(160 + N_TEST, seed=seed), regions=REGIONS)
    av45 = _cohort(simulate_av45(220 + N_TEST, seed=seed), covariates=["CDRSB"])
    for name, cohort, subjects, fit in (
        ("10 subjects, memorised", adni, N_FEW, memorise), ("160 subjects, 6 regions", adni, 160, train),
        ("220 subjects, 82 regions", av45, 220, train),
    ):  # fmt: skip
        training = cohort.of(cohort.subjects[:subjects])
        others = cohort.of(cohort.subjects[-N_TEST:])
        began = time.process_time()
        model = fit(training, seed)
        seconds = time.process_time() - began
        numbers = evaluate_privacy(model, training, others, seed).metrics["privacy"]
        shown = {key: value for key, value in numbers.items() if not isinstance(value, str | list)}
        row = {"trained on": name, "verdict": numbers["verdict"], "seconds": round(seconds)}
        rows.append({**row, **{key: round(float(value), 4) for key, value in shown.items()}})
        print(*numbers["reasons"], sep="\n", flush=True)
    return rows


def train(training: Cohort, seed: int) -> CRow:
    return CRow(seed=seed).fit(training)


def memorise(training: Cohort, seed: int) -> CRow:
    """A CRow with a single flow, trained on all subjects until it has memorised them."""
    model = CRow(seed=seed, model={"members": 1, "initialise": "standard"}, training={"max_epochs": 0}).fit(training)
    settings = model.config.model.model_copy(update={"dropout": 0.0, "hidden": 64})
    data = model.table.encode(training.visits)
    torch.manual_seed(seed)
    flow = build_flow(settings, len(model.table.regions), model.table.channels, "standard")
    flow.initialise(data)
    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        flow.loss(data).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()
    model.flow = FlowEnsemble([flow]).eval()
    return model


def _cohort(simulation: Simulation, **roles: list[str]) -> Cohort:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cohort.csv"
        simulation.table.to_csv(path, index=False)
        cohort = read_cohort(path, **roles)
    return replace(cohort, path=None)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
