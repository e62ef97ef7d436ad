"""The report of a run: one HTML file with the cohort, the training, forecasts and their evaluation."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from crow import __version__
from crow.cohort import Cohort, read_cohort
from crow.cohort.reader import read_options
from crow.errors import CohortError, ConfigError, OutputError, RunError
from crow.files import check_free, write_text
from crow.pipelines.history import trained_on
from crow.pipelines.report_longitudinal import LongitudinalReport, ReportOptions
from crow.places import EVALUATION, REPORT, beside_run
from crow.report.blocks import Heading, Note, Picture, Section
from crow.report.embed import png
from crow.report.evaluated import Evaluation, read_evaluation
from crow.report.page import render
from crow.report.sections.cohort import cohort_section
from crow.report.sections.methods import methods_section
from crow.report.sections.notes import notes_section
from crow.report.sections.summary import summary_section
from crow.report.sections.training import curves_section, longitudinal, metrics_section, trained_section
from crow.run.folder import Run, load_run


@dataclass(frozen=True)
class ReportOutput:
    """The file of a report, its size in bytes, and what it could not show, with the reasons."""

    path: Path
    size: int
    left_out: list[tuple[str, str]] = field(default_factory=list)


def report(
    run: Path,
    out: Path | None = None,
    options: ReportOptions | None = None,
    overwrite: bool = False,
    echo: Callable[[str], None] = lambda line: None,
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> ReportOutput:
    """Write the report of a run.

    Parameters
    ----------
    run : Path
        The run folder.
    out : Path, optional
        The HTML file to write; ``RUN_report.html`` by default.
    options : ReportOptions, optional
        The content of the report.
    overwrite : bool
        Whether to replace an earlier report.
    echo, progress : callable
        Receive lines to print, and the steps for a progress bar.

    Returns
    -------
    ReportOutput
        The file, and the parts that were left out with the reasons.

    Raises
    ------
    RunError
        If the training has not finished, or the evaluation is damaged.
    CohortError, ScanError
        If the cohort or its scans do not match the run.
    ConfigError
        If the options are impossible for this run.
    OutputError
        If ``out`` exists and ``overwrite`` is not set.
    """
    options = options or ReportOptions()
    out = beside_run(run, REPORT) if out is None else out
    _check_out(out, overwrite)
    saved = load_run(run)
    evaluation = _evaluation(run, options.evaluation)
    steps = _steps(run, saved, evaluation, options, echo)
    sections: list[Section] = []
    for name in progress(list(steps)):
        echo(f"{name} ...")
        sections += steps[name]()
    warnings = _warnings(saved, sections, evaluation)
    left_out = [*_missing(sections), *([] if evaluation is None else evaluation.left_out)]
    sections = [*(section for section in sections if not _is_missing(section)), notes_section(warnings, left_out)]
    shows_subjects = not options.hide_subjects and (longitudinal(saved) is not None or bool(_pictures(run)))
    page = render(f"Report of {run.resolve().name}", _subtitle(saved), sections, _footer(shows_subjects))
    write_text(out, page, overwrite)
    return ReportOutput(out, out.stat().st_size, left_out)


def _steps(
    run: Path, saved: Run, evaluation: Evaluation | None, options: ReportOptions, echo: Callable[[str], None]
) -> dict[str, Callable[[], list[Section]]]:
    """Functions that make the sections, in order, by what a progress bar shows meanwhile."""
    if (config := longitudinal(saved)) is not None:
        return LongitudinalReport(run, saved, config, evaluation, options, echo).steps()
    if options != ReportOptions(seed=options.seed, draws=options.draws, hide_subjects=options.hide_subjects):
        raise ConfigError(
            f"{run}: a cross-sectional run ({_architecture(saved)}), whose report shows the training and its "
            "metrics. Leave --cohort, --evaluation, --subject, --what-if, --missing and --atlas out."
        )
    return {"Cross-sectional model": lambda: _cross_sectional(run, saved, options.hide_subjects)}


def _cross_sectional(run: Path, saved: Run, hide_subjects: bool) -> list[Section]:
    """The sections on a cross-sectional model: the training, its metrics, and the run's pictures."""
    metrics, pictures = metrics_section(saved), [] if hide_subjects else _pictures(run)
    if pictures:
        metrics = replace(metrics, blocks=(*metrics.blocks, Heading("Figures of the run"), *pictures))
    cohort, reason = _table(saved)
    schema = saved.description.get("schema", {})
    return [
        summary_section(saved, cohort, None, ""),
        cohort_section(schema, saved.findings, cohort, reason, not hide_subjects),
        trained_section(saved), curves_section(saved), metrics, methods_section(saved, None),
    ]  # fmt: skip


