"""`crow extract` writes a table that `crow check` can read."""

from pathlib import Path

import pytest
from simulated_scans import cohort
from typer.testing import CliRunner

from crow.cli.main import app, main
from crow.pipelines.prepare import prepare

run = CliRunner().invoke


def test_words(tmp_path: Path) -> None:
    table = cohort(tmp_path, suffix="CBF")
    prepare(table, tmp_path / "store", resolution=8.0, registration="none", modality="CBF", jobs=1)
    words = ["extract", "--scans", str(tmp_path / "store"), "--out", str(tmp_path / "regions.csv"), "--parcels", "3"]
    done = run(app, words)
    assert done.exit_code == 0, done.output
    assert "4 visits, 3 regions (mean values)." in done.output
    assert "note: the regions were learned from all 2 subjects" in done.output
    assert (tmp_path / "regions_atlas.nii.gz").is_file()
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2


def test_no_store_leaves_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["extract", "--scans", str(tmp_path)])
    assert left.value.code == 2
    assert "not a scan store" in capsys.readouterr().err
