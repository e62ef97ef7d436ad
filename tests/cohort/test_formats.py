"""Compressed tables, workbooks, Parquet files, and tables separated in any way."""

import gzip
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_tables import plain, save

from crow.cohort import read_cohort
from crow.cohort.findings import Findings
from crow.cohort.table import read_table
from crow.cohort.wide import find_waves
from crow.errors import CohortError, MissingExtra


def test_gzip(tmp_path: Path) -> None:
    whole = read_cohort(save(plain(), tmp_path / "t.csv"))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    packed = read_cohort(tmp_path / "t.csv.gz")
    pd.testing.assert_frame_equal(packed.visits, whole.visits)


@pytest.mark.parametrize("name", ["t.xlsx", "t.parquet"])
def test_workbooks_and_parquet(tmp_path: Path, name: str) -> None:
    whole = read_cohort(save(plain(), tmp_path / "t.csv"))
    table = (
        plain()
        .assign(scan_date=pd.Timestamp(2011, 3, 5))
        .astype({"age": float, "Hippocampus": float, "education": int})
    )
    table["scan_date"] += pd.to_timedelta(
        (table["age"] - table.groupby("subject")["age"].transform("min")) * 365.25, unit="D"
    )
    (table.to_excel if name.endswith("xlsx") else table.to_parquet)(tmp_path / name, index=False)
    cohort = read_cohort(tmp_path / name)
    assert cohort.schema.time == "scan_date"
    assert cohort.visits["Hippocampus"].tolist() == whole.visits["Hippocampus"].tolist()
    assert cohort.visits["time"].tolist() == pytest.approx(whole.visits["time"].tolist(), abs=1e-3)


def test_the_first_sheet_with_a_table_is_read(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        pd.DataFrame().to_excel(book, sheet_name="empty")
        plain().to_excel(book, sheet_name="visits", index=False)
        plain(3).to_excel(book, sheet_name="notes", index=False)
    cohort = read_cohort(tmp_path / "t.xlsx")
    assert len(cohort) == 36
    assert next(f for f in cohort.findings if f.code == "sheets").message.startswith(
        "the sheet visits was read, not notes"
    )


@pytest.mark.parametrize("rows", [12, 10_000, 20_001])
@pytest.mark.parametrize("index", [None, "row", "visit", ["site", "visit"]])
def test_the_index_of_a_parquet_file(tmp_path: Path, rows: int, index: str | list[str] | None) -> None:
    frame = pd.DataFrame({"subject": [f"s{k // 3}" for k in range(rows)], "ROI_1": [k + 0.5 for k in range(rows)]})
    frame.index = pd.RangeIndex(7, 7 + 2 * rows, 2)
    if index == "row":
        frame = frame.rename_axis("row")
    elif index is not None:
        frame = frame.assign(visit=[f"v{k % 3}" for k in range(rows)], site="A").set_index(index)
    frame.to_parquet(tmp_path / "t.parquet")
    expected = pd.read_parquet(tmp_path / "t.parquet").reset_index(drop=index is None)
    cells = read_table(tmp_path / "t.parquet", Findings()).cells
    assert list(cells) == list(expected)
    assert cells.to_numpy().tolist() == expected.astype(str).to_numpy().tolist()


@pytest.mark.parametrize(("name", "module"), [("t.xlsx", "openpyxl"), ("t.parquet", "pyarrow.parquet")])
def test_a_library_that_is_not_installed_is_one_sentence(
    tmp_path: Path, name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plain().to_excel if name.endswith("xlsx") else plain().to_parquet)(tmp_path / name, index=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'crow-longitudinal\["):
        read_cohort(tmp_path / name)


@pytest.mark.parametrize("data", [b"PK\x03\x04xl/workbook", b"PAR1 and so on", b"\x1f\x8b\x08 and so on"])
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.bin").write_bytes(data)
    with pytest.raises(CohortError):
        read_cohort(tmp_path / "t.bin")


CELLS = st.text(st.characters(whitelist_categories=("L", "N"), max_codepoint=0x2FF), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(1, 6), st.sampled_from(",;\t| "), st.data())
def test_any_separator_is_found(
    tmp_path_factory: pytest.TempPathFactory, width: int, rows: int, mark: str, data: st.DataObject
) -> None:
    header = [f"name{k}" for k in range(width)]
    body = [[data.draw(CELLS) for _ in header] for _ in range(rows)]
    path = tmp_path_factory.mktemp("separators") / "t.txt"
    path.write_text("\n".join(mark.join(row) for row in [header, *body]) + "\n", encoding="utf-8")
    table = read_table(path, Findings())
    assert (table.header, table.cells.to_numpy().tolist()) == (header, body)


@given(
    st.sets(st.from_regex(r"[A-Z][a-z]{3,6}", fullmatch=True), min_size=1, max_size=4),
    st.integers(2, 4),
    st.sampled_from(["_W", "_wave", "_tp", ".V"]),
)
def test_measures_by_wave_are_found(measures: set[str], waves: int, link: str) -> None:
    names = [f"{measure}{link}{wave}" for measure in measures for wave in range(1, waves + 1)]
    found = find_waves(["id", "sex", *names])
    assert found is not None
    assert set(found.columns) == measures
    assert found.used == set(names)
