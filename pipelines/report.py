"""The report of a run: one HTML file that shows what was learned, how good it is, and what is to be minded."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from crow import __version__
from crow.cohort import Cohort, read_cohort
from crow.cohort.reader import read_options
from crow.cohort.split import test_subjects
from crow.errors import CohortError, ConfigError, OutputError, RunError
from crow.files import write_text
from crow.flows.published import PublishedCRow
from crow.models.crow import CRow
from crow.pipelines import report_subjects as subjects_of
from crow.pipelines.history import Missing, read_history, trained_on
from crow.pipelines.report_scans import ScanSide, scan_side
from crow.pipelines.report_subjects import Question
from crow.report.blocks import Heading, Note, Picture, Section
from crow.report.brain_maps import Map
from crow.report.embed import png
from crow.report.evaluated import Evaluation, read_evaluation
from crow.report.page import render
from crow.report.sections.calibration import calibration_section
from crow.report.sections.cohort import cohort_section
from crow.report.sections.follow_ups import scans_section
from crow.report.sections.forecasts import Told, WhatIf, forecasts_section, what_if_section
from crow.report.sections.groups import groups_section
from crow.report.sections.likelihoods import likelihoods_section
from crow.report.sections.methods import methods_section
from crow.report.sections.notes import notes_section
from crow.report.sections.privacy import privacy_section
from crow.report.sections.regions import regions_section
from crow.report.sections.skill import skill_section
from crow.report.sections.summary import summary_section
from crow.report.sections.synthetic import synthetic_section
from crow.report.sections.training import curves_section, measured_section, trained_section
from crow.run.config import Config
from crow.run.folder import Run, load_run
from crow.scans.atlas import Atlas, built_in, read_atlas
from crow.scans.template import load_template

NO_SUBJECTS = "Left out, because the report was asked for without subjects."
PUBLISHED = "The published objective (inn) knows no history and no likelihood: it generates whole subjects."
RESOLUTION = 3.0  # mm, of the maps
FORECAST = ("subject", "time", "region", "truth", "crps", *subjects_of.QUANTILES)
SCORED = ("subject", "session", "time", "log_prob", "outlier_score", "unusual")


@dataclass(frozen=True)
class Asked:
    """What a report is made from, beside the run: see `report`."""

    cohort: Path | None = None
    evaluation: Path | None = None
    subjects: tuple[str, ...] = ()
    what_if: tuple[str, ...] = ()
    atlas: Path | None = None
    labels: Path | None = None
    samples: int = 200
    seed: int = 0
    missing: Missing | None = None
    without_subjects: bool = False


@dataclass(frozen=True)
class Made:
    """The report's file, its size in bytes, and what it could not show, with the reasons."""

    path: Path
    size: int
    left_out: list[tuple[str, str]] = field(default_factory=list)


