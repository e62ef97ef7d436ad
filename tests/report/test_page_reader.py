"""What helps a reader of a page: meanings of terms, dark mode, references with DOIs, and files for a paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browser import opened

from crow.report import references
from crow.report.blocks import Block, Code, Details, Note, References, Section, Table, paragraph
from crow.report.glossary import MEANINGS, Glossary
from crow.report.page import render
from crow.report.references import CROW, MIXED, OF_ARCHITECTURE, Reference, as_latex, as_markdown, bibtex

ALL = [one for one in vars(references).values() if isinstance(one, Reference)] + list(OF_ARCHITECTURE.values())
PROSE = ["A flow (after Hwang et al. 2019) with 20 % of the R&D_subjects and a mixed model (Laird and Ware 1982)."]


def written(folder: Path, *blocks: Block) -> Path:
    path = folder / "page.html"
    path.write_text(render("A page", "of blocks", [Section("one", "One", blocks)], "the end"), encoding="utf-8")
    return path


def test_a_term_is_explained_once_in_a_section_and_names_stay_text(tmp_path: Path) -> None:
    table = Table("CRPS by <b>region</b>", ("model", "CRPS", "NLL"), (("crow", 0.1, 2.0),))
    page = written(tmp_path, paragraph("The CRPS of an ensemble member."), table, Note("Cohen's d & <i>d</i>."))
    with opened(page) as (shown, seen):
        terms = shown.eval_on_selector_all("button.term", "all => all.map(one => one.innerText)")
        assert terms == ["CRPS", "ensemble member", "NLL", "Cohen's d"]
        meaning = shown.query_selector("#term-crps")
        assert not meaning.is_visible()
        shown.get_by_role("button", name="CRPS").focus()
        shown.keyboard.press("Enter")
        assert meaning.is_visible() and MEANINGS["CRPS"] in meaning.inner_text()
        shown.keyboard.press("Escape")
        assert not meaning.is_visible()
        assert not shown.query_selector("main b, main i") and "<b>region</b>" in shown.inner_text("caption")
    assert (seen.requests, seen.errors) == ([], [])


@pytest.mark.parametrize(
    ("text", "terms"),
    [("the nats and a nation", ["nat"]), ("pit of a mixed model", ["linear mixed model"]), ("PIT", ["PIT"])],
)
def test_terms_are_whole_words_and_abbreviations_are_capitals(text: str, terms: list[str]) -> None:
    glossary = Glossary()
    glossary.mark(text)
    assert list(glossary.used) == terms


def test_meanings_are_those_of_the_documentation() -> None:
    rows = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    documented = dict(row.strip("| ").split(" | ", 1) for row in rows if row.startswith("| "))
    assert {term: documented.get(term) for term in MEANINGS} == MEANINGS


def luminance(shown: Any, element: str, name: str) -> float:
    text = shown.evaluate(f"getComputedStyle(document.querySelector('{element}')).{name}")
    red, green, blue = (int(number) / 255 for number in re.findall(r"\d+", text)[:3])
    return 0.21 * red + 0.72 * green + 0.07 * blue


@pytest.mark.parametrize("dark", [False, True])
def test_text_contrasts_with_the_ground_in_light_and_dark_mode_and_on_paper(tmp_path: Path, dark: bool) -> None:
    with opened(written(tmp_path, paragraph("Text."), Code("code")), dark=dark) as (shown, _):
        ground, ink = luminance(shown, "body", "backgroundColor"), luminance(shown, "main p", "color")
        assert ink - ground > 0.7 if dark else ground - ink > 0.7
        shown.emulate_media(media="print")
        assert luminance(shown, "body", "backgroundColor") == pytest.approx(1.0), "paper is white"


def test_references_link_to_their_dois_and_files_for_a_paper_can_be_saved(tmp_path: Path) -> None:
    files = (Details("BibTeX", (Code(bibtex([CROW, MIXED]), "references.bib"),)),)
    with opened(written(tmp_path, References((CROW, MIXED)), *files)) as (shown, seen):
        links = shown.eval_on_selector_all(".items a", "all => all.map(one => one.href)")
        assert links == [CROW.url, MIXED.url]
        shown.get_by_text("BibTeX").click()
        with shown.expect_download() as saved:
            shown.get_by_text("Save as references.bib").click()
        assert saved.value.suggested_filename == "references.bib"
        assert Path(saved.value.path()).read_text(encoding="utf-8") == bibtex([CROW, MIXED])
    assert seen.errors == []


def test_every_reference_has_a_key_and_a_doi_if_one_was_found() -> None:
    known = {one.key: one for one in ALL}
    assert len({one.text for one in known.values()}) == len(known) == len(set(ALL))
    for one in known.values():
        assert re.fullmatch(r"10\.\d{4,5}/\S+|", one.doi) and one.bibtex.count("{") == one.bibtex.count("}")
        assert ("doi" in one.bibtex) == bool(one.doi) == bool(one.url)
    assert [one.key for one in known.values() if not one.doi] == ["nguyen2019infocnf"]
    assert MIXED.text == "Laird NM, Ware JH. Random-effects models for longitudinal data. Biometrics 38, 1982."


def test_methods_cite_by_key_and_escape_what_latex_would_read() -> None:
    assert "(after @hwang2019crow)" in as_markdown(PROSE, [CROW, MIXED])
    latex = as_latex(PROSE, [CROW, MIXED])
    assert r"20 \% of the R\&D\_subjects" in latex and r"(\citealp{laird1982random})" in latex
