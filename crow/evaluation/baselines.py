"""The models that crow is compared with, by name.

To add a baseline, write a class with the methods of `Baseline` in a new file of this folder and add one line to
`BASELINES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from crow.errors import ConfigError, CrowError, MissingExtra
from crow.extras import require

if TYPE_CHECKING:  # a wrong name is refused before pandas is imported
    import pandas as pd

    from crow.cohort.cohort import Cohort
    from crow.data.forecast import Forecast


class BaselineUnavailable(CrowError):
    """A baseline whose library is not installed."""


class Baseline(Protocol):
    """A model that learns from training subjects and forecasts visits of other subjects.

    Attributes
    ----------
    name : str
        How tables and figures name the model.
    """

    name: str

    def fit(self, training: Cohort, seed: int = 0) -> Any:
        """Learn from the training subjects; returns the model itself.

        Raises
        ------
        CohortError
            If the cohort lacks something that the model needs, for instance ages.
        """

    def forecast(self, history: Cohort, targets: pd.DataFrame, draws: int = 200, seed: int = 0) -> Forecast:
        """Draw the regions of future visits.

        Parameters
        ----------
        history : Cohort
            The observed visits of each subject.
        targets : DataFrame
            One row per visit to forecast, sorted by subject and time: ``subject``, ``time`` (years since the first
            visit), ``age`` and the covariates.
        draws : int
            Draws per visit.
        seed : int
            Seed of the draws.

        Returns
        -------
        Forecast
            Draws in the order of ``targets``, in original units.
        """

    def log_prob(self, cohort: Cohort) -> pd.DataFrame | None:
        """Log-density of each visit given the subject's earlier visits (nats, original units).

        Returns
        -------
        DataFrame or None
            One row per visit: ``subject``, ``session``, ``time``, ``log_prob``. None if the model has no density.
        """


def imported(path: str, *arguments: Any) -> Callable[[], Baseline]:
    """A factory that imports ``module.Class`` or ``module.Class.method`` of this folder when it is called.

    The factory raises BaselineUnavailable if a library that the module needs is not installed.
    """

    def make() -> Baseline:
        module, *names = path.split(".")
        try:
            found = import_module(f"crow.evaluation.{module}")
            for name in names:
                found = getattr(found, name)
            return found(*arguments)  # type: ignore[operator]
        except MissingExtra as error:
            raise BaselineUnavailable(f"{error}.") from None
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "crow":
                raise
            library = error.name.partition(".")[0]
            raise BaselineUnavailable(f"{library} is not installed. Install it with: pip install {library}.") from None

    return make


SIMPLE: dict[str, Callable[[], Baseline]] = {
    "last": imported("simple_baselines.SimpleBaseline", "last visit"),
    "mean": imported("simple_baselines.SimpleBaseline", "mean of the past"),
    "slope": imported("simple_baselines.SimpleBaseline", "subject slope"),
}
MIXED_MODEL = "multivariate"
BASELINES: dict[str, Callable[[], Baseline]] = {
    **SIMPLE,
    "mixed": imported("mixed_baseline.MixedBaseline"),
    "multivariate": imported("crow_baseline.CRowBaseline.mixed_model"),
    "gru": imported("gru_baseline.GRUBaseline"),
    "cinn": imported("cinn_baseline.CINNBaseline"),
    "boosting": imported("boosting_baseline.BoostingBaseline"),
    "published": imported("crow_baseline.CRowBaseline.published"),
    "leaspy": imported("leaspy_baseline.LeaspyBaseline"),
}


def baseline_names(chosen: str | Sequence[str]) -> list[str]:
    """Names of `BASELINES` from ``all``, ``simple``, ``none`` or a selection.

    Parameters
    ----------
    chosen : str or sequence of str
        Names, or one string of names separated by commas.

    Returns
    -------
    list of str
        The names in the order given, each once.

    Raises
    ------
    ConfigError
        If a name is unknown.

    Examples
    --------
    >>> baseline_names("simple,gru")
    ['last', 'mean', 'slope', 'gru']
    """
    words = chosen.split(",") if isinstance(chosen, str) else list(chosen)
    names: list[str] = []
    for word in (word.strip() for word in words):
        group = {"all": list(BASELINES), "simple": list(SIMPLE), "none": []}.get(word, [word])
        if unknown := [name for name in group if name not in BASELINES]:
            raise ConfigError(
                f"--baselines {unknown[0]}: there is no such baseline. Choose all, simple, none, or some of "
                f"{', '.join(BASELINES)}, separated by commas."
            )
        names += [name for name in group if name not in names]
    return names


def require_libraries(chosen: str) -> None:
    """Raise MissingExtra if a baseline that is named, not one of ``all``, needs an extra that is not installed."""
    if "mixed" in (word.strip() for word in chosen.split(",")):
        require("baselines")


def with_mixed_model(chosen: str | Sequence[str]) -> list[str]:
    """`baseline_names`, with the mixed model that crow is initialised at among them.

    The one of statsmodels alone is not enough: its fit can fail, on a singular matrix.

    Examples
    --------
    >>> with_mixed_model("last")
    ['last', 'multivariate']
    """
    names = baseline_names(chosen)
    return names if not names or MIXED_MODEL in names else [*names, MIXED_MODEL]
