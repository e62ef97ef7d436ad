"""Large tables in parts: every row is in one part, with its line, and all rows of a subject are together."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crow.cohort import parts, read_cohort, stream
from crow.cohort.descriptions import without_second_header
from crow.cohort.findings import Findings
from crow.cohort.parts import in_parts
from crow.cohort.schema import Schema
from crow.cohort.table import Table, read_table
from crow.errors import CohortError
from crow.simulate import simulate_adni


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of some KiB are large."""
    monkeypatch.setattr(parts, "LARGE_BYTES", 1000)
    monkeypatch.setattr(parts, "PART_BYTES", 4000)
    monkeypatch.setattr(stream, "BLOCK", 997)
    monkeypatch.setattr(stream, "MAX_RECORD", 20_000)


def table() -> pd.DataFrame:
    """Visits of 30 subjects, in no order."""
    return simulate_adni(30, 4, seed=2).table.sample(frac=1, random_state=0)


def written(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")
    return path


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.parquet"])
def test_parts_give_the_visits_of_the_whole_table(tmp_path: Path, name: str) -> None:
    path = written(table(), tmp_path / name)
    whole = read_cohort(path)
    with in_parts(path, whole.schema, tmp_path, Findings()) as found:
        assert len(found) > 2
        cohorts = [read_cohort(part, schema=whole.schema) for part in found]
    visits = pd.concat([cohort.visits for cohort in cohorts])
    pd.testing.assert_frame_equal(visits.reset_index(drop=True), whole.visits.reset_index(drop=True))
    assert not list(tmp_path.glob(".crow-parts*"))


@pytest.mark.usefixtures("small_parts")
def test_lines_and_writings_are_those_of_the_file(tmp_path: Path) -> None:
    frame = table()
    frame["RID"] = frame["RID"].astype(str)
    frame.iloc[7, frame.columns.get_loc("RID")] = "0" + frame["RID"].iloc[7]
    frame["Hippocampus"] = frame["Hippocampus"].astype(object)
    frame.iloc[3, frame.columns.get_loc("Hippocampus")] = "unread"
    path = written(table(), tmp_path / "t.csv")
    schema = read_cohort(path).schema
    written(frame, path)
    with in_parts(path, schema, tmp_path, Findings()) as found:
        subjects = [set(part.table().column("RID").str.lstrip("0")) for part in found]
        with pytest.raises(CohortError, match=r"t\.csv, line 5, column Hippocampus: found 'unread'"):
            for part in found:
                read_cohort(part, schema=schema)
    assert sum(map(len, subjects)) == frame["RID"].str.lstrip("0").nunique() == len(set.union(*subjects))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("row", "message"), [("1,2" + ",3" * 40, "line 90: 42 cells"), ('1,"2', "line 90: a quote"),
                         ('1,"2"3', "line 90: a quote"), ('1,"2\n3",4', "line 90: a quote")]
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, row: str, message: str) -> None:
    frame = table().iloc[:88]
    path = written(frame, tmp_path / "t.csv")
    schema = read_cohort(path).schema
    with path.open("a") as file:
        file.write(row + "\n")
    with pytest.raises(CohortError, match=message), in_parts(path, schema, tmp_path, Findings()) as found:
        assert found == []
        read_cohort(path, schema=schema)


@pytest.mark.usefixtures("small_parts")
def test_windows_text_and_title_rows(tmp_path: Path) -> None:
    frame = table()
    frame["PTGENDER"] = frame["PTGENDER"].map({"Male": "männlich", "Female": "weiblich"})
    path = tmp_path / "t.csv"
    path.write_bytes(("A study\n\n" + frame.to_csv(index=False, sep=";")).encode("cp1252"))
    whole, findings = read_cohort(path), Findings()
    with in_parts(path, whole.schema, tmp_path, findings) as found:
        visits = pd.concat([read_cohort(part, schema=whole.schema).visits for part in found])
    assert {finding.code for finding in findings} == {"encoding", "title-rows"}
    assert set(visits["PTGENDER"]) == {"männlich", "weiblich"}
    np.testing.assert_array_equal(visits["Hippocampus"], whole.visits["Hippocampus"])


def test_small_tables_are_read_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(table().to_csv(index=False).encode()))
    with in_parts(path, read_cohort(path).schema, tmp_path, Findings()) as found:
        assert found == []


