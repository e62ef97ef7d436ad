"""What a reader needs first: is the model good for forecasting, how far ahead, for which subjects not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crow.report.blocks import Cell, Metric, Properties
from crow.report.charts import OURS
from crow.report.evaluated import Evaluation
from crow.report.numbers import counted, percent, short

MIN_SUBJECTS = 5  # in a group; the errors of fewer are not compared
MIN_COVERAGE = 0.8  # of 90 % intervals in a group
NOMINAL = 0.9
SIMPLE = ("last visit", "mean of the past", "subject slope")  # baselines that need no training
GOOD, SAME, BAD = "Yes", "Not shown", "No"


def verdict(evaluation: Evaluation, follow_up: float = 0.0) -> Properties | None:
    """Questions with their answers, each with the figures that it rests on; None without a skill.

    ``follow_up`` is the longest of the training, in years; 0 if it is not known.
    """
    rows: list[tuple[str, Cell]] = []
    if (answer := _good(evaluation)) is not None:
        rows.append(("Is it good for forecasting?", answer))
    if (horizon := _how_far(evaluation, follow_up)) is not None:
        rows.append(("How far ahead?", horizon))
    if (groups := _for_whom_not(evaluation)) is not None:
        rows.append(("For which subjects not?", groups))
    if sentence := str(evaluation.part("likelihood_gain").get("sentence") or ""):
        rows.append(("Is it better than a mixed model?", sentence[0].upper() + sentence[1:]))
    return Properties(tuple(rows)) if rows else None


def _skill(evaluation: Evaluation) -> tuple[str, ...] | None:
    """The path of the skill in CRPS: of regions, of structures in scans, or of voxels."""
    for path in (("skill",), ("scans", "regions", "skill"), ("scans", "skill")):
        value: Any = evaluation.metrics
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, dict) and "CRPS" in value:
            return (*path, "CRPS")
    return None


def _good(evaluation: Evaluation) -> Cell:
    if (path := _skill(evaluation)) is None:
        return None
    value: Any = evaluation.metrics
    for name in path:
        value = value[name]
    skill, low, high = (evaluation.number(*path, end, share=True) for end in ("value", "low", "high"))
    if skill is None or skill.value is None or low is None or low.value is None or high is None or high.value is None:
        return None
    skill, low, high = skill.beside(low, high)
    reference = str(value.get("reference", "the best simple baseline"))
    word = GOOD if float(low.value or 0) > 0 else BAD if float(high.value or 0) < 0 else SAME
    text: tuple[str | Metric | None, ...] = (
        f"{word}. The error of whole forecasts (CRPS) is lower than that of “{reference}” by ", skill,
        " (95 % interval ", low, " to ", high, ").",
    )  # fmt: skip
    return (*text, *_coverage(evaluation))


def _coverage(evaluation: Evaluation) -> tuple[str | Metric | None, ...]:
    observed = evaluation.number("forecast", OURS, "coverage 90 %", share=True)
    low, high = (evaluation.number("calibration", f"coverage_{end}", "90 %", share=True) for end in ("low", "high"))
    if observed is None or low is None or high is None or None in (observed.value, low.value, high.value):
        return ()
    observed, low, high = observed.beside(low, high)
    width = (
        "too narrow" if float(high.value or 0) < NOMINAL else "too wide" if float(low.value or 0) > NOMINAL
        else "as wide as they should be, within that uncertainty"
    )  # fmt: skip
    return " 90 % intervals contain ", observed, " of the later values (", low, " to ", high, f"): they are {width}."


def _how_far(evaluation: Evaluation, follow_up: float) -> Cell:
    by = evaluation.part("by_horizon")
    groups = [group for group in by.get(OURS, {}) if _best_simple(by, group) is not None]
    if not groups:
        return None
    better = []
    for group in groups:
        if float(by[OURS][group]["CRPS"]) >= float(_best_simple(by, group) or 0):
            break
        better.append(group)
    limit = f" The longest follow-up of the training is {short(follow_up, 2)} years." if follow_up else ""
    if not better:
        return f"Not even {_years(groups[0])} ahead is the CRPS lower than that of the best simple baseline.{limit}"
    rest = groups[len(better) :]
    text = f"{_years(better[-1])} ahead: up to there, the CRPS is lower than that of the best simple baseline"
    text += f", but not {_years(rest[0])} ahead." if rest else ", and no later visit was evaluated."
    return text[0].upper() + text[1:] + limit


def _years(group: str) -> str:
    return group.replace("-", " to ").replace(" y", " years")


def _best_simple(by: dict[str, Any], group: str) -> float | None:
    values = [by[model][group]["CRPS"] for model in SIMPLE if "CRPS" in by.get(model, {}).get(group, {})]
    known = [float(value) for value in values if value is not None]
    return min(known) if known and by[OURS][group].get("CRPS") is not None else None


def _for_whom_not(evaluation: Evaluation) -> Cell:
    """Groups of subjects with errors above those of a simple baseline, or with poor coverage, and small groups."""
    worse, unknown, compared = [], [], 0
    for name, group, models in _groups(evaluation):
        subjects = int(models[OURS].get("subjects") or 0)
        if subjects < MIN_SUBJECTS:
            unknown.append(f"{name} {group} ({counted(subjects, 'subject')})")
            continue
        best = _best_simple({model: {group: values} for model, values in models.items()}, group)
        if best is None:
            continue
        compared += 1
        if float(models[OURS]["CRPS"]) >= best:
            worse.append(f"{name} {group} (CRPS not lower than that of the best simple baseline)")
        elif float(models[OURS].get("coverage 90 %") or 1.0) < MIN_COVERAGE:
            worse.append(f"{name} {group} (90 % intervals contain {percent(round(models[OURS]['coverage 90 %'], 2))})")
    if not compared and not unknown:
        return None
    text = f"{'; '.join(worse)}." if worse else (
        f"None found: in each of {counted(compared, 'group')} the CRPS is lower than that of the best simple baseline, "
        f"and 90 % intervals contain at least {percent(MIN_COVERAGE)} of the values." if compared else ""
    )  # fmt: skip
    small = f" Too few test subjects to tell: {', '.join(unknown)}." if unknown else ""
    return f"{text}{small}".strip()


def _groups(evaluation: Evaluation) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, groups in evaluation.part("by").items():
        if name != "region":
            for group, models in groups.items():
                if OURS in models:
                    yield name, group, models
