"""TADPOLE submissions of a fitted CRow: diagnosis, ADAS13 and ventricles for the next 60 months."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from crow.cohort.cohort import Cohort
from crow.data.forecast import quantiles_of
from crow.errors import CohortError
from crow.evaluation.contrasts import as_numbers, measure_of
from crow.evaluation.forecasts import split_history
from crow.evaluation.result import EvaluationResult
from crow.evaluation.tadpole import CLASSES, COLUMNS, MONTHS, PROBABILITIES, TARGETS, score
from crow.models.crow import CRow

Values = NDArray[np.float64]
ADAS, VENTRICLES, ICV = "ADAS13", "Ventricles", "ICV"
NOMINAL_START = pd.Timestamp("2000-01-01")  # date of first visits for scoring a cohort without dates
Steps = Callable[[range], Iterable[int]]


def tadpole_submission(
    model: CRow,
    training: Cohort,
    cohort: Cohort,
    start: str | None = None,
    draws: int = 100,
    seed: int = 0,
    steps: Steps = iter,
) -> pd.DataFrame:
    """Forecast 60 months of each subject in TADPOLE's format.

    Each month is forecast from the observed visits directly, not from the previous months. Values are the median and
    the quartiles of the draws, for ventricles divided by the subject's ICV. Probabilities are averages over the draws
    of a logistic regression, fitted to all pairs of visits of the training subjects: the diagnosis at the later visit
    given its regions, the age, the years between the visits and the diagnosis at the earlier one.

    Parameters
    ----------
    model : CRow
        A fitted model with the regions ADAS13 and Ventricles_ICV (or Ventricles, with a covariate ICV).
    training : Cohort
        Subjects that the logistic regression is fitted to.
    cohort : Cohort
        Subjects to forecast, with dates.
    start : str, optional
        First month, for instance ``2018-01``; by default the month after each subject's last visit.
    draws, seed : int
        Draws per month and their seed.
    steps : callable
        Wraps the range of months, for a progress bar.

    Returns
    -------
    DataFrame
        The columns `crow.evaluation.tadpole.COLUMNS`, 60 rows per subject.

    Raises
    ------
    CohortError
        If a region, a column of changing diagnoses or dates are missing.
    """
    require_submission(model, training, cohort)
    diagnosis, last = _diagnosis(training), cohort.visits.groupby("subject", sort=False)["time"].max()
    classifier = _classifier(model, training, diagnosis)
    began = cohort.start.loc[last.index]
    last_day = began + pd.to_timedelta(last * 365.25, unit="D")
    first = [pd.Period(start or day, "M") + int(start is None) for day in last_day]
    parts = []
    for month in steps(range(MONTHS)):
        day = pd.Series([(each + month).to_timestamp() for each in first], last.index)
        targets = pd.DataFrame({"subject": last.index, "time": ((day - began).dt.days / 365.25).to_numpy()})
        rows = _month(model, cohort, classifier, diagnosis, targets, draws, seed)
        rows["Forecast Month"], rows["Forecast Date"] = month + 1, day.dt.strftime("%Y-%m").to_numpy()
        parts.append(rows)
    table = pd.concat(parts).sort_values("order", kind="stable")
    return table.assign(RID=table["RID"].map(_rid))[COLUMNS].reset_index(drop=True)


def evaluate_tadpole(
    model: CRow, training: Cohort, test: Cohort, seed: int = 0, draws: int = 100, steps: Steps = iter
) -> EvaluationResult:
    """TADPOLE's scores of the later half of each test subject's visits, given the first half.

    Scores with the prefix ``last visit`` are those of the values and the diagnosis at the last given visit.

    Parameters
    ----------
    model : CRow
        A fitted model.
    training, test : Cohort
        Training and test subjects.
    seed, draws, steps
        As in `tadpole_submission`.

    Returns
    -------
    EvaluationResult
        Metrics ``tadpole``; left out with the reason if a column is missing.
    """
    try:
        require_tadpole(model, training)
    except CohortError as reason:
        return EvaluationResult(left_out=[("tadpole", str(reason))])
    dated = test
    if test.schema.time_kind != "date":
        schema = test.schema.model_copy(update={"time_kind": "date"})
        dated = replace(test, schema=schema, start=pd.Series(NOMINAL_START, test.subjects))
    history, later = split_history(dated)
    if len(later) < 2:
        return EvaluationResult(left_out=[("tadpole", "test subjects have no later visit to score.")])
    truth = _truth(later, dated, _diagnosis(training))
    found = score(tadpole_submission(model, training, history, None, draws, seed, steps), truth)
    carried = score(_carried(history, _diagnosis(training)), truth)
    without_intervals = {name: value for name, value in carried.items() if name[:3] not in ("WES", "CPA")}
    numbers = found | {f"last visit {name}": value for name, value in without_intervals.items()}
    return EvaluationResult({"tadpole": {**numbers, "subjects": int(truth["RID"].nunique()), "visits": len(truth)}})


def require_submission(model: CRow, training: Cohort, cohort: Cohort) -> None:
    """Raise CohortError if `require_tadpole` does, or if ``cohort`` has no dates."""
    require_tadpole(model, training)
    if cohort.schema.time_kind != "date":
        raise CohortError(
            f"{cohort.path or 'the cohort'}: a TADPOLE submission needs dates, but {cohort.schema.time} is of the kind "
            f"{cohort.schema.time_kind}. Train with dates: --time EXAMDATE."
        )


def require_tadpole(model: CRow, training: Cohort) -> None:
    """Raise CohortError, with advice, if the run cannot forecast TADPOLE's values."""
    regions = model.table.regions
    if model.config.model.objective == "inn":
        raise CohortError(
            "the published objective (inn) has no forecasts. Train with --set model.objective=likelihood."
        )
    has_ratio = "Ventricles_ICV" in regions or (VENTRICLES in regions and ICV in training.visits)
    if missing := [name for name, found in ((ADAS, ADAS in regions), ("Ventricles_ICV", has_ratio)) if not found]:
        raise CohortError(
            f"TADPOLE needs {' and '.join(missing)} among the regions of the run (for Ventricles_ICV also Ventricles, "
            "with a covariate ICV). Train with --regions ADAS13,Ventricles and --covariates DX,ICV."
        )
    _diagnosis(training)


