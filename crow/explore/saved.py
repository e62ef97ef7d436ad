"""The page as one file: one subject, and a grid of courses that are answered beforehand."""

from __future__ import annotations

from pathlib import Path

from crow.cohort.cohort import Cohort
from crow.errors import ConfigError
from crow.explore.explorer import Explorer, Progress
from crow.explore.page import offline_page
from crow.explore.question import Course, Step, Whose
from crow.files import write_text
from crow.pipelines.covariate_paths import CovariateChange, changes_text

MAX_COURSES = 12
MAX_SCAN_COURSES = 5  # each has two pictures per time
MAX_LEVELS = 4
LOW, HIGH = 0.1, 0.9  # quantiles of a number in the cohort


def save_page(
    explorer: Explorer, out: Path, subject: str, what_if: list[str], horizon: float, overwrite: bool = False,
    progress: Progress = iter,
) -> None:  # fmt: skip
    """Write the page of one subject under some courses, which opens without crow and without a network.

    ``what_if`` are courses as ``CDRSB=9@2,DX=Dementia@2``. Without any there are low and high values of the covariates
    that change, and the levels of the others. Raises CohortError, ConfigError, OutputError.
    """
    named = courses(explorer.cohort, what_if, MAX_SCAN_COURSES if explorer.start()["scans"] else MAX_COURSES)
    whose = Whose(subject=subject)
    answer, draws = explorer.answers(whose, horizon, list(named.values()))
    each = answer.pop("courses")
    second = next((k for k, one in enumerate(named.values()) if one.steps), None)
    content = {
        "start": explorer.start(), "subject": explorer.subject(whose, horizon), "horizon": horizon,
        "forecast": answer | {"milliseconds": 0}, "chosen": [0, second],
        "courses": [{"label": label, "answer": one} for label, one in zip(named, each, strict=True)],
        "differences": [
            [None if first is second else explorer.difference(first, second) for second in draws] for first in draws
        ],
        "scans": explorer.every_scan(subject, list(named.values()), answer["times"], progress),
    }  # fmt: skip
    write_text(out, offline_page(content, f"Subject {subject} · crow explore"), overwrite)


def courses(cohort: Cohort, what_if: list[str], most: int = MAX_COURSES) -> dict[str, Course]:
    """The courses by their names: covariates as they are, and those that are given or typical of the cohort."""
    changing = [name for name in cohort.covariates if name not in cohort.schema.fixed]
    found = {"as it is": Course()}
    if what_if:
        for text in what_if:
            changes = [CovariateChange.parse(part, "--what-if") for part in text.split(",")]
            steps: dict[str, list[Step]] = {}
            for one in changes:
                steps.setdefault(one.name, []).append(Step(value=one.value, at=one.at or 0.0))
            found[changes_text(changes)] = Course(steps=steps)
    else:
        if any(cohort.schema.covariates[name] == "numeric" for name in changing):
            found["own trend"] = Course(future="linear")
        for name in changing:
            for value in _typical(cohort, name):
                found[f"{name} {value}"] = Course(steps={name: [Step(value=value)]})
    if len(found) > most:
        if what_if:
            raise ConfigError(f"--what-if: {len(what_if)} courses; a saved page contains {most - 1}. Give fewer.")
        found = dict(list(found.items())[:most])
    return found


def _typical(cohort: Cohort, name: str) -> list[str]:
    """A low and a high value of a number, or the commonest levels."""
    values = cohort.visits[name].dropna()
    if cohort.schema.covariates[name] == "numeric":
        low, high = values.astype(float).quantile([LOW, HIGH], interpolation="nearest")
        return [f"{value:g}" for value in dict.fromkeys([low, high])]
    return [str(level) for level in values.astype(str).value_counts().index[:MAX_LEVELS]]
