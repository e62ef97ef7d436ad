"""`crow prepare` says what it did and where to look; what the user can mend leaves with 2."""

from pathlib import Path

import pytest
from simulated_scans import cohort
from typer.testing import CliRunner

from crow.cli.main import app, main
from crow.scans.store import ScanStore

run = CliRunner().invoke


def test_words(tmp_path: Path) -> None:
    words = ["prepare", "--cohort", str(cohort(tmp_path)), "--out", str(tmp_path / "store"), "--resolution", "8"]
    done = run(app, [*words, "--registration", "none", "--jobs", "1"])
    assert done.exit_code == 0, done.output
    assert "s per scan)." in done.output
    assert "ScanStore of 4 T1w scans" in done.output
    assert "2 subjects are too few" in done.output
    assert str(tmp_path / "store" / "qc" / "index.html") in done.output.replace("\n", "")
    assert len(ScanStore.open(tmp_path / "store").rows) == 4


def test_a_table_without_scans_leaves_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = cohort(tmp_path)
    text = table.read_text().replace("scan\n", "thickness\n")
    for k in range(4):
        text = text.replace(f"sub-{k // 2}_ses-{k % 2}_T1w.nii.gz", f"2.{k}")
    table.write_text(text)
    with pytest.raises(SystemExit) as left:
        main(["prepare", "--cohort", str(table), "--out", str(tmp_path / "store")])
    assert left.value.code == 2
    assert "no scans found" in capsys.readouterr().err.replace("\n", " ")