def _diagnosis(training: Cohort) -> str:
    """The column of diagnoses with at least two of the three stages."""
    for name in training.covariates:
        measure = measure_of(name)
        if measure is None or not re.fullmatch(measure.pattern, "dx") or name in training.schema.fixed:
            continue
        try:
            stages = as_numbers(training.visits[name]).dropna()
        except ValueError as reason:
            raise CohortError(f"TADPOLE needs diagnoses, but in column {name} {reason}.") from None
        if stages.isin(range(len(CLASSES))).all() and len(stages.unique()) > 1:
            return name
    raise CohortError(
        "TADPOLE needs a column of diagnoses (DX: CN, MCI, Dementia) with at least two different values. Name it "
        "with --covariates."
    )


def _classifier(model: CRow, training: Cohort, diagnosis: str) -> Pipeline:
    visits = training.visits.assign(stage=as_numbers(training.visits[diagnosis]))
    pairs = visits.reset_index().merge(visits[["subject", "time", "stage"]], on="subject", suffixes=("", "_before"))
    pairs = pairs[(pairs["time_before"] < pairs["time"]) & pairs["stage"].notna()]
    if pairs["stage"].nunique() < 2:
        raise CohortError("TADPOLE needs later visits of training subjects with at least two different diagnoses.")
    x = _features(pairs, pairs[model.table.regions].to_numpy(float), pairs["stage_before"], pairs["time_before"])
    steps = (SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(max_iter=2000))
    return make_pipeline(*steps).fit(x, pairs["stage"].to_numpy(int))


def _features(visits: pd.DataFrame, regions: Values, before: pd.Series, since: pd.Series) -> Values:
    years = visits["time"].to_numpy(float) - since.to_numpy(float)
    previous = [(before == stage).to_numpy(float) for stage in range(len(CLASSES))]
    return np.column_stack([regions, visits["age"].to_numpy(float), years, *previous])