def _table(saved: Run) -> tuple[Cohort | None, str]:
    """The table of regions that a cross-sectional model was trained on, or why it cannot be shown."""
    if saved.description["inputs"]["kind"] != "regions":
        return None, ""
    try:
        table = trained_on(saved.description["cohort"], "table", "")
        return read_cohort(table, read_options(saved.config.cohort)), ""
    except CohortError as error:
        return None, str(error).rstrip()


def _pictures(run: Path) -> list[Picture]:
    """The pictures in a run folder, except the training curves, which are drawn anew."""
    found = (
        png(path, f"Figure {path.name} of the run.", path.name) for path in sorted(run.glob("*.png"))
        if path.name != "training.png"
    )  # fmt: skip
    return [picture for picture in found if picture is not None]


def _evaluation(run: Path, folder: Path | None) -> Evaluation | None:
    found = read_evaluation(folder or beside_run(run, EVALUATION))
    if found is None and folder is not None:
        raise RunError(f"{folder}: there is no evaluation here (metrics.json). Make one: crow evaluate --run {run}")
    return found


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{out}: a report is written as .html; found {out.suffix or 'no ending'}.")
    check_free(out, overwrite and not out.is_dir())


def _warnings(saved: Run, sections: list[Section], evaluation: Evaluation | None) -> list[str]:
    found = [
        f"{one.get('column') or 'The table'}: {one.get('code')}; see the section Cohort and findings."
        for one in saved.findings
        if one.get("severity") in ("warning", "error")
    ]
    found += [text for _, text in _notes(sections, "warning")]
    return list(dict.fromkeys([*found, *([] if evaluation is None else evaluation.warnings)]))


def _is_missing(section: Section) -> bool:
    """Whether a section has nothing but the reason why there is nothing; the notes have it."""
    return all(isinstance(block, Note) and block.tone == "missing" for block in section.blocks)


def _missing(sections: list[Section]) -> list[tuple[str, str]]:
    """(sections, reason) of everything that could not be shown."""
    by_reason: dict[str, list[str]] = {}
    for section in sections:
        title = section.title if _is_missing(section) else f"{section.title} (in part)"
        for _, reason in _notes([section], "missing"):
            by_reason.setdefault(reason, []).append(title)
    return [(", ".join(dict.fromkeys(titles)), reason) for reason, titles in by_reason.items()]


def _notes(sections: list[Section], tone: str) -> list[tuple[str, str]]:
    """(section, text) of the notes of one tone."""
    return [
        (section.title, block.text) for section in sections for block in section.blocks
        if isinstance(block, Note) and block.tone == tone
    ]  # fmt: skip


def _subtitle(saved: Run) -> str:
    if longitudinal(saved) is None:
        return f"Cross-sectional conditional flow ({_architecture(saved)})"
    scans = saved.description.get("scans")
    modelled = f"{scans.get('store', {}).get('modality', '')} scans" if scans else "regions"
    return f"Conditional recurrent flow of longitudinal {modelled}: forecasts, likelihoods and their evaluation"


def _architecture(saved: Run) -> str:
    return str(getattr(saved.config, "architecture", ""))


def _footer(shows_subjects: bool) -> str:
    today = datetime.date.today().isoformat()
    subjects = (
        "It shows individual subjects: keep it as confidential as the cohort, or make one with --hide-subjects."
        if shows_subjects else "It shows no individual subjects."
    )  # fmt: skip
    return f"Made on {today} with crow {__version__}. This file loads nothing from the network. {subjects}"
