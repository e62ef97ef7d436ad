"""Numbers with a unit or another minus sign are numbers, and a region whose cells cannot be read is reported."""

from collections.abc import Callable
from pathlib import Path

import pytest
from simulated_tables import assert_read, dated, save

from crow.cohort import Cohort, read_cohort
from crow.errors import CohortError


def read(tmp_path: Path, write: Callable[[float, int], str], **columns: object) -> tuple[Cohort, object]:
    truth = dated()
    cells = [write(value, row) for row, value in enumerate(truth["Hippocampus"])]
    table = truth.assign(Hippocampus=cells, **columns)
    return read_cohort(save(table, tmp_path / "t.csv")), truth


@pytest.mark.parametrize(
    "write",
    [
        lambda value, row: f"{value} mm3",
        lambda value, row: f"{value}mm\u00b3",
        lambda value, row: f"{value} [mm^3]".replace("^", ""),
        lambda value, row: f"{value:,.1f} mm\u00b3",
        lambda value, row: f"{value} mm3" if row % 3 else f"{value / 1000:.4f} ml",
        lambda value, row: f"{value}" if row % 3 else f"{value / 1000:.4f} cm\u00b3" if row % 2 else f"{value} mm3",
        lambda value, row: f'="{value}"',
    ],
)
def test_a_unit_in_the_cells_is_read(tmp_path: Path, write: Callable[[float, int], str]) -> None:
    cohort, truth = read(tmp_path, write)
    assert_read(cohort, truth)  # type: ignore[arg-type]
    named = any(finding.code == "units" for finding in cohort.findings)
    assert named == ("=" not in write(1.0, 0))


@pytest.mark.parametrize("minus", ["\u2212", "\u2013", "\u2011"])
def test_a_minus_sign_of_another_font_is_a_minus(tmp_path: Path, minus: str) -> None:
    truth = dated()
    truth["Hippocampus"] = (truth["Hippocampus"] - 3500).round(1)
    cells = truth["Hippocampus"].astype(str).str.replace("-", minus)
    assert_read(read_cohort(save(truth.assign(Hippocampus=cells), tmp_path / "t.csv")), truth)


def test_shares_beside_percent_are_shares(tmp_path: Path) -> None:
    truth = dated()
    truth["Hippocampus"] = (truth["Hippocampus"] / 1e4).round(4)
    cells = [f"{value * 100:.2f}%" if row % 2 else f"{value}" for row, value in enumerate(truth["Hippocampus"])]
    assert_read(read_cohort(save(truth.assign(Hippocampus=cells), tmp_path / "t.csv")), truth)


def test_labels_with_months_are_no_lengths(tmp_path: Path) -> None:
    truth = dated()
    table = truth.assign(visit=[f"{12 * (row % 3)} m" for row in range(len(truth))]).drop(columns=["date", "age"])
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert sorted(set(cohort.visits["time"].round(3))) == [0, 1, 2]


def test_a_region_whose_cells_are_no_numbers_is_reported(tmp_path: Path) -> None:
    cohort, _ = read(tmp_path, lambda value, row: f"({value})")
    finding = next(finding for finding in cohort.findings if finding.code == "region-left-out")
    assert "its cells are no numbers" in finding.message


def test_a_long_cell_in_quotes_is_refused_by_its_line(tmp_path: Path) -> None:
    lines = save(dated(), tmp_path / "t.csv").read_text().splitlines()
    lines[10] = lines[10].rsplit(",", 1)[0] + ',"' + "x" * 10**6 + '"'
    (tmp_path / "t.csv").write_text("\n".join(lines))
    for _ in range(2):
        with pytest.raises(CohortError, match="line 11: a cell of more than 100,000 characters"):
            read_cohort(tmp_path / "t.csv")


def test_one_age_with_a_digit_too_many_does_not_decide_about_the_unit(tmp_path: Path) -> None:
    table = dated().drop(columns="date")
    table.loc[4, "age"] *= 10
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.schema.age_unit == "years"
    assert {"age-range", "long-follow-up"} <= {finding.code for finding in cohort.findings}
