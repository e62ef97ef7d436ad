"""`crow classify` on simulated subjects: accuracy with few labels, and refusal of unusual visits.

``classify_scans.py [--seeds 3]``, about 15 minutes, with default settings.

*Regions*: three visits of 300 subjects, six volumes, CN, MCI or dementia (`crow simulate`). *Slices*: an axial T1w
slice of 6 mm through the ventricles of about 130 subjects, CN or dementia, in one head position. The label of 8
subjects of each diagnosis is known. Error on the visits of as many test subjects, compared with a logistic regression
on the same labels, and with two methods that also use the unlabelled visits. Refusal: AUROC of log p(x) and of
typicality, and the share that crow classify refuses, for the unchanged test visits and for changed ones: regions of
which one is 25 % larger, as other software may measure it; slices of another scanner (higher gain, more contrast, a
bias field), or blurred by 6 mm.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from timing import write

import crow
from crow.cohort import Cohort, Schema
from crow.cohort.reader import read_cohort
from crow.representation.cross_sectional import ScanInputs
from crow.scans.store import DONE, ScanStore, StoreInfo
from crow.simulate import ScanSimulation, simulate_adni, simulate_scans

LABELLED = 8  # subjects of each diagnosis
MM, POSITION = 6.0, ["rotation_x", "rotation_y", "rotation_z", "shift_x", "shift_y", "shift_z"]
SLICES = {"slice": "axial", "position": 12.0}
Row = dict[str, str | int | float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, float]]] = {"regions": [], "slices": []}
    for seed in range(options.seeds):
        for name, task in (("regions", regions), ("slices", slices)):
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(task(Path(folder), seed))
            print(seed, name, found[name][-1], flush=True)
    rows: list[Row] = []
    for name, runs in found.items():
        for what in runs[0]:
            values = [run[what] for run in runs]
            text = f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"
            rows.append({"visits": name, "what": what, "mean (range)": text})
    write("classify_scans", "crow classify on simulated subjects, 8 labelled ones of each diagnosis", rows)


def regions(folder: Path, seed: int) -> dict[str, float]:
    cohorts = []
    for k in (seed, 100 + seed):
        simulate_adni(300, 3, seed=k).table.to_csv(folder / f"{k}.csv", index=False)
        cohorts.append(read_cohort(folder / f"{k}.csv"))
    learning, test = cohorts
    few, names = few_labels(learning.visits, seed), learning.regions
    model = crow.Classifier(seed=seed).fit(replace(learning, visits=few), "DX")
    larger = test.visits.assign(**{names[0]: 1.25 * test.visits[names[0]]})
    predicted = {"unchanged": model.predict(test), "one 25 % larger": model.predict(replace(test, visits=larger))}
    x, other = (cohort.visits[names].to_numpy(float) for cohort in (learning, test))
    return errors(predicted["unchanged"], few, test.visits, x, other) | refusals(predicted)


def slices(folder: Path, seed: int) -> dict[str, float]:
    learning, test = store(folder / "learning", 200, seed), store(folder / "test", 200, 100 + seed)
    few = few_labels(learning.visits, seed)
    learning.visits["DX"] = few["DX"]
    model = crow.Classifier(seed=seed, images=SLICES).fit(learning, "DX")
    assert isinstance(model.inputs, ScanInputs)
    levels = [model.inputs.encode(one, one.visits.index.to_numpy()) for one in (learning, test)]
    x, other = (part.reshape(len(part), -1).astype(float) for part in levels)
    predicted = {"unchanged": model.predict(test)}
    predicted["another scanner"] = model.predict(store(folder / "scanner", 200, 100 + seed, scanner=2))
    predicted["blurred"] = model.predict(store(folder / "blurred", 200, 100 + seed, blur=6.0))
    return errors(predicted["unchanged"], few, test.visits, x, other) | refusals(predicted)


def store(path: Path, subjects: int, seed: int, scanner: int = 1, blur: float = 0.0) -> ScanStore:
    """Scans of simulated ``subjects`` that are CN or have dementia, in one head position; ``blur``: width in mm."""
    simulation = in_one_position(subjects, seed, scanner)
    visits = simulation.visits[simulation.visits["diagnosis"] != "MCI"].reset_index(drop=True)
    scans = [simulation.render(*visit, noise=True) for visit in visits[["subject", "session"]].itertuples(index=False)]
    reference = in_one_position(1, seed=0, scanner=1)
    mask = reference.render(*reference.visits[["subject", "session"]].iloc[0]) > 100  # the same for all stores
    table = pd.DataFrame({
        "subject": visits["subject"], "session": "1", "time": 0.0, "age": visits["age"], "DX": visits["diagnosis"],
    })  # fmt: skip
    schema = Schema(layout="plain", subject="subject", time="age", time_kind="age", covariates={"DX": "categorical"})
    info = StoreInfo(modality="T1w", space="simulated", grid=simulation.grid, cohort_schema=schema)
    cohort = Cohort(table, schema, table.set_index("subject")["age"])
    created = ScanStore.create(path, info, cohort, np.ones(simulation.grid.shape, np.float32), mask)
    for row, scan in enumerate(scans):
        created.array("intensity")[row] = gaussian_filter(scan, blur / 2.355 / MM)
        created.array("status")[row] = DONE
    created.finish([])
    return created


def in_one_position(subjects: int, seed: int, scanner: int) -> ScanSimulation:
    """One visit of each subject, in one head position."""
    simulation = simulate_scans(subjects, 1, MM, seed=seed)
    return replace(simulation, visits=simulation.visits.assign(**dict.fromkeys(POSITION, 0.0), scanner=scanner))


def few_labels(visits: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The visits with the labels of 8 subjects of each diagnosis (at the first visit) only."""
    first = visits.groupby("subject")["DX"].first().dropna()
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(first.index[first == level], LABELLED, replace=False) for level in sorted(first.unique())]
    return visits.assign(DX=visits["DX"].astype(object).where(visits["subject"].isin(np.concatenate(chosen)), None))


