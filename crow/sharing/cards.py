"""The data sheet and the model card of a shared run, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from crow import __version__
from crow.evaluation.forecast_evaluation import OURS
from crow.run.folder import Run
from crow.sharing.disclosure import TOP_AGE, Disclosure

NOT_STATED = "not stated. Ask whoever shares this model before you use it."
INTENDED = (
    "Research on groups: forecasts with their uncertainty, comparison of visits with what the model expects, and "
    "synthetic cohorts for methods and teaching."
)
MEASURED = ("MAE", "RMSE", "CRPS", "NLL", "coverage 50 %", "coverage 80 %", "coverage 90 %", "coverage 95 %")
QUANTILES = (0.1, 0.5, 0.9)
OF_SINGLE_VISITS = {
    "synthesize": "--count 100", "translate": "--cohort YOURS", "classify": "--cohort YOURS",
    "enhance": "--scan THICK.nii.gz", "segment": "--cohort YOURS",
}  # fmt: skip
Rows = Sequence[Sequence[object]]


def data_sheet(run: Run, disclosure: Disclosure, licence: str | None) -> str:
    """The cohort of the training: subjects, ages, years, sites and covariates, without small counts."""
    cohort, visits = disclosure.cohort, disclosure.visits
    times = visits.groupby("subject")["time"].last()
    facts = [
        ("subjects", disclosure.about(len(cohort.subjects))),
        ("visits", disclosure.about(len(visits))),
        ("age", _ages(visits["age"], disclosure)),
        ("years from first to last visit", _quantiles(times, "time", disclosure)),
        ("years of the visits", _years(disclosure)),
        ("what was measured", f"{len(cohort.regions)} regions" if cohort.regions else "scans"),
        ("sites", _sites(disclosure)),
        ("licence of the source", _cell(licence or NOT_STATED)),
    ]
    return "\n".join([
        "# Data sheet", "",
        "The cohort that the model was trained on; test subjects are not counted. Counts are rounded. Levels of fewer "
        f"than {disclosure.min_count} subjects are withheld, and ages above {TOP_AGE} are one group.", "",
        *_table(("", ""), facts), "", "## Covariates", "", *_covariates(disclosure), "", "## Regions", "",
        ", ".join(_cell(name) for name in cohort.regions) or "None: the model was trained on scans.", "",
    ])  # fmt: skip


def model_card(
    run: Run, disclosure: Disclosure, evaluation: dict[str, Any], licence: str | None, intended: str | None, digest: str
) -> str:
    """What the model is for, how good it is, and how it is loaded."""
    kind = str(run.description["kind"])
    return "\n".join([
        "# Model card", "",
        *_table(("", ""), [
            ("kind", kind), ("trained with", ", ".join(f"{name} {number}" for name, number in run.versions.items())),
            ("packed with", f"crow {__version__}"), ("SHA-256 of model.safetensors", digest),
            ("subjects", f"{disclosure.about(len(disclosure.cohort.subjects))} (see DATA_SHEET.md)"),
            ("licence of the source", _cell(licence or NOT_STATED)),
        ]), "",
        "## Intended use", "", _text(intended or INTENDED), "",
        "Not for decisions about single patients. The model is no medical device.", "",
        "## Accuracy and calibration", "", *_accuracy(evaluation), "",
        "## Privacy", "", *_privacy(evaluation), "",
        "## Limits", "",
        "- Forecasts hold for subjects like those of the data sheet. A covariate level that is not listed there is "
        "unknown to the model: leave its cell empty.",
        "- The model describes how subjects changed. It does not show causes.",
        "- It was not trained with differential privacy, which crow does not offer.", "",
        "## How to load it", "",
        "```console", "$ python -m zipfile -e model.zip shared_run", *_commands(kind), "```", "",
        "The folder is a run of crow (`pip install crow-longitudinal`). It contains no pickle, and loading it runs no "
        "code of others.", "",
    ])  # fmt: skip


def _accuracy(evaluation: dict[str, Any]) -> list[str]:
    scans = evaluation.get("scans") or {}
    forecast = evaluation.get("forecast") or scans.get("forecast") or {}
    if not isinstance(forecast, dict) or OURS not in forecast:
        return ["Not measured. `crow evaluate` measures them."]
    protocol = evaluation.get("protocol") or {}
    names = [name for name in MEASURED if forecast[OURS].get(name) is not None]
    rows = [(_cell(model), *(_number(found.get(name)) for name in names)) for model, found in forecast.items()]
    unit = evaluation.get("unit") or scans.get("unit") or "the units of the training"
    return [
        f"Errors of forecasts in {_cell(str(unit))}; NLL in nats per visit. Subjects: "
        f"{_cell(str(protocol.get('split')))} ({protocol.get('subjects', scans.get('subjects', 'unknown'))}).", "",
        *_table(("model", *names), rows),
        *[f"\nSkill in {_cell(metric)} over {_cell(str(skill['reference']))}: {_number(skill['value'])} "
          f"({_number(skill['low'])} to {_number(skill['high'])})."
          for metric, skill in (evaluation.get("skill") or scans.get("skill") or {}).items()],
    ]  # fmt: skip


def _privacy(evaluation: dict[str, Any]) -> list[str]:
    privacy = evaluation.get("privacy")
    if not isinstance(privacy, dict):
        return ["The audit of `crow evaluate` was not made."]
    return [f"Audit of `crow evaluate`: {_cell(str(privacy.get('verdict')))}.",
            *(f"\n- {_text(str(reason))}" for reason in privacy.get("reasons") or [])]  # fmt: skip


def _commands(kind: str) -> list[str]:
    if kind in ("regions", "scans", "voxels"):
        return ["$ crow generate --run shared_run --cohort YOURS --subject ID --at 1,2 --out forecast.csv",
                "$ crow score --run shared_run --cohort YOURS --out scores.csv"]  # fmt: skip
    return [f"$ crow {kind} --run shared_run {OF_SINGLE_VISITS[kind]}"]


def _covariates(disclosure: Disclosure) -> list[str]:
    cohort, rows = disclosure.cohort, []
    for name, kind in cohort.schema.covariates.items():
        if name in cohort.schema.sites:
            continue
        if kind == "numeric":
            shown = _ages(disclosure.visits[name], disclosure) if disclosure.is_age(name) else _quantiles(
                disclosure.visits[name], name, disclosure
            )  # fmt: skip
        else:
            counts = disclosure.counts(name)
            levels = [f"{_cell(str(level))} ({disclosure.about(n)})" for level, n in counts.items()
                      if n >= disclosure.min_count]  # fmt: skip
            withheld = ["others withheld"] if len(levels) < len(counts) else []
            shown = ", ".join([*levels, *withheld])
        rows.append((_cell(name), kind, shown))
    header = ("covariate", "kind", "subjects of each level, or 10, 50 and 90 % quantiles")
    return _table(header, rows) if rows else ["None."]


def _sites(disclosure: Disclosure) -> str:
    columns = [name for name in disclosure.cohort.schema.sites if name in disclosure.visits]
    found = []
    for name in columns:
        counts = disclosure.counts(name)
        shown = [_cell(str(level)) for level, n in counts.items() if n >= disclosure.min_count]
        few = f", and {len(counts) - len(shown)} with fewer subjects" if len(shown) < len(counts) else ""
        found.append(f"{_cell(name)}: {', '.join(shown) or 'none'}{few}")
    return "; ".join(found) or "no column of the cohort names them"


def _years(disclosure: Disclosure) -> str:
    start = disclosure.cohort.start
    if not pd.api.types.is_datetime64_any_dtype(start):
        return "the table has no dates"
    last = start + pd.to_timedelta(disclosure.visits.groupby("subject")["time"].last() * 365.25, unit="D")
    return f"{start.min().year} to {last.max().year}"


def _ages(ages: pd.Series, disclosure: Disclosure) -> str:
    known = ages.dropna().astype(float)
    if known.empty:
        return "not known"
    low, middle, high = (round(value) for value in np.quantile(known, QUANTILES, method="linear"))
    words = [f"{TOP_AGE + 1} or older" if value > TOP_AGE else str(value) for value in (low, middle, high)]
    return f"10 % {words[0]}, median {words[1]}, 90 % {words[2]}"


def _quantiles(column: pd.Series, name: str, disclosure: Disclosure) -> str:
    known = column.dropna().astype(float)
    if known.empty:
        return "not known"
    values = np.quantile(known, QUANTILES, method="linear")
    return ", ".join(f"{disclosure.apart(float(value), name, 2):g}" for value in values)


def _table(header: Sequence[str], rows: Rows) -> list[str]:
    return [f"| {' | '.join(header)} |", "|---" * len(header) + "|", *(f"| {' | '.join(map(str, r))} |" for r in rows)]


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else ""


def _cell(text: str) -> str:
    """One line of text without the marks that would end a cell, or start a tag."""
    return _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;").replace(">", "&gt;")