ROWS = [f"{k % 40:03d},{k},{60 + k / 4:.2f},{'ab'[k % 2]},é{k}" for k in range(400)]
TEXT = "\n".join(["subject,visit,age,sex,note", *ROWS, ""])
BLANKS = TEXT.replace(",", " ").replace("note", "remark")
NAMED = "\n".join(["subject,visit,age,sex,note", *(f'"{k}",{row}' for k, row in enumerate(ROWS)), ""])
IN_PARTS: dict[str, str | bytes] = {
    "invisible": TEXT.replace("sub", "\u200bsub").replace("007,", "\u200b007\u200b,").replace("a,é", "a\u2060,é"),
    "a mark": TEXT.encode("utf-8-sig"),
    "carriage returns": TEXT.replace("\n", "\r"),
    "carriage returns and quotes": TEXT.replace("\n", "\r").replace("a,é", '"a,b",é'),
    "both ends": TEXT.replace("\n", "\r\n"),
    "no end": TEXT.rstrip("\n"),
    "UTF-16": TEXT.encode("utf-16"),
    "Windows-1252": TEXT.encode("cp1252"),
    "compressed": gzip.compress(TEXT.encode()),
    "short rows": TEXT.replace("a,é1", "a").replace("b,é33\n", "b\n"),
    "long rows without text": TEXT.replace("é33\n", "é33,,\n"),
    "blank rows": TEXT.replace("é33\n", "é33\n\n,,,,\n , ,,,\n"),
    "blanks around cells": TEXT.replace("a,é33", "\xa0a ,  é33 "),
    "wide blanks": TEXT.replace("é33", "\u3000é33"),
    "titles": f"A study\n\n{TEXT}",
    "titles and units": "A study of 40 subjects\n" + TEXT.replace("note\n", "note\n,,years,,\n"),
    "a directive": "sep=;\n" + TEXT.replace(",", ";"),
    "decimal commas": TEXT.replace(",", ";").replace(".", ","),
    "blanks between cells": BLANKS,
    "tabs": TEXT.replace(",", "\t"),
    "names twice": TEXT.replace("note", "age"),
    "row names": NAMED,
    "quotes": TEXT.replace("a,é", '"a ""x"", b",é'),
    "quotes over lines": TEXT.replace("b,é", '"b\n\nc",é'),
    "inches": TEXT.replace("a,é", '5" 3,é'),
}  # fmt: skip
AS_A_WHOLE: dict[str, str | bytes] = {
    "UTF-16 without its mark": TEXT.replace("é", "e").encode("utf-16-le"),
    "quotes around rows": "\n".join(f'"{line}"' for line in TEXT.splitlines()),
    "a quote in every row": TEXT.replace("a,é", 'a,"3" é').replace("b,é", 'b,"5" é'),
    "row names that end": NAMED.replace('"333",', ""),
}
REFUSED = {
    "not text": TEXT.encode() + b"\x00",
    "an archive": b"PK\x03\x04" + TEXT.encode(),
    "half an archive": gzip.compress(TEXT.encode(), 0)[:-500],
    "half UTF-16": TEXT.encode("utf-16")[:-1],
    "a long row": TEXT + "1,2,3,4,5,6\n",
    "only blanks": "\n \n" * 2000,
}
SCHEMA = Schema(layout="plain", subject="subject", time="age", time_kind="age", regions=["age"])


def as_parts(path: Path) -> tuple[Table | None, list[tuple[str, tuple[int, ...]]]]:
    """The rows of all parts in the order of the file; None if it is read as a whole. And the findings of the file."""
    findings = Findings()
    with in_parts(path, SCHEMA, path.parent, findings) as found:
        tables = [part.table() for part in found]
    for table in tables[1:]:
        assert (table.header, table.separator, table.decimal) == (
            tables[0].header, tables[0].separator, tables[0].decimal
        )  # fmt: skip
    whole = tables[0].with_frame(pd.concat([table.cells for table in tables]).sort_index()) if tables else None
    return whole, sorted((finding.code, finding.rows) for finding in findings)


def assert_parts_are_the_whole(path: Path) -> None:
    findings = Findings()
    whole, _ = without_second_header(read_table(path, findings), findings)
    table, noticed = as_parts(path)
    assert table is not None
    pd.testing.assert_frame_equal(table.cells, whole.cells)
    assert (table.separator, table.decimal, table.mixed) == (whole.separator, whole.decimal, whole.mixed)
    assert noticed == sorted((finding.code, finding.rows) for finding in findings)


def as_file(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("kind", IN_PARTS)
def test_parts_have_the_cells_and_findings_of_the_whole(tmp_path: Path, kind: str) -> None:
    assert_parts_are_the_whole(as_file(tmp_path / "t.csv", IN_PARTS[kind]))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("kind", AS_A_WHOLE)
def test_what_parts_could_change_is_read_as_a_whole(tmp_path: Path, kind: str) -> None:
    assert as_parts(as_file(tmp_path / "t.csv", AS_A_WHOLE[kind])) == (None, [])


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_as_a_whole_has_no_parts(tmp_path: Path, kind: str) -> None:
    path = as_file(tmp_path / "t.csv", REFUSED[kind])
    with pytest.raises(CohortError) as whole:
        read_table(path, Findings())
    try:
        assert as_parts(path) == (None, [])
    except CohortError as error:
        assert str(error) == str(whole.value)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("index", ["row", "subject", None])
def test_parts_of_a_parquet_file_have_its_cells(tmp_path: Path, index: str | None) -> None:
    rows = [line.split(",") for line in ROWS]
    frame = pd.DataFrame(rows, columns=pd.Index(["subject", "visit", "age ", "sex", "age"]))
    frame["sex"] = frame["sex"].replace("a", "  a")
    frame.loc[77] = None
    frame = frame.rename_axis("row") if index == "row" else frame if index is None else frame.set_index(index)
    frame.to_parquet(tmp_path / "t.parquet")
    assert_parts_are_the_whole(tmp_path / "t.parquet")
