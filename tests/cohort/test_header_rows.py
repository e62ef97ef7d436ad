"""Tables with lines above the header, units below it, or no name above the row numbers, as programs export them."""

from pathlib import Path

import pandas as pd
import pytest
from simulated_tables import assert_read, dated

from crow.cohort import Cohort, read_cohort
from crow.errors import CohortError


def lines(separator: str = ",", decimal: str = ".") -> list[str]:
    return dated().to_csv(index=False, sep=separator, decimal=decimal).splitlines()


def read(path: Path, rows: list[str]) -> Cohort:
    path.write_text("\n".join(rows))
    return read_cohort(path)


def codes(cohort: Cohort) -> set[str]:
    return {finding.code for finding in cohort.findings}


@pytest.mark.parametrize(
    "above",
    [["My study, export of 2024,,,,"], ["My study"], ["My study", ""], ["# exported", "# by a program"],
     [",,Demographics,,Volumes,"], ["Title", ",,Demographics,,Volumes,"]],
)  # fmt: skip
def test_lines_above_the_header_are_skipped(tmp_path: Path, above: list[str]) -> None:
    cohort = read(tmp_path / "t.csv", [*above, *lines()])
    assert_read(cohort, dated())
    finding = next(finding for finding in cohort.findings if finding.code == "title-rows")
    assert finding.rows == tuple(range(1, len(above) + 1))


def test_findings_below_such_lines_name_the_lines_of_the_file(tmp_path: Path) -> None:
    rows = lines()
    rows[5] = rows[5].rsplit(",", 2)[0] + ",oops,1"
    with pytest.raises(CohortError, match="line 8, column Hippocampus: found 'oops'"):
        read(tmp_path / "t.csv", ["My study", "", *rows])


def test_the_separator_of_excel_is_no_header(tmp_path: Path) -> None:
    assert_read(read(tmp_path / "t.csv", ["sep=;", *lines(";", ",")]), dated())


@pytest.mark.parametrize("units", [",yyyy-mm-dd,years,F/M,mm3,mm3", ",,[years],,[mm\u00b3],[mm\u00b3]"])
def test_units_below_the_header_are_skipped(tmp_path: Path, units: str) -> None:
    rows = lines()
    cohort = read(tmp_path / "t.csv", [rows[0], units, *rows[1:]])
    assert_read(cohort, dated())
    assert "second-header" in codes(cohort)


@pytest.mark.parametrize("separator", [",", " "])
def test_the_names_of_rows_that_r_writes_are_no_column_too_many(tmp_path: Path, separator: str) -> None:
    header, *rows = lines(separator)
    quoted = [f'"{number}"{separator}{row}' for number, row in enumerate(rows, 1)]
    cohort = read(tmp_path / "t.txt", [header, *quoted])
    assert_read(cohort, dated())
    assert cohort.regions == ["Hippocampus", "Ventricles"]


def test_quotes_around_whole_rows_are_removed(tmp_path: Path) -> None:
    assert_read(read(tmp_path / "t.csv", [f'"{line}"' for line in lines()]), dated())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_utf_16_with_and_without_its_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes("\n".join(lines("\t")).encode(encoding))
    assert_read(read_cohort(tmp_path / "t.csv"), dated())


def test_a_subject_in_the_first_of_its_rows_only(tmp_path: Path) -> None:
    truth = dated()
    table = truth.assign(subject=truth["subject"].mask(truth["subject"].duplicated(), ""))
    table.to_csv(tmp_path / "t.csv", index=False)
    cohort = read_cohort(tmp_path / "t.csv")
    assert_read(cohort, truth)
    assert "filled-down" in codes(cohort)


def test_the_largest_sheet_is_read_and_a_title_skipped(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        pd.DataFrame({"variable": ["age"], "meaning": ["years"]}).to_excel(book, index=False, sheet_name="Codebook")
        dated().to_excel(book, index=False, sheet_name="Data", startrow=2)
        book.sheets["Data"]["A1"] = "My study"
    cohort = read_cohort(tmp_path / "t.xlsx")
    assert_read(cohort, dated())
    assert {"sheets", "title-rows"} <= codes(cohort)


@pytest.mark.parametrize(
    ("start", "remedy"),
    [
        (b"$FL3@(#) IBM SPSS", "SPSS file: export it as CSV"), (b"<stata_dta><header>", "export delimited"),
        (b"HEADER RECORD*******LIBRARY", "SAS transport"), (b"RDX3\nX\n", "write.csv"), (b"ARROW1\0\0", "Feather"),
        (b'[{"subject":"S01"}]', "convert it to CSV"), (b"<html><table>", "spreadsheet"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    ],
)  # fmt: skip
def test_files_of_other_programs_are_refused_with_the_remedy(tmp_path: Path, start: bytes, remedy: str) -> None:
    (tmp_path / "t.csv").write_bytes(start + b"\n" * 100)
    with pytest.raises(CohortError, match=remedy):
        read_cohort(tmp_path / "t.csv")


def test_a_table_without_a_header_and_one_with_another_separator_there(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="The first row holds values: write a header"):
        read(tmp_path / "t.csv", lines()[1:])
