"""What `crow share` packs loads again, and nothing in it belongs to fewer subjects than `--min-count`."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import done, refused
from safetensors import safe_open
from small_stores import ball, make_store, with_files

from crow.simulate import simulate_adni

QUICK = [
    *("--set", "model.members=2", "--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2"),
    *("--set", "training.threads=1"),
]
FILES = {
    "config.yaml", "model.safetensors", "model.json", "metrics.json", "findings.json", "log.csv", "DATA_SHEET.md",
    "MODEL_CARD.md",
}  # fmt: skip
COUNT = 10


def make_cohort(path: Path) -> pd.DataFrame:
    """Sixty subjects: a race and two sites that few have, one subject above 89, values with many digits."""
    table = simulate_adni(60, 4, seed=3).table
    subject = table["RID"].astype("category").cat.codes.to_numpy()
    table["SITE"] = np.array(["Leeds", "Ulm", "Vejle", "Xanten"])[np.digitize(subject, [25, 50, 56])]
    table["RACE"] = np.where(subject % 20 == 7, "Martian", np.where(subject % 2 == 0, "Red", "Green"))
    table["AGE"] = np.where(subject == 11, 95.7, table["AGE"])
    table["RID"] = [f"patient-{name}" for name in table["RID"]]
    regions = ["Ventricles", "Hippocampus", "Entorhinal"]
    table[regions] += np.random.default_rng(0).uniform(0, 1, (len(table), 3)).round(9)
    table = table[["RID", "EXAMDATE", "AGE", "PTGENDER", "RACE", "CDRSB", "SITE", *regions]]
    table.to_csv(path, index=False)
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a run with its evaluation, and the run as it is shared."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("share")
    make_cohort(folder / "cohort.csv")
    reading = ["--covariates", "PTGENDER,RACE,CDRSB", "--regions", "Ventricles,Hippocampus,Entorhinal",
               "--site", "SITE"]  # fmt: skip
    done(["train", "--cohort", folder / "cohort.csv", "--out", folder / "run", "--test", "0.2", *reading, *QUICK])
    done(["evaluate", "--run", folder / "run", "--draws", "20", "--baselines", "simple", "--jobs", "1"])
    done(["share", "--run", folder / "run", "--out", folder / "model.zip", "--licence", "CC0 <b>|"])
    unpack(folder / "model.zip", folder / "shared")
    return folder


def unpack(path: Path, out: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(out)


def numbers(value: Any) -> Iterator[float]:
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]:
        if isinstance(item, dict | list):
            yield from numbers(item)
        elif isinstance(item, int | float) and not isinstance(item, bool):
            yield float(item)


def texts(shared: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(shared.iterdir()) if path.suffix != ".safetensors")


def test_only_a_run_and_its_cards_are_packed(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.zip") as archive:
        assert set(archive.namelist()) == FILES
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
    assert (folder / "run_evaluation" / "visits.csv").is_file() and not (folder / "run" / "evaluation").exists()


def test_no_name_path_or_rare_level_is_in_the_file(folder: Path) -> None:
    table, text = pd.read_csv(folder / "cohort.csv"), texts(folder / "shared")
    data = text.encode() + (folder / "shared" / "model.safetensors").read_bytes()
    names = table["RID"].unique()
    hidden = [*names, *(name.removeprefix("patient-") for name in names), "Martian", "Vejle", "Xanten", str(folder),
              folder.name, "cohort.csv"]  # fmt: skip
    assert [word for word in hidden if re.search(rb"(?<![\d.])" + re.escape(word.encode()) + rb"(?!\d)", data)] == []
    assert "Leeds" in text and "Ulm" in text and "Red" in text and "withheld 1" in text
    digests = [hashlib.new(kind, name.encode()).hexdigest() for kind in ("md5", "sha1", "sha256") for name in names]
    test = set(pd.read_csv(folder / "run_evaluation" / "visits.csv")["subject"])
    own = json.loads((folder / "run" / "model.json").read_text())["description"]
    salt = own["test_subjects"]["salt"]
    salted = {name: hashlib.sha256(f"{salt}/{name}".encode()).hexdigest() for name in names}
    assert own["test_subjects"]["hashes"] == sorted(salted[name] for name in test)  # this looks for the right thing
    digests += [salt, *salted.values()]
    digests.append(own["cohort"]["sha256"])
    assert [digest for digest in digests if digest[:12] in text] == []


def test_no_cell_of_few_subjects_is_in_the_file(folder: Path) -> None:
    table = pd.read_csv(folder / "cohort.csv")
    cells: set[float] = set()
    for name in ["AGE", "CDRSB", "Ventricles", "Hippocampus", "Entorhinal"]:
        count = table.groupby(name)["RID"].nunique()
        cells |= set(count.index[count < COUNT])
    dates = pd.to_datetime(table["EXAMDATE"])
    cells |= set(((dates - dates.groupby(table["RID"]).transform("min")).dt.days / 365.25).round(12)) - {0.0}
    long = {cell for cell in cells if len(f"{cell:.12g}".replace(".", "").strip("0")) > 3}
    shared = folder / "shared"
    found = {number for path in shared.glob("*.json") for number in numbers(json.loads(path.read_text()))}
    found |= {float(word) for word in re.findall(r"-?\d+\.\d+", texts(shared))}
    assert {float(f"{number:.12g}") for number in found} & long == set()
    own = json.loads((folder / "run" / "model.json").read_text())["description"]["representation"]
    assert {own["follow_up"], own["drift"]["longest"], *own["median"]} & found == set()
    single = np.array(sorted(cell for cell in cells if len(f"{cell:.12g}") > 8), np.float32)
    with safe_open(shared / "model.safetensors", framework="pt") as file:
        weights = np.concatenate([file.get_tensor(name).float().numpy().ravel() for name in file.keys()])  # noqa: SIM118
    assert not np.isin(weights, single).any()
    representation = json.loads((shared / "model.json").read_text())["description"]["representation"]
    for name, bins in representation["support"]["bins"].items():
        rare = cells if name in ("age", "CDRSB") else set()
        assert not set(bins["edges"]) & rare and (name != "age" or max(bins["edges"]) <= 89)
    assert set(representation["sites"]["factors"][0]["levels"]) == {"Leeds", "Ulm"}
    assert all(value == 0 or value >= COUNT for pairs in representation["support"]["pairs"].values()
               for counts in pairs.values() for row in counts for value in row)  # fmt: skip


def test_the_cards_describe_the_cohort_and_the_model(folder: Path) -> None:
    sheet, card = ((folder / "shared" / name).read_text() for name in ("DATA_SHEET.md", "MODEL_CARD.md"))
    assert "about 50" in sheet and "others withheld" in sheet
    assert re.search("(Leeds, Ulm|Ulm, Leeds), and 2 with fewer subjects", sheet)
    assert re.search(r"years of the visits \| 20\d\d to 20\d\d \|", sheet)
    assert "CC0 &lt;b&gt;\\|" in sheet and "CC0 &lt;b&gt;\\|" in card
    measured = json.loads((folder / "run_evaluation" / "metrics.json").read_text())
    assert f"| crow | {measured['forecast']['crow']['MAE']:.3g} |" in card and "coverage 90 %" in card
    assert f"Audit of `crow evaluate`: {measured['privacy']['verdict']}." in card
    assert "Intended use" in card and "Not for decisions about single patients" in card


def test_what_was_shared_scores_and_forecasts_as_the_run_does(folder: Path) -> None:
    table = pd.read_csv(folder / "cohort.csv")
    common = table[table["SITE"].isin(["Leeds", "Ulm"]) & (table["RACE"] != "Martian")]
    common.to_csv(folder / "common.csv", index=False)
    for run in ("run", "shared"):
        words = ["--run", folder / run, "--cohort", folder / "common.csv", "--draws", "20"]
        done(["score", *words, "--out", folder / f"{run}_scores.csv"])
        name = common["RID"].iloc[0]
        done(["generate", *words, "--subject", name, "--at", "1", "--out", folder / f"{run}_forecast.csv"])
    for what in ("scores", "forecast"):
        own, shared = (pd.read_csv(folder / f"{run}_{what}.csv") for run in ("run", "shared"))
        pd.testing.assert_frame_equal(own, shared)


def test_a_level_that_was_withheld_is_unknown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "score", "--run", folder / "shared", "--cohort", folder / "cohort.csv", "--out",
                      folder / "all.csv")  # fmt: skip
    assert "column RACE holds 'Martian', which the training data did not have" in message


@pytest.mark.parametrize("kind", ["synthesize", "classify", "scans"])
def test_other_kinds_of_runs_are_shared(kind: str, folder: Path, tmp_path: Path) -> None:
    run, min_count = tmp_path / "run", "4" if kind == "scans" else "5"
    if kind == "scans":
        with_files(make_store(tmp_path / "store", ball()))
        words = ["train", "--cohort", tmp_path / "store", "--set", "scans.components=2", *QUICK]
    else:
        reading = ["--cohort", folder / "cohort.csv", "--regions", "Ventricles,Hippocampus,Entorhinal",
                   "--covariates", "PTGENDER,RACE,CDRSB"]  # fmt: skip
        asked = ["--condition", "age,RACE"] if kind == "synthesize" else ["--label", "RACE"]
        words = [kind, *reading, *asked, *QUICK[2:]]
    done([*words, "--out", run])
    done(["share", "--run", run, "--out", tmp_path / "model.zip", "--min-count", min_count])
    unpack(tmp_path / "model.zip", tmp_path / "shared")
    text = texts(tmp_path / "shared")
    assert "Martian" not in text and str(tmp_path) not in text and "patient-" not in text
    if kind == "scans":
        done(["score", "--run", tmp_path / "shared", "--cohort", tmp_path / "store", "--out", tmp_path / "s.csv"])
    elif kind == "synthesize":
        attributes = json.loads((tmp_path / "shared" / "model.json").read_text())["description"]["attributes"]
        assert attributes["attributes"][0]["high"] == 90
        done(["synthesize", "--run", tmp_path / "shared", "--count", "50", "--out", tmp_path / "new.csv"])
        assert set(pd.read_csv(tmp_path / "new.csv")["RACE"]) == {"Red", "Green"}


def test_what_may_not_be_shared_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    share = ("share", "--run", folder / "run", "--out", tmp_path / "model.zip")
    assert "a zip file. Unpack it first" in refused(capsys, "score", "--run", folder / "model.zip", "--cohort",
                                                    folder / "cohort.csv", "--out", tmp_path / "s.csv")  # fmt: skip
    assert "written as .zip" in refused(capsys, *share[:3], "--out", tmp_path / "model.tar")
    assert "is a part of the input --run" in refused(capsys, *share[:3], "--out", folder / "run" / "logs" / "m.zip")
    assert "exists already" in refused(capsys, *share[:3], "--out", folder / "model.zip")
    pd.read_csv(folder / "cohort.csv")[5:].to_csv(tmp_path / "other.csv", index=False)
    assert "not the table that the run was trained on" in refused(capsys, *share, "--cohort", tmp_path / "other.csv")
    assert "fewer than 49" in refused(capsys, *share, "--min-count", "49")
    failed = tmp_path / "evaluation"
    failed.mkdir()
    (failed / "metrics.json").write_text('{"format": 1, "privacy": {"verdict": "fail", "reasons": ["Copies."]}}')
    assert "privacy audit failed" in refused(capsys, *share, "--evaluation", failed)
    assert not (tmp_path / "model.zip").exists()
