"""The sections of a report on a run of CRow: regions or scans over time."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from crow.cohort import Cohort, read_cohort
from crow.cohort.covariate_paths import Future
from crow.cohort.reader import read_options
from crow.cohort.split import test_subjects
from crow.errors import CohortError, ConfigError
from crow.extras import EXTRAS, installed
from crow.models.crow import CRow
from crow.pipelines import report_subjects as subjects_of
from crow.pipelines.history import Missing, read_history
from crow.pipelines.report_scans import ScanSource, scan_source
from crow.pipelines.report_subjects import Forecaster
from crow.report.blocks import Section
from crow.report.brain_maps import Map
from crow.report.evaluated import Evaluation
from crow.report.sections.calibration import calibration_section
from crow.report.sections.cohort import cohort_section
from crow.report.sections.forecasts import SubjectForecast, WhatIf, forecasts_section, what_if_section
from crow.report.sections.groups import groups_section
from crow.report.sections.likelihoods import likelihoods_section
from crow.report.sections.methods import methods_section
from crow.report.sections.privacy import privacy_section
from crow.report.sections.regions import regions_section
from crow.report.sections.skill import skill_section
from crow.report.sections.summary import summary_section
from crow.report.sections.synthetic import synthetic_section
from crow.report.sections.training import curves_section, trained_section
from crow.run.config import Config
from crow.run.folder import Run

HIDDEN = "Left out, because the report hides individual subjects (--hide-subjects)."
PUBLISHED = "The published objective (inn) uses no history and has no likelihood: it generates whole subjects."
VOXELS = "Models of voxels have no trajectories of regions. The section Scans shows follow-up scans."
NO_COVARIATE = "No covariate of this cohort changes within subjects."
RESOLUTION = 3.0  # mm, of the maps
FORECAST = ("subject", "time", "region", "truth", "crps", *subjects_of.QUANTILES)
SCORED = ("subject", "session", "time", "log_prob", "outlier_score", "outlier")


@dataclass(frozen=True)
class ReportOptions:
    """The content of a report.

    Attributes
    ----------
    cohort : Path or None
        Visits to show instead of those of the training.
    evaluation : Path or None
        Folder of crow evaluate; ``RUN_evaluation`` by default.
    subjects : tuple of str
        Subjects to show beside the worst and the median one.
    what_if : tuple of str
        Paths of covariates (``CDRSB=9@2,DX=Dementia@2``); by default low and high values.
    atlas, labels : Path or None
        Label image in MNI space to draw regions on, and its names.
    draws, seed : int
        Draws per visit and their seed.
    missing : str or None
        How visits with missing regions are read, as in training by default.
    hide_subjects : bool
        Whether to leave out everything about individual subjects.
    """

    cohort: Path | None = None
    evaluation: Path | None = None
    subjects: tuple[str, ...] = ()
    what_if: tuple[str, ...] = ()
    atlas: Path | None = None
    labels: Path | None = None
    draws: int = 200
    seed: int = 0
    missing: Missing | None = None
    hide_subjects: bool = False


class LongitudinalReport:
    """A run with its model, cohort and evaluation, and the sections of its report."""

    def __init__(
        self, run: Path, saved: Run, config: Config, evaluation: Evaluation | None, options: ReportOptions,
        echo: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.run, self.saved, self.config, self.evaluation, self.options = run, saved, config, evaluation, options
        if options.subjects and options.hide_subjects:
            raise ConfigError("--subject and --hide-subjects contradict each other: leave one of them out.")
        folds = "" if config.split.test else " --folds 5"
        self.advice = f"crow evaluate --run {shlex.quote(str(run))}{folds}"
        self.not_evaluated = f"Not evaluated yet. Run: {self.advice}"
        self.scans: ScanSource | None = None
        self.model: CRow | None = None
        self.history: Cohort | None = None
        self.cohort: Cohort | None = None
        self.reason = ""
        try:
            self._open(echo)
        except CohortError as error:
            if options.cohort is not None:
                raise
            self.reason = str(error)
        self.visits = None if evaluation is None else evaluation.table("visits", *FORECAST)
        chosen = subjects_of.known_subjects(self.cohort, self.visits, list(options.subjects), self.reason)
        self.options = replace(options, subjects=tuple(chosen))

    def _open(self, echo: Callable[[str], None]) -> None:
        if "scans" in self.saved.description:
            self.scans = scan_source(self.run, self.options.cohort, self.options.missing, echo)
            self.model, self.history, self.cohort = self.scans.crow, self.scans.history, self.scans.cohort
        else:
            self.model = CRow.load(self.run)
            self.history = self.cohort = read_history(self.model, self.options.cohort, self.options.missing)

    def steps(self) -> dict[str, Callable[[], list[Section]]]:
        """Functions that make the sections, in order, by what a progress bar shows meanwhile."""
        return {
            "Cohort and training": self._opening,
            **({"Scans": self._scans} if "scans" in self.saved.description else {}),
            "Subjects": self._subjects,
            "Evaluation": self._evaluated,
            "Likelihoods and methods": self._closing,
        }

    def _opening(self) -> list[Section]:
        schema, show = self.saved.description.get("schema", {}), not self.options.hide_subjects
        measures = "Coefficients of scans" if self.saved.description.get("scans") else "Regions"
        return [
            summary_section(self.saved, self.cohort, self.evaluation, self.advice),
            cohort_section(schema, self.saved.findings, self._training_cohort(), self.reason, show, measures),
            trained_section(self.saved), curves_section(self.saved),
        ]  # fmt: skip

    def _training_cohort(self) -> Cohort | None:
        """The cohort with the findings of the reader before training."""
        if self.options.cohort is not None or self.history is None or self.scans is not None:
            return self.cohort
        return read_cohort(Path(str(self.history.path)), read_options(self.config.cohort))

    def _subjects(self) -> list[Section]:
        """Forecasts and what-if forecasts, or the reason why there are none."""
        if reason := self._no_subjects():
            return [forecasts_section([], [], [reason], ""), what_if_section([], reason)]
        forecaster, chosen = self._forecaster(), list(self.options.subjects)
        observed, method = self._observed_subjects(forecaster, chosen)
        first = [observed[-1].subject] if observed else self.history.subjects[:1] if self.history else []
        future: list[SubjectForecast] = []
        fans: list[WhatIf] = []
        if forecaster is not None:
            future = subjects_of.future_forecasts(forecaster, chosen or first)
            fans = subjects_of.what_ifs(forecaster, (chosen or first)[0], list(self.options.what_if))
        missing = [self.reason] if forecaster is None else []
        if self.scans is not None and (structures := self.scans.structures) is not None:
            observed, future = ([structures.subject(one) for one in part] for part in (observed, future))
            fans = [structures.what_if(one) for one in fans]
        return [
            forecasts_section(observed, future, missing, method), what_if_section(fans, self.reason or NO_COVARIATE)
        ]  # fmt: skip

    def _observed_subjects(
        self, forecaster: Forecaster | None, chosen: list[str]
    ) -> tuple[list[SubjectForecast], str]:
        """Forecasts of visits that were observed later, and how they were made."""
        if self.visits is not None and len(self.visits):
            chosen = [subject for subject in chosen if subject in set(self.visits["subject"])]
            future = self._evaluated_future()
            found = subjects_of.evaluated_subjects(self.visits, self.history, chosen, forecaster, future)
            return found, subjects_of.EVALUATED
        if forecaster is None:
            return [], ""
        history = forecaster.history
        test = test_subjects(history, self.config.split.test, self.config.seed)
        group = "test subject" if test else "training subject"
        found = subjects_of.forecast_subjects(forecaster, test or history.subjects, chosen, group)
        return found, subjects_of.FORECAST_NOW

    def _evaluated_future(self) -> Future | None:
        """The rule of the covariates in the evaluation; None if it used later covariates, or models of folds."""
        protocol = {} if self.evaluation is None else self.evaluation.part("protocol")
        rules: dict[str, Future] = {"carry": "carry", "linear": "linear"}
        return None if "folds" in str(protocol.get("split")) else rules.get(str(protocol.get("future covariates")))

    def _no_subjects(self) -> str:
        if self.options.hide_subjects:
            return HIDDEN
        if self._is_published():
            return PUBLISHED
        return VOXELS if self.scans is not None and self.scans.crow is None else ""

    def _is_published(self) -> bool:
        return self.config.model.objective == "inn"

    def _forecaster(self) -> Forecaster | None:
        if self.model is None or self.history is None:
            return None
        return Forecaster(self.model, self.history, self.options.draws, self.options.seed)

    def _evaluated(self) -> list[Section]:
        atlas = _atlas(self.options, needed=self.evaluation is not None)
        return [
            calibration_section(self.evaluation, self._why_not("forecast")),
            skill_section(self.evaluation, self._why_not("forecast")),
            regions_section(
                self.evaluation, atlas, self._why_not("forecast"),
                self.saved.description.get("schema", {}).get("units", {}),
            ),
            groups_section(self.evaluation, atlas, self._why_not("group_effects")),
            synthetic_section(self.evaluation, self._why_not("distribution")),
        ]

    def _why_not(self, part: str) -> str:
        """Why a part of the evaluation is missing."""
        if self.evaluation is None:
            return self.not_evaluated
        for metric, reason in self.evaluation.left_out:
            if metric == part or metric.startswith(f"{part}."):
                return reason
        return "The evaluation does not include this part."

    def _closing(self) -> list[Section]:
        privacy = privacy_section(self.evaluation, self._why_not("privacy"))
        return [self._likelihoods(), privacy, methods_section(self.saved, self.evaluation)]

    def _likelihoods(self) -> Section:
        if self.options.hide_subjects or self._is_published():
            return likelihoods_section(None, "", HIDDEN if self.options.hide_subjects else PUBLISHED)
        scores = None if self.evaluation is None else self.evaluation.table("likelihood", *SCORED)
        source = "the visits of test subjects, under a model that was not trained on them"
        if scores is None:
            source = "all visits of the cohort under this model, including those of training subjects"
        if self.scans is not None:
            scores = self.scans.likelihoods() if scores is None else scores
        elif (forecaster := self._forecaster()) is not None:
            scores = subjects_of.with_deviant_regions(forecaster, scores)
        return likelihoods_section(scores, source, self.reason or self.not_evaluated)

    def _scans(self) -> list[Section]:
        from crow.report.sections.follow_ups import scans_section

        has_pictures = self.evaluation is not None and (self.evaluation.folder / "scan_pictures.csv").is_file()
        missing = [self.reason] if self.scans is None else []
        follow_ups = []
        if self.options.hide_subjects:
            missing.append(HIDDEN)
        elif self.scans is not None and (self.options.subjects or not has_pictures):
            follow_ups = self.scans.follow_ups(list(self.options.subjects), self.options.draws, self.options.seed)
        if self.evaluation is None or not self.evaluation.part("scans"):
            missing.append(self._why_not("scans"))
        return [scans_section(self.evaluation, follow_ups, missing, not self.options.hide_subjects)]


def _atlas(options: ReportOptions, needed: bool) -> Map | None:
    """The atlas of the options, else the template's structures; None if nothing is mapped, or cannot be."""
    if options.atlas is None and not (needed and all(installed(library) for library in EXTRAS["scans"][1])):
        return None
    from crow.scans.atlas import built_in, read_atlas
    from crow.scans.template import load_template

    grid = load_template(RESOLUTION).grid
    given = options.atlas is not None
    atlas = read_atlas(options.atlas, options.labels, grid) if options.atlas else built_in(grid, RESOLUTION)
    return Map(atlas.labels, grid.matrix, atlas.names, given)
