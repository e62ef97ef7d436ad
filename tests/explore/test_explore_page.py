"""The page in a real browser: sliders, courses, keyboard, hostile names, narrow windows, and the saved file."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import Seen, opened, wait_for
from commands import done
from served_page import EVIL_REGION, EVIL_SUBJECT, Served

FAN_A, FAN_B = "#fan .median-a", "#fan .median-b"


@contextmanager
def page_of(
    place: str | Path, width: int = 1300, dark: bool = False, refused: int = 0
) -> Iterator[tuple[Any, Seen]]:
    """The page with its first forecast; in the end no request or dialog was beyond it, and as many were refused."""
    with opened(place, width, 1000, dark) as (page, seen):
        page.wait_for_selector(FAN_A)
        yield page, seen
        assert (seen.requests, seen.dialogs) == ([], [])
        assert [text for text in seen.errors if "400 (Bad Request)" not in text] == []
        assert len(seen.errors) == refused


def shape(page: Any, what: str = FAN_A) -> str:
    return str(page.get_attribute(what, "d"))


def slide(page: Any, what: str, value: float) -> None:
    """Move a slider as a hand does."""
    script = "([what, value]) => { const s = document.querySelector(what); s.value = value; "
    page.evaluate(script + "s.dispatchEvent(new Event('input', { bubbles: true })); }", [what, str(value)])


def test_sliders_move_the_fan_and_two_courses_are_compared(served: Served) -> None:
    with page_of(served.url) as (page, _):
        before = shape(page)
        page.click("#course-b")
        page.wait_for_selector(FAN_B)
        assert shape(page, FAN_B) == shape(page)
        page.click('[aria-label="Set CDRSB"]')
        page.wait_for_selector(".step")
        slide(page, ".step input.value", 12)
        paths = "['a', 'b'].map((k) => document.querySelector(`#fan .median-${k}`).getAttribute('d'))"
        wait_for(page, f"new Set({paths}).size > 1")
        text = page.inner_text("#difference")
        assert "90 %" in text and "at 5 years" in text and not text.startswith("B − A  0,")
        slide(page, ".step input.from", 4)
        wait_for(page, "document.querySelector('#words').textContent.includes('CDRSB 12 at 4 years')")
        assert "--set-covariate CDRSB=12@4" in page.inner_text("#commands")
        page.click("#drop-b")
        page.wait_for_selector(FAN_B, state="detached")
        wait_for(page, f"document.querySelector('{FAN_A}').getAttribute('d') === {before!r}")
        slide(page, "#horizon", 2)
        wait_for(page, "document.querySelector('#at-text').textContent.startsWith('2 years')")


def test_the_same_question_has_the_same_fan(served: Served) -> None:
    with page_of(served.url) as (page, _):
        page.click('[aria-label="Set CDRSB"]')
        page.wait_for_selector(".step")
        fans = set()
        for value in (3, 9, 3, 9, 3):
            slide(page, ".step input.value", value)
            wait_for(page, f"document.querySelector('#words').textContent.includes('CDRSB {value}.')")
            fans.add(shape(page))
        assert len(fans) == 2


def test_a_combination_that_no_subject_had_is_red(served: Served) -> None:
    with page_of(served.url) as (page, _):
        page.click('[aria-label="Set CDRSB"]')
        page.wait_for_selector(".step")
        page.fill(".step input[type=number]", "60")
        page.wait_for_selector(".alike.none")
        assert page.inner_text(".alike.none").startswith("No subject of 30")
        assert "not effects of an intervention" in page.inner_text("#words")


def test_values_are_in_the_unit_of_their_size(served: Served) -> None:
    """Thousands of mm³ are cm³, a difference has a unit of its own, and digits are those of the interval."""
    script = """() => {
        const band = [6800, 6850, 6950, 7123, 7200, 7350, 7400], lower = [-520, -490, -400, -312, -220, -110, -92];
        const thin = [2.1, 2.2, 2.2, 2.3, 2.4, 2.4, 2.5];
        const view = {
            start: { regions: [{ name: 'H', unit: 'mm³' }, { name: 'T', unit: 'mm' }], scales: Crow.view.start.scales },
            shown: { observed: { values: { H: [7000, null], T: [2.5] } } }, at: 0,
            answer: { times: [3], courses: [{ bands: { H: [band], T: [thin] } }], difference: { H: [lower] } },
        };
        const tip = Crow.tooltip(view, 'H');
        view.answer.difference = null;
        return [tip, Crow.tooltip(view, 'H'), Crow.tooltip(view, 'T'), Crow.percent(-0.0004), Crow.percent(2.9)];
    }"""
    with page_of(served.url) as (page, _):
        assert page.evaluate(script) == [
            "H: B − A −310 mm³, 90 % −520 to −90, at 3 years", "H: 7.12 cm³ (90 % 6.80 to 7.40), at 3 years",
            "T: 2.30 mm (90 % 2.10 to 2.50), at 3 years", "0.0 %", "+2.9 %",
        ]  # fmt: skip


def test_keyboard_alone(served: Served) -> None:
    with page_of(served.url) as (page, _):
        page.focus("#subject")
        page.keyboard.type("S0")
        page.wait_for_selector("#subjects li[role=option]")
        first = page.input_value("#subject")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        chosen = "'Subject ' + document.querySelector('#subject').value"
        wait_for(page, f"document.querySelector('#words').textContent.includes({chosen})")
        assert page.input_value("#subject") != first
        page.focus("#at")
        page.keyboard.press("Home")
        wait_for(page, "document.querySelector('#at-text').textContent.startsWith('0.5 years')")
        page.focus("#multiples button")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        assert page.input_value("#region") == "lh_entorhinal"
        page.focus("#tab-known")
        page.keyboard.press("ArrowRight")
        assert page.is_visible("#new")
        unnamed = "[...document.querySelectorAll('input, select, button')].filter((one) => !one.labels?.length && "
        unnamed += "!one.getAttribute('aria-label') && !one.textContent.trim() && one.offsetParent).length"
        assert page.evaluate(unnamed) == 0


def test_a_new_subject(served: Served) -> None:
    with page_of(served.url, refused=1) as (page, _):
        page.click("#tab-new")
        page.click("#new button[type=submit]")
        page.wait_for_selector("#new .trouble")
        assert "age" in page.inner_text("#new .trouble")
        page.fill("#new input[name=age]", "72")
        page.fill("#new .visit details input >> nth=0", "1.3")
        page.click("text=Another visit")
        page.fill("#new .visit >> nth=1 >> details input >> nth=0", "1.35")
        page.click("#new button[type=submit]")
        wait_for(page, "document.querySelector('#words').textContent.includes('A new subject, 2 visits')")
        with page.expect_download() as saving:
            page.click("#save-table")
        assert Path(saving.value.path()).read_text(encoding="utf-8").count("\n") == 3


def test_hostile_names_are_text(served: Served) -> None:
    with page_of(served.url) as (page, seen):
        page.fill("#subject", "onerror")
        page.wait_for_selector("#subjects li[role=option]")
        page.keyboard.press("Enter")
        page.select_option("#region", EVIL_REGION)
        wait_for(page, f"document.querySelector('#words').textContent.includes({EVIL_SUBJECT!r})")
        assert page.locator("body img, #fan script, #multiples script").count() == 0
        with page.expect_download() as saving:
            page.click("#save-svg")
        assert EVIL_REGION in "".join(ET.parse(saving.value.path()).getroot().itertext())
        assert seen.dialogs == []


def test_pictures_and_numbers_are_saved(served: Served) -> None:
    with page_of(served.url) as (page, _):
        page.click("#course-b")
        page.wait_for_selector(FAN_B)
        starts = {"#save-png": b"\x89PNG", "#save-svg": b"<svg", "#save-csv": b"subject,course,region"}
        for button, start in starts.items():
            with page.expect_download() as saving:
                page.click(button)
            content = Path(saving.value.path()).read_bytes()
            assert content.startswith(start) and len(content) > 2000
        assert b"B - A" in content


@pytest.mark.parametrize(("width", "dark"), [(400, False), (400, True), (800, False), (1300, True)])
def test_it_fits_the_window(served: Served, width: int, dark: bool) -> None:
    with page_of(served.url, width, dark) as (page, _):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(ground.split("(")[1].split(",")[0]) < 100) == dark


def test_a_saved_page_opens_without_a_server(folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "page.html"
    run = ["explore", "--run", folder / "run", "--cohort", folder / "cohort.csv", "--draws", "40"]
    done([*run, "--subject", EVIL_SUBJECT, "--export", saved, "--what-if", "CDRSB=9@2", "--what-if", "DX=MCI"])
    with page_of(saved) as (page, _):
        assert page.locator("#saved-a option").all_inner_texts() == ["as it is", "CDRSB 9 at 2 years", "DX MCI"]
        page.select_option("#saved-b", "2")
        wait_for(page, "document.querySelector('#difference') !== null")
        assert "at 5 years" in page.inner_text("#difference")
        page.select_option("#saved-b", "")
        page.wait_for_selector(FAN_B, state="detached")
        slide(page, "#at", 1)
        assert page.inner_text("#at-text").startswith("1 year")
        assert not page.is_visible("#horizon") and not page.is_visible("#tab-new")


def test_a_server_that_has_ended_is_named(folder: Path, served: Served) -> None:
    with opened(served.url) as (page, _):
        page.wait_for_selector(FAN_A)
        page.context.set_offline(True)
        page.context.unroute_all()
        page.context.route("**/forecast", lambda route: route.abort())
        slide(page, "#horizon", 3)
        page.wait_for_selector("#trouble:not([hidden])")
        assert "Start crow explore again" in page.inner_text("#trouble")