def errors(
    predicted: pd.DataFrame, few: pd.DataFrame, test: pd.DataFrame, x: NDArray[np.floating], other: NDArray[np.floating]
) -> dict[str, float]:
    """Error rate of each method on the test visits; ``x`` and ``other``: ``[visit, value]`` in training and test."""
    labelled = test["DX"].notna().to_numpy()
    truth = test["DX"].to_numpy()[labelled]
    scaler = StandardScaler().fit(x)
    known, levels = few["DX"].notna().to_numpy(), sorted(few["DX"].dropna().unique())
    label = np.array([levels.index(word) if isinstance(word, str) else -1 for word in few["DX"]])
    methods: dict[str, Any] = {
        "logistic regression": LogisticRegression(max_iter=2000),
        "self-trained logistic regression": SelfTrainingClassifier(LogisticRegression(max_iter=2000)),
        "LabelSpreading": LabelSpreading(kernel="knn", n_neighbors=10, alpha=0.8),
    }
    wrong = {"error, crow classify": float((predicted["predicted"].to_numpy()[labelled] != truth).mean())}
    for name, method in methods.items():
        rows = known if name == "logistic regression" else np.ones(len(x), bool)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            guess = method.fit(scaler.transform(x)[rows], label[rows]).predict(scaler.transform(other))
        wrong[f"error, {name}"] = float((np.array(levels)[guess][labelled] != truth).mean())
    return wrong


def refusals(predicted: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Share of refused visits, and AUROCs of changed against unchanged visits."""
    usual = predicted["unchanged"]["log_prob"].to_numpy()
    found: dict[str, float] = {}
    for name, table in predicted.items():
        found[f"refused, {name}"] = float(table["refused"].mean())
        if name != "unchanged":
            truth = [0] * len(usual) + [1] * len(table)
            both = np.concatenate([usual, table["log_prob"]])
            found[f"AUROC of log p(x), {name}"] = float(roc_auc_score(truth, -both))
            found[f"AUROC of typicality, {name}"] = float(roc_auc_score(truth, abs(both - np.median(usual))))
    return found


if __name__ == "__main__":
    main()