def _month(
    model: CRow, cohort: Cohort, classifier: Pipeline, diagnosis: str, targets: pd.DataFrame, draws: int, seed: int
) -> pd.DataFrame:
    """One row per row of ``targets``: RID (the subject), order, and the forecast columns of a submission."""
    forecast = model.forecast(cohort, targets, "carry", draws, seed)
    visits, values = forecast.visits, forecast.values  # [subject, draw, region]
    stages = cohort.visits.assign(stage=as_numbers(cohort.visits[diagnosis])).dropna(subset="stage")
    last = stages.groupby("subject")[["stage", "time"]].last().reindex(visits["subject"])
    known = last["time"].fillna(0.0)
    flat = visits.loc[visits.index.repeat(draws)]
    before, since = (each.repeat(draws).reset_index(drop=True) for each in (last["stage"], known))
    p = classifier.predict_proba(_features(flat, values.reshape(len(flat), -1), before, since))
    shares = np.zeros((len(visits), len(CLASSES)))
    shares[:, classifier.classes_] = p.reshape(len(visits), draws, -1).mean(1)
    columns = {"RID": visits["subject"].to_numpy(), "order": _order(cohort, visits["subject"])}
    columns |= {name: shares[:, k] for k, name in enumerate(PROBABILITIES)}
    for target, drawn in zip(TARGETS, _targets(forecast.regions, values, visits), strict=True):
        low, middle, high = quantiles_of(drawn, [0.25, 0.5, 0.75], axis=1)
        columns |= {target: middle, f"{target} 50% CI lower": low, f"{target} 50% CI upper": high}
    return pd.DataFrame(columns)


def _targets(regions: list[str], draws: Values, visits: pd.DataFrame) -> tuple[Values, Values]:
    """Draws of ADAS13 and Ventricles_ICV ``[subject, draw]``; a missing ICV is replaced by the mean of the others."""
    adas = draws[..., regions.index(ADAS)]
    if "Ventricles_ICV" in regions:
        return adas, draws[..., regions.index("Ventricles_ICV")]
    icv = visits[ICV].astype(float)
    return adas, draws[..., regions.index(VENTRICLES)] / icv.fillna(icv.mean()).to_numpy()[:, None]


def _truth(visits: pd.DataFrame, cohort: Cohort, diagnosis: str) -> pd.DataFrame:
    began = visits["subject"].map(cohort.start)
    stages = as_numbers(visits[diagnosis])
    ratio = visits["Ventricles_ICV"] if "Ventricles_ICV" in visits else visits[VENTRICLES] / visits[ICV].astype(float)
    return pd.DataFrame({
        "RID": visits["subject"].map(_rid), "date": began + pd.to_timedelta(visits["time"] * 365.25, unit="D"),
        "diagnosis": stages.map(dict(enumerate(CLASSES))), "ADAS13": visits[ADAS], "Ventricles_ICV": ratio,
    })  # fmt: skip


def _carried(history: Cohort, diagnosis: str) -> pd.DataFrame:
    """The last given visit as a submission with one row per subject."""
    table = _truth(history.visits.groupby("subject").last().reset_index(), history, diagnosis)
    table["Forecast Date"] = table["date"].dt.strftime("%Y-%m")
    for name, word in zip(PROBABILITIES, CLASSES, strict=True):
        table[name] = (table["diagnosis"] == word).astype(float).where(table["diagnosis"].notna(), 1.0)
    for target in TARGETS:
        table[target] = table[target].fillna(table[target].mean())
        table[f"{target} 50% CI lower"] = table[f"{target} 50% CI upper"] = table[target]
    return table


def _order(cohort: Cohort, subjects: pd.Series) -> NDArray[np.int_]:
    position = {name: k for k, name in enumerate(cohort.subjects)}
    return np.array([position[name] for name in subjects])


def _rid(subject: str) -> str:
    """The roster number of an ADNI name (9001 of 900_S_9001); any other name as it is."""
    number = re.fullmatch(r"\d{3}_S_(\d+)", str(subject))
    return str(int(number[1])) if number else str(subject)
