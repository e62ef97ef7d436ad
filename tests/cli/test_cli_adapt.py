"""`crow adapt`, and what the other commands show of sites and scanners."""

from pathlib import Path

import pandas as pd
import pytest
from commands import refused, run

from crow.simulate import simulate_adni

QUICK = ["--set", "model.members=1", "--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a cohort in which a third of the subjects change the scanner, and a table with a new scanner."""
    folder = tmp_path_factory.mktemp("scanners")
    table = simulate_adni(24, 4, seed=1).table
    visit = table.groupby("RID").cumcount()
    changed = (table["RID"] % 3 == 0) & (visit >= 2)
    table["FLDSTRENG"] = changed.map({True: "3 Tesla MRI", False: "1.5 Tesla MRI"})
    table.loc[changed, "Hippocampus"] *= 1.1
    table.to_csv(folder / "cohort.csv", index=False)
    new = table[table["RID"] % 4 == 0].copy()
    new.loc[visit >= 1, "FLDSTRENG"] = "7 Tesla MRI"
    new.to_csv(folder / "new.csv", index=False)
    run("train", "--cohort", folder / "cohort.csv", "--out", folder / "run", *QUICK)
    return folder


def test_field_strength_of_adnimerge_is_taken_and_its_effects_are_written(folder: Path) -> None:
    checked = run("check", folder / "cohort.csv")
    assert "1 site or scanner, with random effects: FLDSTRENG" in checked
    effects = pd.read_csv(folder / "run" / "site_effects.csv")
    found = effects[effects["region"] == "Hippocampus"].set_index("level")["shift"]
    assert found["3 Tesla MRI"] - found["1.5 Tesla MRI"] == pytest.approx(650, abs=250)


def test_a_forecast_names_its_scanner_and_warns_of_a_new_one(folder: Path, tmp_path: Path) -> None:
    words = ["generate", "--run", folder / "run", "--subject", "9003", "--at", "1", "--draws", "20"]
    assert "Forecasts are for FLDSTRENG 3 Tesla MRI." in run(*words, "--out", tmp_path / "a.csv")
    new = run(*words, "--out", tmp_path / "b.csv", "--set-covariate", "FLDSTRENG=7 Tesla MRI")
    assert "Forecasts are for FLDSTRENG 7 Tesla MRI." in new
    assert "the training did not have FLDSTRENG: 7 Tesla MRI" in " ".join(new.split())
    widths = []
    for name in "ab":
        table = pd.read_csv(tmp_path / f"{name}.csv")
        widths.append(float(table["Hippocampus_sd"].iloc[0]))
    assert widths[1] > widths[0]


def test_adapt_prints_what_it_found_and_changes_nothing_else(folder: Path, tmp_path: Path) -> None:
    shown = run("adapt", "--run", folder / "run", "--cohort", folder / "new.csv", "--out", tmp_path / "run")
    assert "FLDSTRENG 7 Tesla MRI, from 6 subjects:" in shown and "Hippocampus" in shown
    effects = pd.read_csv(tmp_path / "run" / "site_effects.csv")
    assert set(effects["level"]) == {"1.5 Tesla MRI", "3 Tesla MRI", "7 Tesla MRI"}
    for name in ("config.yaml", "metrics.json", "log.csv", "mapping.yaml"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / "run" / name).read_bytes()
    for own in (folder / "run", tmp_path / "run"):
        run("score", "--run", own, "--cohort", folder / "cohort.csv", "--out", tmp_path / f"{own.parent.name}.csv",
            "--draws", "20")  # fmt: skip
    scores = [pd.read_csv(tmp_path / f"{own.name}.csv") for own in (folder, tmp_path)]
    pd.testing.assert_frame_equal(*scores)


def test_what_cannot_be_adapted_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("adapt", "--run", folder / "run", "--out", tmp_path / "run", "--cohort")
    assert "every site or scanner is one that the run knows" in refused(capsys, *words, folder / "cohort.csv")
    message = refused(capsys, "adapt", "--run", folder / "run", "--out", folder / "run", "--cohort", folder / "new.csv")
    assert "exists already" in message
    assert not (tmp_path / "run").exists()


def test_site_none_makes_it_a_covariate(folder: Path, tmp_path: Path) -> None:
    run("train", "--cohort", folder / "cohort.csv", "--out", tmp_path / "run", "--site", "none", *QUICK)
    assert not (tmp_path / "run" / "site_effects.csv").exists()
