"""Draws that do not fit into memory are refused with what they would take, whatever is drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run
from small_cohorts import in_memory
from small_stores import ball, make_store, with_files

import crow
from crow.cohort import Cohort
from crow.errors import ConfigError
from crow.models.training_report import training_memory
from crow.run.folder import FORMAT_VERSION

RUNS = Path(__file__).parents[1] / "data" / f"runs-v{FORMAT_VERSION}"
HUGE = 10**12


def translate(folder: Path) -> object:
    table = pd.DataFrame({"subject": ["a", "b"], "age": [70.0, 71], "sex": ["F", "M"], "A": [0.1, 0.2]})
    model = crow.load(RUNS / "translate")
    return next(model.translate(table.assign(B=[0.1, 0.3], C=[0.2, 0.1]), n=HUGE))


def enhance(folder: Path) -> object:
    return crow.load(RUNS / "enhance").sample(np.ones((8, 10, 5), np.float32), n=HUGE)


def voxels(folder: Path) -> object:
    store = with_files(make_store(folder / "store", ball()))
    return next(crow.load(RUNS / "voxels").z_maps(store, [1], draws=HUGE))


def wide(columns: int) -> Cohort:
    rng = np.random.default_rng(0)
    names = [f"ROI_{k}" for k in range(columns)]
    values = pd.DataFrame(rng.normal(size=(36, columns)).astype(np.float32), columns=names)
    table = pd.DataFrame({"subject": np.repeat(list("abcdefghijkl"), 3), "age": 70.0 + np.tile(np.arange(3), 12)})
    return in_memory(pd.concat([table, values], axis=1), names, {})


def test_too_many_regions_are_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"for 15,000 regions: needs about [\d,]+ GiB of memory.*fewer regions"):
        crow.CRow().fit(wide(15_000), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_three_thousand_regions_take_about_5_gib() -> None:
    assert 5.1 < training_memory(members=8, blocks=3, width=32, regions=3000, channels=10) / 2**30 < 6  # 5.1 measured


def test_a_thousand_regions_are_read(tmp_path: Path) -> None:
    wide(1000).visits.drop(columns=["session", "time"]).to_csv(tmp_path / "wide.csv", index=False)
    assert "1000 regions" in run("check", tmp_path / "wide.csv")


@pytest.mark.parametrize("draw", [translate, enhance, voxels])
def test_too_many_draws_are_refused(draw: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"1,000,000,000,000 draws of .*: needs about [\d,]+ GiB of memory"):
        draw(tmp_path)


def test_many_more_regions_than_visits_are_trained_to_the_end() -> None:
    """The size that a test can afford."""
    cohort = wide(400)
    quick = {"max_epochs": 1, "steps_per_epoch": 1, "threads": 1}
    model = crow.CRow(model={"members": 1, "hidden": 4, "blocks": 1}, training=quick).fit(cohort)
    assert np.isfinite(model.log_prob(cohort)["log_prob"]).all()