def report(
    run: Path,
    out: Path | None = None,
    asked: Asked | None = None,
    overwrite: bool = False,
    echo: Callable[[str], None] = lambda line: None,
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> Made:
    """Write the report of a run, by default into it (``report.html``).

    Of the subjects of the cohort (the table that the run was trained on, else ``asked.cohort``) it shows forecasts of
    ``subjects``, the worst and a usual one, and what-ifs; of the evaluation (``RUN/evaluation``, else
    ``asked.evaluation``) all that it measured. What is not there is said, with the way to have it. Raises RunError for
    a run in progress or an evaluation that is damaged, CohortError, ScanError, ConfigError, and OutputError where
    ``out`` exists.
    """
    asked = asked or Asked()
    out = run / "report.html" if out is None else out
    _check_out(out, overwrite)
    done = load_run(run)
    evaluation = _evaluation(run, asked.evaluation)
    steps = _steps(run, done, evaluation, asked, echo)
    sections: list[Section] = []
    for name in progress(list(steps)):
        echo(f"{name} ...")
        sections += steps[name]()
    warnings = _warnings(done, sections, evaluation)
    left_out = [*_missing(sections), *([] if evaluation is None else evaluation.left_out)]
    sections.append(notes_section(warnings, left_out))
    named = run.resolve().name
    shown = not asked.without_subjects and (isinstance(done.config, Config) or bool(_pictures(run)))
    page = render(f"Report of {named}", _subtitle(done), sections, _footer(shown))
    write_text(out, page, overwrite)
    return Made(out, out.stat().st_size, left_out)


def _steps(
    run: Path, done: Run, evaluation: Evaluation | None, asked: Asked, echo: Callable[[str], None]
) -> dict[str, Callable[[], list[Section]]]:
    """What makes the sections, in their order, by what is said while it works."""
    if not isinstance(done.config, Config):
        if asked != Asked(seed=asked.seed, samples=asked.samples, without_subjects=asked.without_subjects):
            raise ConfigError(
                f"{run}: a run of {done.config.architecture}: its report shows the training and what was measured. Leave "
                "--cohort, --evaluation, --subject, --what-if, --missing and --atlas out."
            )
        return {"Single visits": lambda: _visit_sections(run, done, asked.without_subjects)}
    sources = _Sources(run, done, evaluation, asked, echo)
    return {
        "Cohort and training": sources.opening,
        **({"Scans": sources.of_scans} if "scans" in done.description else {}),
        "Subjects": sources.of_subjects,
        "Evaluation": sources.of_evaluation,
        "Likelihoods and methods": sources.closing,
    }


class _Sources:
    """The run with its model, the cohort and the evaluation, and the sections made of them."""

    def __init__(
        self, run: Path, done: Run, evaluation: Evaluation | None, asked: Asked, echo: Callable[[str], None]
    ) -> None:
        self.run, self.done, self.evaluation, self.asked = run, done, evaluation, asked
        assert isinstance(done.config, Config)
        nobody = "" if done.config.split.test else " --folds 5"  # without people kept back
        self.advice = f"crow evaluate --run {shlex.quote(str(run))}{nobody}"
        self.missing = f"Not evaluated yet: {self.advice}"
        self.scans: ScanSide | None = None
        self.model: CRow | None = None
        self.history: Cohort | None = None
        self.cohort: Cohort | None = None
        self.reason = ""
        try:
            self._open(echo)
        except CohortError as error:
            if asked.cohort is not None:
                raise
            self.reason = str(error)
        self.visits = None if evaluation is None else evaluation.table("visits", *FORECAST)
        if asked.subjects and asked.without_subjects:
            raise ConfigError("--subject and --hide-subjects contradict each other: leave one of them out.")
        subjects_of.check_subjects(self.cohort, self.visits, list(asked.subjects), self.reason)

    def _open(self, echo: Callable[[str], None]) -> None:
        if "scans" in self.done.description:
            self.scans = scan_side(self.run, self.asked.cohort, self.asked.missing, echo)
            self.model, self.history, self.cohort = self.scans.crow, self.scans.history, self.scans.cohort
        else:
            self.model = CRow.load(self.run)
            self.history = self.cohort = read_history(self.model, self.asked.cohort, self.asked.missing)

    def opening(self) -> list[Section]:
        summary = summary_section(self.done, self.cohort, self.evaluation, self.advice)
        schema = self.done.description.get("schema", {})
        named = not self.asked.without_subjects
        cohort = cohort_section(schema, self.done.findings, self._as_read(), self.reason, named)
        return [summary, cohort, trained_section(self.done), curves_section(self.done)]

    def _as_read(self) -> Cohort | None:
        """The cohort with the findings of the reading that the run was trained after."""
        if self.asked.cohort is not None or self.history is None or self.scans is not None:
            return self.cohort
        return read_cohort(Path(str(self.history.path)), read_options(self.done.config.cohort))

    def of_subjects(self) -> list[Section]:
        """Forecasts and what-ifs, or why there are none."""
        if reason := self._not_of_subjects():
            return [forecasts_section([], [], [reason], ""), what_if_section([], reason)]
        question, chosen = self._question(), list(self.asked.subjects)
        judged, how = self._judged(question, chosen)
        shown = chosen or ([judged[-1].subject] if judged else self.history.subjects[:1] if self.history else [])
        coming: list[Told] = []
        fans: list[WhatIf] = []
        if question is not None:
            coming = subjects_of.coming(question, shown)
            fans = subjects_of.what_ifs(question, shown[0], list(self.asked.what_if))
        missing = [self.reason] if question is None else []
        no_fans = self.reason or "No covariate of this cohort changes within subjects."
        return [forecasts_section(judged, coming, missing, how), what_if_section(fans, no_fans)]

    def _judged(self, question: Question | None, chosen: list[str]) -> tuple[list[Told], str]:
        if self.visits is not None and len(self.visits):
            chosen = [subject for subject in chosen if subject in set(self.visits["subject"])]
            return subjects_of.judged(self.visits, self.history, chosen), subjects_of.JUDGED_BY
        if question is None:
            return [], ""
        assert isinstance(self.done.config, Config)
        test = test_subjects(question.history, self.done.config.split.test, self.done.config.seed)
        whose = "a test subject, whom training did not see" if test else "training saw this subject"
        return subjects_of.told(question, test or question.history.subjects, chosen, whose), subjects_of.TOLD_BY

    def _not_of_subjects(self) -> str:
        if self.asked.without_subjects:
            return NO_SUBJECTS
        if self.model is not None and isinstance(self.model.flow, PublishedCRow):
            return PUBLISHED
        if self.scans is not None and self.scans.crow is None:
            return "Of voxels there are no trajectories to draw: the section Scans has follow-up scans."
        return ""

    def _question(self) -> Question | None:
        if self.model is None or self.history is None:
            return None
        return Question(self.model, self.history, self.asked.samples, self.asked.seed)

    def of_evaluation(self) -> list[Section]:
        atlas = _atlas(self.asked, needed=self.evaluation is not None)
        return [
            calibration_section(self.evaluation, self._why("forecast")),
            skill_section(self.evaluation, self._why("forecast")),
            regions_section(self.evaluation, atlas, self._why("forecast")),
            groups_section(self.evaluation, atlas, self._why("group_effects")),
            synthetic_section(self.evaluation, self._why("distribution")),
        ]

    def _why(self, part: str) -> str:
        """Why a part of the evaluation is not there."""
        if self.evaluation is None:
            return self.missing
        for metric, why in self.evaluation.left_out:
            if metric == part or metric.startswith(f"{part}."):
                return why
        return "The evaluation did not measure this."

    def closing(self) -> list[Section]:
        privacy = privacy_section(self.evaluation, self._why("privacy"))
        return [self._likelihoods(), privacy, methods_section(self.done, self.evaluation)]

    def _likelihoods(self) -> Section:
        if self.asked.without_subjects:
            return likelihoods_section(None, "", NO_SUBJECTS)
        scores = None if self.evaluation is None else self.evaluation.table("likelihood", *SCORED)
        whose = "held-out visits, by a model that was not trained on their subjects"
        if scores is None:
            whose = "every visit of the cohort by this model, the subjects of the training among them"
        if self.model is not None and isinstance(self.model.flow, PublishedCRow):
            return likelihoods_section(None, "", PUBLISHED)
        if scores is None and self.scans is not None:
            scores = self.scans.likelihoods()
        elif (question := self._question()) is not None and self.scans is None:
            scores = subjects_of.scored(question, scores)
        return likelihoods_section(scores, whose, self.reason or self.missing)

    def of_scans(self) -> list[Section]:
        examples = self.evaluation is not None and (self.evaluation.folder / "scan_pictures.csv").is_file()
        missing = [self.reason] if self.scans is None else []
        made = []
        if self.asked.without_subjects:
            missing.append(NO_SUBJECTS)
        elif self.scans is not None and (self.asked.subjects or not examples):
            made = self.scans.follow_ups(list(self.asked.subjects), self.asked.samples, self.asked.seed)
        if self.evaluation is None or not self.evaluation.part("scans"):
            missing.append(self._why("scans"))
        return [scans_section(self.evaluation, made, missing, not self.asked.without_subjects)]


def _visit_sections(run: Path, done: Run, without_subjects: bool) -> list[Section]:
    """Of a run of single visits: what was trained, how it went, what it says of held-out subjects, its pictures."""
    measured, pictures = measured_section(done), [] if without_subjects else _pictures(run)
    if pictures:
        measured = replace(measured, blocks=(*measured.blocks, Heading("Pictures of the run"), *pictures))
    cohort, reason = _table(done)
    return [
        summary_section(done, cohort, None, ""),
        cohort_section(done.description.get("schema", {}), done.findings, cohort, reason, not without_subjects),
        trained_section(done), curves_section(done), measured, methods_section(done, None),
    ]  # fmt: skip


def _table(done: Run) -> tuple[Cohort | None, str]:
    """The table of regions that a run of single visits learned from, or why it cannot be shown."""
    if done.description["visits"]["kind"] != "regions":
        return None, ""
    try:
        return read_cohort(trained_on(done.description["cohort"], "table", ""), read_options(done.config.cohort)), ""
    except CohortError as error:
        return None, str(error).rstrip()


def _pictures(run: Path) -> list[Picture]:
    """The pictures of a run, but that of its training, which is drawn anew."""
    found = (png(path, f"The run's picture {path.name}.", path.name) for path in sorted(run.glob("*.png"))
             if path.name != "training.png")  # fmt: skip
    return [picture for picture in found if picture is not None]


def _evaluation(run: Path, folder: Path | None) -> Evaluation | None:
    found = read_evaluation(folder or run / "evaluation")
    if found is None and folder is not None:
        raise RunError(f"{folder}: there is no evaluation here (metrics.json). Make one: crow evaluate --run {run}")
    return found


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{out}: a report is written as .html; found {out.suffix or 'no ending'}.")
    if out.exists() and (out.is_dir() or not overwrite):
        raise OutputError(f"{out}: exists already. Choose another name, or replace it with --overwrite.")


def _atlas(asked: Asked, needed: bool) -> Map | None:
    """The atlas asked for, else the template's structures; None where nothing is mapped."""
    if asked.atlas is None and not needed:
        return None
    grid = load_template(RESOLUTION).grid
    given = asked.atlas is not None
    atlas: Atlas = read_atlas(asked.atlas, asked.labels, grid) if asked.atlas else built_in(grid, RESOLUTION)
    return Map(atlas.labels, grid.matrix, atlas.names, given)


def _warnings(run: Run, sections: list[Section], evaluation: Evaluation | None) -> list[str]:
    found = [
        f"{one.get('column') or 'The table'}: {one.get('code')}; see Cohort and findings."
        for one in run.findings
        if one.get("severity") in ("warning", "error")
    ]
    for section in sections:
        found += [block.text for block in section.blocks if isinstance(block, Note) and block.tone == "warning"]
    return list(dict.fromkeys([*found, *([] if evaluation is None else evaluation.warnings)]))


def _missing(sections: list[Section]) -> list[tuple[str, str]]:
    notes = [
        (section.title, block.text) for section in sections for block in section.blocks
        if isinstance(block, Note) and block.tone == "missing"
    ]  # fmt: skip
    by_reason: dict[str, list[str]] = {}
    for title, why in notes:
        by_reason.setdefault(why, []).append(title)
    return [(", ".join(dict.fromkeys(titles)), why) for why, titles in by_reason.items()]


def _subtitle(run: Run) -> str:
    if not isinstance(run.config, Config):
        return f"{run.config.architecture}: a conditional flow of single visits"
    scans = run.description.get("scans")
    what = f"{scans.get('store', {}).get('modality', '')} scans" if scans else "regions"
    return f"Conditional recurrent flow of longitudinal {what}: forecasts, exact likelihoods and how far to trust them"


def _footer(subjects: bool) -> str:
    today = datetime.date.today().isoformat()
    kept = (
        "It shows single subjects: keep it where the cohort may be, or make one with --hide-subjects."
        if subjects else "It shows no single subject."
    )  # fmt: skip
    return f"Made on {today} by crow {__version__}. This file loads nothing from anywhere. {kept}"
