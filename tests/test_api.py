"""What people program against: names, tables as pandas reads them, and objects that show and plot themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

import crow
from crow.errors import CohortError, ConfigError
from crow.simulate import simulate_adni

QUICK: dict[str, Any] = {
    "training": {"max_epochs": 1, "steps_per_epoch": 2}, "model": {"members": 1, "hidden": 4, "blocks": 1}
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("api") / "cohort.csv"
    simulate_adni(20, 3, seed=1).table.to_csv(path, index=False)
    return pd.read_csv(path)


@pytest.fixture(scope="module")
def model(table: pd.DataFrame) -> crow.CRow:
    return crow.CRow(seed=1, **QUICK).fit(table)


def test_dir_lists_the_public_names() -> None:
    assert dir(crow) == sorted([*crow.__all__, "__version__"])
    assert all(getattr(crow, name) is not None for name in crow.__all__)
    assert set(crow.HOMES) == set(crow.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Crow'"):
        _ = crow.Crow


def test_importing_crow_does_not_import_torch() -> None:
    code = "import crow, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_has_a_docstring_with_its_parts() -> None:
    for name in crow.__all__:
        assert (getattr(crow, name).__doc__ or "").strip(), name
    for method in ("fit", "log_prob", "forecast"):
        text = getattr(crow.CRow, method).__doc__
        assert "Parameters\n" in text and "----------" in text, method
    assert "Raises\n" in crow.CRow.forecast.__doc__ and "Returns\n" in crow.CRow.forecast.__doc__


def test_a_dataframe_is_read_like_its_file(table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_csv(tmp_path / "cohort.csv", index=False)
    from_file, from_frame = crow.read_cohort(tmp_path / "cohort.csv"), crow.read_cohort(table)
    pd.testing.assert_frame_equal(from_frame.visits, from_file.visits)
    assert from_frame.schema == from_file.schema
    assert [f.code for f in from_frame.findings] == [f.code for f in from_file.findings]
    dated = table.assign(EXAMDATE=pd.to_datetime(table["EXAMDATE"]))
    pd.testing.assert_frame_equal(crow.read_cohort(dated).visits, from_file.visits)


def test_a_model_takes_a_dataframe_wherever_it_takes_a_cohort(table: pd.DataFrame, model: crow.CRow) -> None:
    cohort = crow.read_cohort(table)
    pd.testing.assert_frame_equal(model.log_prob(table), model.log_prob(cohort))
    ahead = cohort.visits.groupby("subject")["time"].max().add(2).reset_index()
    of_frame, of_cohort = (model.forecast(data, ahead, draws=20, seed=1) for data in (table, cohort))
    np.testing.assert_array_equal(of_frame.values, of_cohort.values)


def test_subjects_may_be_numbers(table: pd.DataFrame, model: crow.CRow) -> None:
    """RID is an integer in the table, and it is one in what is asked."""
    cohort = crow.read_cohort(table)
    number = int(table["RID"].iloc[0])
    last = cohort.visits.loc[cohort.visits["subject"] == str(number), "time"].max()
    ahead = pd.DataFrame({"subject": [number], "time": [last + 1]})
    found = model.forecast(table, ahead, draws=20)
    assert found.visits["subject"].tolist() == [str(number)]
    assert cohort.of([number]).subjects == [str(number)]


def test_a_forecast_plots_itself_and_becomes_xarray(table: pd.DataFrame, model: crow.CRow) -> None:
    cohort = crow.read_cohort(table)
    ahead = cohort.visits.groupby("subject")["time"].max().add(1).reset_index()
    forecast = model.forecast(cohort, pd.concat([ahead, ahead.assign(time=ahead["time"] + 1)]), draws=30)
    subject = cohort.subjects[3]
    figure = forecast.plot(subject, regions=["Hippocampus"], unit="mm³")
    assert isinstance(figure, Figure) and [axes.get_title(loc="left") for axes in figure.axes] == ["Hippocampus"]
    observed = cohort.visits[cohort.visits["subject"] == subject]
    drawn = [line.get_ydata() for line in figure.axes[0].lines]
    assert any(len(y) == len(observed) and np.allclose(y, observed["Hippocampus"]) for y in drawn)
    with pytest.raises(CohortError, match="nobody is not in this forecast"):
        forecast.plot("nobody")
    dataset = forecast.to_xarray()
    assert dict(dataset.sizes) == {"visit": len(forecast.visits), "draw": 30, "region": len(forecast.regions)}
    one = dataset["value"].sel(region="Hippocampus").isel(visit=0).to_numpy()
    np.testing.assert_array_equal(one, forecast.values[0, :, forecast.regions.index("Hippocampus")])


def test_settings_given_twice_are_a_conflict() -> None:
    with pytest.raises(ConfigError, match=r"the settings seed are given beside a complete Config"):
        crow.CRow(crow.Config(), seed=7)
