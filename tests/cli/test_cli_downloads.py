"""From a download to a forecast, without a line of Python."""

import json
from pathlib import Path

import pandas as pd
import portal_tables as portal
import pytest
from commands import run
from simulated_tables import save
from typer.testing import CliRunner

from crow.cli.main import app

TINY = ["--set", "model.members=1", "--set", "model.hidden=4", "--set", "training.max_epochs=1"]


def write_german(path: Path) -> Path:
    path.write_bytes(portal.german_lab().to_csv(sep=";", index=False).encode("cp1252"))
    return path


def test_a_german_lab_table_from_download_to_forecast(tmp_path: Path) -> None:
    cohort, out = str(write_german(tmp_path / "labor.csv")), str(tmp_path / "run")
    run("train", "--cohort", cohort, "--out", out, *TINY)
    forecast = tmp_path / "forecast.csv"
    draws, scores = tmp_path / "draws.csv", tmp_path / "scores.csv"
    asked = ["--subject", "P003", "--at", "+1", "--draws", "20"]
    run("generate", "--run", out, *asked, "--out", forecast, "--save-draws", draws)
    table = pd.read_csv(forecast, sep=";", decimal=",")
    last = portal.german_lab().query("`Probanden-ID` == 'P003'")["Untersuchungsdatum"].iloc[-1]
    expected = pd.to_datetime(last, dayfirst=True) + pd.DateOffset(years=1)
    assert table["Untersuchungsdatum"].iloc[0] == f"{expected:%d.%m.%Y}", "dates are written as in the table"
    assert table["Hippocampus li_median"].between(3000, 4000).all()
    assert set(pd.read_csv(draws, sep=";", decimal=",")["Untersuchungsdatum"]) == {f"{expected:%d.%m.%Y}"}
    run("score", "--run", out, "--cohort", cohort, "--draws", "20", "--out", scores)
    assert pd.read_csv(scores, sep=";", decimal=",")["log_prob"].dtype == float


def test_two_tables_from_download_to_forecast(tmp_path: Path) -> None:
    scans, visits = portal.oasis3()
    tables = [
        "--cohort",
        str(save(scans, tmp_path / "fs.csv")),
        "--cohort",
        str(save(visits, tmp_path / "clinical.csv")),
    ]
    out = str(tmp_path / "run")
    run("train", *tables, "--within", "90d", "--out", out, *TINY)
    for given in (tables, []):  # the tables of the training are known to the run
        forecast = tmp_path / f"forecast{len(given)}.csv"
        asked = ["--subject", "OAS30001", "--at", "+1", "--draws", "20"]
        run("generate", "--run", out, *given, *asked, "--out", forecast)
        assert pd.read_csv(forecast)["MMSE"].notna().all()


def test_check_of_two_tables_reports_the_join(tmp_path: Path) -> None:
    scans, visits = portal.oasis3()
    tables = [str(save(scans, tmp_path / "fs.csv")), str(save(visits, tmp_path / "clinical.csv"))]
    found = json.loads(run("check", *tables, "--within", "90d", "--json"))
    assert (found["usable"], found["visits"]) == (True, len(scans))
    join = next(finding for finding in found["findings"] if finding["code"] == "join")
    assert "within 90 days" in join["message"]


def test_check_shows_what_was_found_before_a_refusal(tmp_path: Path) -> None:
    path = save(portal.asegstats(mixed=True), tmp_path / "aseg.tsv", sep="\t")
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 2
    assert "cross-sectional" in result.output
    assert "another --cohort" in " ".join((result.output + result.stderr).split())


@pytest.mark.parametrize("name", ["ukb", "nda", "abcd", "redcap", "nacc", "ppmi", "ucsffsx", "berkeley", "synthseg"])
def test_downloads_are_usable_as_they_are(tmp_path: Path, name: str) -> None:
    path = save(getattr(portal, name)(), tmp_path / f"{name}.csv")
    assert "usable" in run("check", path)
