"""`crow report`: the page in a real browser, the source of its numbers, and refusals."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import opened, wait_for
from commands import done, refused
from finished_evaluation import make_evaluation

from crow.cohort import read_cohort
from crow.simulate import simulate_wide

QUICK = ["--set", "model.members=1", "--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2"]
EVIL = ["<img src=x onerror=alert(1)>", '<b>x</b>&"$y$', "</script><script>alert(2)</script>"]
SECTIONS = [
    "summary", "cohort", "trained", "training", "forecasts", "what-if", "calibration", "skill", "regions", "groups",
    "synthetic", "likelihoods", "privacy", "methods", "notes",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cohort.csv, in which some subjects have odd names, a run, and an evaluation of six subjects."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("r&<i>d")
    table = simulate_wide(16, 4, 3, 0).table
    names = dict(zip(table["subject"].unique(), EVIL, strict=False))
    table["subject"] = table["subject"].replace(names)
    table.to_csv(folder / "cohort.csv", index=False)
    done(["train", "--cohort", folder / "cohort.csv", "--out", folder / "run", *QUICK])
    cohort = read_cohort(folder / "cohort.csv")
    make_evaluation(folder / "run_evaluation", cohort, [*EVIL, *cohort.subjects[5:8]])
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    words = [word for name in EVIL[:2] for word in ("--subject", name)]
    done(["report", "--run", folder / "run", *words, "--draws", "20"])
    return folder / "run_report.html"


def test_the_page_loads_nothing_and_shows_names_as_text(page: Path) -> None:
    with opened(page) as (shown, seen):
        wait_for(shown, "document.querySelector('nav a[aria-current]') !== null")
        assert [s.get_attribute("id") for s in shown.query_selector_all("main > section")] == SECTIONS
        links = shown.eval_on_selector_all("nav a", "links => links.map(link => link.hash.slice(1))")
        assert links == SECTIONS
        pictures = shown.eval_on_selector_all("img", "all => all.map(one => [one.naturalWidth, one.alt])")
        assert len(pictures) > 8 and all(width > 0 and alt for width, alt in pictures)
        for name in EVIL[:2]:
            assert name in shown.inner_text("#forecasts")
        assert not shown.query_selector("main b") and not shown.query_selector("img[src=x]")
        assert "Only 24 test subjects: intervals are <wide> & rough." in shown.inner_text("#notes")
        assert "no ADAS13 <and no> Ventricles" in shown.inner_text("#notes")
        tables = shown.eval_on_selector_all("table", "ts => ts.map(t => [t.caption.textContent, t.tHead.rows.length])")
        assert tables and all(caption.strip() and rows == 1 for caption, rows in tables)
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.className") == "skip"
        shown.keyboard.press("Enter")
        assert shown.evaluate("document.activeElement.id") == "main"
    assert (seen.requests, seen.errors, seen.dialogs) == ([], [], [])


def test_on_a_phone_nothing_is_wider_than_the_page_and_printing_unfolds_details(page: Path, tmp_path: Path) -> None:
    with opened(page, width=390, height=800) as (shown, seen):
        assert shown.evaluate("document.documentElement.scrollWidth") == 390
        assert not shown.evaluate("document.querySelector('nav details').open")
        wide = shown.eval_on_selector_all(
            ".scroll", "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.tabIndex)"
        )
        assert wide and set(wide) == {0}
        shown.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert shown.evaluate("document.querySelectorAll('details:not([open])').length") == 0
        assert shown.pdf()[:5] == b"%PDF-"
    assert seen.errors == []


class Numbers(HTMLParser):
    """The numbers of a page that name their source: (file, path, value, text)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str, str]] = []
        self._open: dict[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "data":
            self._open = {name: value or "" for name, value in attrs}

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.found.append((self._open["data-file"], self._open["data-metric"], self._open["value"], data))
            self._open = None


def at(metrics: Any, place: str) -> Any:
    """The value at a path, whose names may contain dots."""
    if not place:
        return metrics
    if isinstance(metrics, list):
        head, _, rest = place.partition(".")
        return at(metrics[int(head)], rest)
    name = next(name for name in sorted(metrics, key=len, reverse=True) if f"{place}.".startswith(f"{name}."))
    return at(metrics[name], place[len(name) + 1 :])


def shows(text: str, expected: float) -> bool:
    """Whether a text is the number, or its percentage, rounded to the digits of the text."""
    digits = text.removesuffix(" %").replace(",", "").replace("\u2212", "-")
    if digits in ("–", "∞"):
        return True
    value = 100 * expected if text.endswith("%") else expected
    if "e" in digits:
        return bool(abs(float(digits) - value) <= 0.06 * abs(value))
    decimals = len(digits.partition(".")[2])
    return bool(abs(float(digits) - value) <= 0.5001 * 10.0**-decimals)


def test_every_number_of_the_page_equals_its_source_in_metrics_json(page: Path) -> None:
    numbers = Numbers()
    numbers.feed(page.read_text(encoding="utf-8"))
    places = {"metrics.json": "run/metrics.json", "run_evaluation/metrics.json": "run_evaluation/metrics.json"}
    files = {name: json.loads((page.parent / place).read_text()) for name, place in places.items()}
    for file, place, value, text in numbers.found:
        expected = at(files[file], place)
        assert float(value) == expected, place
        assert shows(text, expected), (place, text, expected)
    regions = files["run_evaluation/metrics.json"]["own_units"]["region"]
    shown = {place: text for file, place, _, text in numbers.found if file == "run_evaluation/metrics.json"}
    assert shown["forecast.crow.CRPS"] == "0.221"
    assert shown["skill.CRPS.value"] == "8 %"  # 2 to 14 %
    assert shown["by_horizon.mixed model.2-4 y.MAE"] == "0.552"
    assert shown["by_horizon.mixed model.2-4 y.forecast NLL"] == "30.55"
    assert shown["by.sex.M.crow.forecast NLL"] == "29.31"
    assert shown["group_effects.DX CN against Dementia.concordance"] == "0.93"  # 0.87 to 0.96
    assert (shown["by.sex.M.crow.CRPS"], shown["by.sex.M.crow.subjects"]) == ("0.310", "2")
    assert shown["calibration.coverage_low.90 %"] == "85 %"
    assert sum(place.startswith("own_units.region.") for place in shown) == 6 * len(regions)
    assert any(place == "validation_nll_per_visit" for file, place, *_ in numbers.found if file == "metrics.json")


def test_the_first_lines_answer_what_a_reader_asks(page: Path) -> None:
    with opened(page) as (shown, _):
        texts = "all => all.map(one => [...one.children].map(part => part.innerText))"
        rows = shown.eval_on_selector_all("#summary dl div", texts)
    answers = dict(rows)
    good = answers["Is it good for forecasting?"]
    assert good.startswith("Yes.") and "“mixed model” by 8 % (95 % interval 2 % to 14 %)" in good
    assert "Not even" not in answers["How far ahead?"] and "longest follow-up" in answers["How far ahead?"]
    assert "sex F (4 subjects), sex M (2 subjects)" in answers["For which subjects not?"]
    assert answers["Is it better than a mixed model?"].startswith("Crow improves")


def test_without_an_evaluation_and_with_hidden_subjects(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "run"
    shutil.copytree(folder / "run", bare)
    done(["report", "--run", bare, "--draws", "20", "--hide-subjects", "--out", tmp_path / "shared.html"])
    text = (tmp_path / "shared.html").read_text(encoding="utf-8")
    assert f"crow evaluate --run {bare} --folds 5" in text  # there are no test subjects
    absent = {*SECTIONS[SECTIONS.index("forecasts") : SECTIONS.index("methods")]}
    assert re.findall(r'<section id="([\w-]+)"', text) == [name for name in SECTIONS if name not in absent]
    assert "Group effects" in text.partition('<section id="notes"')[2], "what is absent is among the omissions"
    names = [*read_cohort(folder / "cohort.csv").subjects, "onerror"]
    assert not [name for name in names if re.search(rf"\b{re.escape(name)}\b", text)]


def test_a_missing_cohort_is_reported_and_the_rest_is_shown(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    shutil.copytree(folder / "run_evaluation", tmp_path / "run_evaluation")
    model = json.loads((run / "model.json").read_text())
    place = model["description"]["cohort"]["path"]
    moved = Path(place).rename(tmp_path / "elsewhere.csv")
    try:
        done(["report", "--run", run, "--draws", "20"])
        text = (tmp_path / "run_report.html").read_text(encoding="utf-8")
        assert "Give the table" in text and "Forecasts and later observations" in text
        done(["report", "--run", run, "--draws", "20", "--cohort", moved, "--overwrite", "--what-if", "CDRSB=9@2"])
        assert "CDRSB 9 at 2 years" in (tmp_path / "run_report.html").read_text(encoding="utf-8")
    finally:
        moved.rename(place)


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the run with its evaluation, to break."""
    shutil.copytree(folder / "run", tmp_path / "run")
    shutil.copytree(folder / "run_evaluation", tmp_path / "run_evaluation")
    yield tmp_path / "run"
    assert not list(tmp_path.rglob("*report*"))


def test_impossible_reports_are_refused_with_the_reason(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(*words: str | Path) -> str:
        return refused(capsys, "report", "--run", broken, *words)

    assert "written as .html or .htm; found .pdf" in refusal("--out", broken / "report.pdf")
    assert "has no subject nobody" in refusal("--subject", "nobody")
    assert "--what-if CDRS: the run has no such covariate" in refusal("--what-if", "CDRS=9")
    assert "leave one of them out" in refusal("--subject", EVIL[0], "--hide-subjects")
    assert "Give it with --atlas" in refusal("--labels", broken / "x.tsv")
    assert "no evaluation here" in refusal("--evaluation", broken / "logs")
    (broken.with_name("run_evaluation") / "visits.csv").write_text("subject,time\na,1\n")
    assert "visits.csv: has no column region, truth" in refusal()
    (broken.with_name("run_evaluation") / "metrics.json").write_text('{"format": 99}')
    assert "is newer than 1" in refusal()
    (broken.with_name("run_evaluation") / "metrics.json").write_text('{"format": ')
    assert "run_evaluation/metrics.json: cannot be read" in refusal()
    (broken / "model.json").unlink()
    (broken / "checkpoints").mkdir()
    assert "training has not finished. Continue it with --resume" in refusal()
    assert "no such run folder" in refused(capsys, "report", "--run", broken / "none")


def test_an_earlier_report_is_replaced_only_with_overwrite(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = page.read_bytes()
    assert "--overwrite" in refused(capsys, "report", "--run", page.parent / "run")
    assert page.read_bytes() == before
