"""Every finding has an entry in the catalogue, one in the documentation, and a test."""

import re
import string
from pathlib import Path

import pytest

from crow.cohort.catalogue import KINDS, markdown
from crow.cohort.findings import Findings, Kind, at_lines, merged

ROOT = Path(__file__).parents[2]
TESTS = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))


def test_the_documentation_lists_every_kind() -> None:
    page = (ROOT / "docs" / "cohorts.md").read_text()
    listed = page.split("<!-- findings -->\n")[1].split("\n<!-- end of findings -->")[0]
    assert listed == markdown(), "write crow.cohort.catalogue.markdown() into docs/cohorts.md"


def test_codes_are_words_and_belong_to_one_kind() -> None:
    keys = [(kind.code, kind.severity) for kind in KINDS]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z0-9-]+", kind.code) for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.code} {kind.severity}")
def test_every_kind_is_used_by_the_reader_and_provoked_by_a_test(kind: Kind) -> None:
    assert f'"{kind.code}"' in TESTS, f"no test provokes {kind.code}"
    names = [field for _, field, _, _ in string.Formatter().parse(kind.template) if field]
    assert all(name.isidentifier() for name in names)


def test_a_finding_has_counts_rows_and_facts() -> None:
    findings = Findings()
    findings.add(Kind("x", "warning", "An example.", "found {what}."), "age", [9, 4, 4], what="a thing")
    assert str(findings[0]) == "age: 2 rows (lines 4, 9): found a thing."
    assert findings[0].rows == (4, 9)
    assert at_lines(range(2, 12)) == "10 rows (lines 2, 3, 4, 5, 6, 7, 8, 9, ...)"
    assert at_lines([1], {1: "sub-01 ses-1"}) == "1 visit (sub-01 ses-1)"


def test_findings_of_one_part_stay_as_they_are_and_those_of_several_are_one() -> None:
    kind = Kind("x", "warning", "An example.", "found {what}.")
    tree, first, second = Findings(), Findings(), Findings()
    tree.places = {1: "sub-01 ses-1", 2: "sub-02 ses-1"}
    tree.add(kind, "age", [1], what="a thing")
    tree.add(kind, "age", [2], what="another")
    assert merged([tree]) == merged([tree, first]) == list(tree)
    first.add(kind, "age", [4], what="a thing")
    second.add(kind, "age", [9], what="a thing")
    assert [str(finding) for finding in merged([first, second])] == ["age: 2 rows (lines 4, 9): found a thing."]
