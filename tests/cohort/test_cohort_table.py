"""Text files of every kind become the same table; what is no table is refused by name."""

from pathlib import Path

import pytest
from simulated_tables import plain

from crow.cohort import read_cohort
from crow.cohort.findings import Findings
from crow.cohort.table import read_table
from crow.errors import CohortError

TEXT = "subject,age,sex,x\nA,60.5,M,1.5\nA,61.5,M,1.25\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_give_the_same_cells(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(TEXT.replace(",", separator))
    table = read_table(path, Findings())
    assert table.header == ["subject", "age", "sex", "x"]
    assert table.cells.to_numpy().tolist()[1] == ["A", "61.5", "M", "1.25"]
    assert table.separator == separator


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("größe,age\n1,2\n".encode(encoding))
    assert read_table(path, Findings()).header == ["größe", "age"]


def test_decimal_comma_reads_as_the_same_cohort(tmp_path: Path) -> None:
    table = plain()
    table.to_csv(tmp_path / "point.csv", index=False)
    comma = table.apply(lambda column: column.str.replace(".", ",", regex=False))
    comma.to_csv(tmp_path / "comma.csv", index=False, sep=";", encoding="utf-8-sig")
    point, other = read_cohort(tmp_path / "point.csv"), read_cohort(tmp_path / "comma.csv")
    assert other.visits.equals(point.visits)
    assert "decimal-comma" in {finding.code for finding in other.findings}


def test_lines_count_quoted_line_breaks_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"two\nlines"\n\n3,4\n')
    assert list(read_table(path, Findings()).cells.index) == [2, 5]


def test_short_rows_are_reported_and_long_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1,2\n1,2,3\n")
    findings = Findings()
    assert read_table(path, findings).cells.iloc[0].tolist() == ["1", "2", ""]
    assert findings[0].rows == (2,)
    path.write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(CohortError, match=r"line 3: 3 cells, but the header names 2"):
        read_table(path, Findings())


def test_a_repeated_header_keeps_both_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,a\n1,2,3\n")
    findings = Findings()
    assert read_table(path, findings).header == ["a", "b", "a.2"]
    assert findings[0].code == "repeated-header"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"PK\x03\x04 and so on", "zip archive"),
        (b"\x1f\x8b and so on", "[Nn]ot a gzip|compressed"),
        (b"a,b\n1,\x00\x01\x02\n", "not a text table"),
        (b"a,b\n", "no rows"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "cohort.csv"
    path.write_bytes(data)
    with pytest.raises(CohortError, match=message) as caught:
        read_cohort(path)
    assert "cohort.csv" in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="No such file"):
        read_cohort(tmp_path / "none.csv")
    with pytest.raises(CohortError, match="folder"):
        read_cohort(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a,b\n1,"x\n2,y\n3,z\n', r"line 2: a quote \(\"\) that opens a cell is not closed"),
        ('a,b\n1,x\n2,"y\n3,"z"\n4,w\n', r"line 3: a quote"),
        ('a,b,c\n1,2,3\n4,"5\n6,7,8\n9"\n', r"line 3: a quote .* runs over several lines"),
        ("a,b\n1,2\n3," + "x" * 1_000_000 + "\n", "line 3: a cell of more than 100,000 characters"),
        ("a," + "b" * 1_000_000 + "\n1,2\n", "line 1: a cell of more than 100,000 characters"),
    ],
)
def test_an_unbalanced_quote_and_a_huge_cell_are_refused_by_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(CohortError, match=message):
        read_table(path, Findings())


def test_a_quote_inside_a_cell_is_a_letter(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,5" tall\n2,"so ""called"""\n')
    assert read_table(path, Findings()).column("b").tolist() == ['5" tall', 'so "called"']
