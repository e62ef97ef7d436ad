"""A scan store that is damaged, or that a stranger made up, is refused with a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import zarr
from commands import done, refused
from small_stores import ball, make_store, with_files

Damage = Callable[[Path], object]
WORDS = ["--set", "model.members=1", "--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=1",
         "--set", "scans.components=2"]  # fmt: skip


def content(name: str, text: str | bytes) -> Damage:
    data = text.encode() if isinstance(text, str) else text
    return lambda store: (store / name).write_bytes(data)


def removed(name: str) -> Damage:
    return lambda store: shutil.rmtree(store / name) if (store / name).is_dir() else (store / name).unlink()


def info(edit: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(store: Path) -> None:
        found = json.loads((store / "store.json").read_text())
        edit(found)
        (store / "store.json").write_text(json.dumps(found))

    return damage


def schema(**values: Any) -> Damage:
    return info(lambda found: found["cohort_schema"].update(values))


def visits(edit: Callable[[pd.DataFrame], pd.DataFrame]) -> Damage:
    def damage(store: Path) -> None:
        table = pd.read_csv(store / "visits.csv", dtype=object, keep_default_na=False)
        edit(table).to_csv(store / "visits.csv", index=False)

    return damage


def cell(column: str, value: str) -> Damage:
    def edit(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[3, column] = value
        return table

    return visits(edit)


def array(name: str, shape: tuple[int, ...], kind: str = "float32") -> Damage:
    def damage(store: Path) -> None:
        shutil.rmtree(store / "arrays.zarr" / name)
        zarr.open_group(store / "arrays.zarr").create_array(name, shape=shape, chunks=(1, *shape[1:]), dtype=kind)

    return damage


def volume(name: str, shape: tuple[int, int, int]) -> Damage:
    return lambda store: nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), store / name)


def zeroed(folder: str) -> Damage:
    def damage(store: Path) -> None:
        for path in (store / folder).rglob("*"):
            if path.is_file():
                path.write_bytes(b"\x00" * path.stat().st_size)

    return damage


DAMAGE: dict[str, Damage] = {
    **{f"no {name}": removed(name) for name in (
        "store.json", "visits.csv", "arrays.zarr", "template.nii.gz", "mask.nii.gz", "findings.json",
    )},
    **{f"empty {name}": content(name, "") for name in (
        "store.json", "visits.csv", "template.nii.gz", "mask.nii.gz", "findings.json",
    )},
    **{f"bytes in {name}": content(name, b"\xff\xfe\x00\x80" * 9) for name in (
        "store.json", "visits.csv", "mask.nii.gz", "findings.json",
    )},
    **{f"{name} nested without end": content(name, "[" * 200_000) for name in ("store.json", "findings.json")},
    "store.json is a list": content("store.json", "[]"),
    "store.json has more than crow writes": info(lambda found: found.update(more=1)),
    "a format of the future": info(lambda found: found.update(format_version=99)),
    "a format in words": info(lambda found: found.update(format_version="one")),
    "no grid": info(lambda found: found.pop("grid")),
    "a huge grid": info(lambda found: found["grid"].update(shape=[10**6] * 3)),
    "an empty grid": info(lambda found: found["grid"].update(shape=[0, 0, 0])),
    "another grid": info(lambda found: found["grid"].update(shape=[11, 14, 8])),
    "an affine of zeros": info(lambda found: found["grid"].update(affine=[[0.0] * 4] * 4)),
    "an affine of three rows": info(lambda found: found["grid"].update(affine=[[1.0, 0, 0, 0]] * 3)),
    "a velocity grid without arrays": info(lambda found: found.update(velocity_grid=found["grid"])),
    "settings that are a list": info(lambda found: found.update(settings=[])),
    "unfinished": info(lambda found: found.update(finished=False)),
    "a schema that is a number": info(lambda found: found.update(cohort_schema=3)),
    "an unknown covariate": schema(covariates={"sex": "categorical", "weight": "numeric"}),
    "an unknown kind of covariate": schema(covariates={"sex": "colour"}),
    "a categorical covariate as a number": schema(covariates={"sex": "numeric"}),
    "an unknown region": schema(regions=["ROI9"]),
    "an unknown time": schema(time_kind="eons"),
    "dates that are none": lambda store: (schema(time_kind="date")(store), cell("first visit", "never")(store)),
    **{f"no column {name}": visits(lambda table, name=name: table.drop(columns=name)) for name in (
        "subject", "session", "time", "age", "sex", "first visit", "scan",
    )},
    "one visit less": visits(lambda table: table[:-1]),
    "one visit more": visits(lambda table: pd.concat([table, table[-1:].assign(subject="new")])),
    "no visits": visits(lambda table: table[:0]),
    "visits in another order": visits(lambda table: table[::-1]),
    "the same visits twice": visits(lambda table: pd.concat([table[:12], table[:12]])),
    "a subject without a name": cell("subject", ""),
    "a visit of another subject": cell("subject", "s05"),
    "words as time": cell("time", "late"),
    "no time": cell("time", ""),
    "an infinite time": cell("time", "inf"),
    "a time of 1e400": cell("time", "1e400"),
    "words as age": cell("age", "old"),
    "an infinite age": cell("age", "-inf"),
    "words as first visit": cell("first visit", "=1+1"),
    "a row that is too long": lambda store: (store / "visits.csv").open("a").write("," * 50 + "\n"),
    "a quote that never ends": lambda store: (store / "visits.csv").open("a").write('"' + "x" * 1000),
    "arrays without metadata": removed("arrays.zarr/zarr.json"),
    "arrays of zeros": zeroed("arrays.zarr"),
    "metadata of an array is no JSON": content("arrays.zarr/intensity/zarr.json", "{"),
    **{f"no {name}": removed(f"arrays.zarr/{name}") for name in ("intensity", "scale", "to_scan", "status")},
    "an array of fewer rows": array("intensity", (3, 11, 14, 9)),
    "an array of another grid": array("intensity", (24, 4, 4, 4)),
    "an array of a terabyte": array("intensity", (24, 4000, 4000, 4000)),
    "an array of words": array("scale", (24, 2), "<U3"),
    "a status that crow does not write": lambda store: zarr.open_group(store / "arrays.zarr")["status"].__setitem__(
        0, 77
    ),
    "a mask of another grid": volume("mask.nii.gz", (3, 3, 3)),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_files(make_store(tmp_path_factory.mktemp("stores") / "store", ball())).path


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_store_is_refused(
    name: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(store, tmp_path / "store")
    DAMAGE[name](tmp_path / "store")
    message = refused(capsys, "train", "--cohort", tmp_path / "store", "--out", tmp_path / "run", *WORDS)
    assert str(tmp_path / "store") in message and len(message) < 2000
    assert not (tmp_path / "run").exists()


def test_the_store_as_it_was_is_accepted(store: Path, tmp_path: Path) -> None:
    done(["train", "--cohort", store, "--out", tmp_path / "run", *WORDS])
