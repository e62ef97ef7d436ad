"""`crow fill`: a table whose missing regions are drawn given what was measured."""

from pathlib import Path

import pandas as pd
import pytest

from crow.cli.main import main

REGIONS = ["Ventricles", "Hippocampus", "WholeBrain", "Entorhinal", "Fusiform", "MidTemp"]


@pytest.fixture(scope="module")
def gaps(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort with the hippocampus missing at every fifth visit and all regions at one."""
    table = pd.read_csv(trained / "cohort.csv")
    table.loc[table.index % 5 == 2, "Hippocampus"] = None
    table.loc[7, REGIONS] = None
    path = tmp_path_factory.mktemp("gaps") / "gaps.csv"
    table.to_csv(path, index=False)
    return path


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["fill", *words])
    return int(left.value.code or 0)


def test_fill_writes_the_table_and_intervals(
    trained: Path, gaps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "filled.csv"
    assert run("--run", str(trained / "run"), "--cohort", str(gaps), "--out", str(out), "--draws", "50") == 0
    given, filled = pd.read_csv(gaps), pd.read_csv(out)
    intervals = pd.read_csv(tmp_path / "filled_intervals.csv")
    missing = given[REGIONS].isna()
    assert len(intervals) == missing.to_numpy().sum()
    assert f"{len(intervals)} missing values" in capsys.readouterr().out
    assert len(filled) == len(given) and filled[REGIONS].notna().all(axis=None)
    both = given.merge(filled, on=["RID", "VISCODE"], suffixes=("", "_filled"))
    for region in REGIONS:
        known = both[region].notna()
        assert both[f"{region}_filled"][known].to_numpy() == pytest.approx(both[region][known].to_numpy())
    assert (intervals["q05"] < intervals["median"]).all() and (intervals["median"] < intervals["q95"]).all()
    assert run("--run", str(trained / "run"), "--cohort", str(gaps), "--out", str(out)) == 2


def test_fill_writes_tables_for_multiple_imputation(trained: Path, gaps: Path, tmp_path: Path) -> None:
    out = tmp_path / "tables"
    words = ("--run", str(trained / "run"), "--cohort", str(gaps), "--out", str(out), "--draws", "50")
    assert run(*words, "--tables", "3") == 0
    tables = [pd.read_csv(path) for path in sorted(out.glob("*.csv"))]
    assert len(tables) == 3 and all(table[REGIONS].notna().all(axis=None) for table in tables)
    assert not tables[0]["Hippocampus"].equals(tables[1]["Hippocampus"])
    assert run(*words, "--tables", "51", "--overwrite") == 2
    assert run(*words[:4], "--out", str(tmp_path / "one.csv"), "--tables", "3") == 2
