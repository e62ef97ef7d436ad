"""Libraries that only some tasks need: the extra that installs each, and one sentence if it is missing.

Every import of such a library is inside ``with extra(...)``::

    with extra("scans"):
        import nibabel as nib

This imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from crow.errors import MissingExtra

EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "scans": ("Scans need", ("nibabel", "nilearn", "dipy", "zarr", "monai")),
    "report": ("Figures and reports need", ("matplotlib", "jinja2", "PIL", "tensorboard")),
    "cluster": ("A cluster needs", ("distributed", "dask", "dask_jobqueue", "cloudpickle")),
    "baselines": ("The linear mixed model of --baselines needs", ("statsmodels",)),
    "boosting": ("Boosting with LightGBM needs", ("lightgbm",)),
    "explore": ("crow explore needs", ("starlette", "uvicorn")),
    "excel": ("An Excel workbook needs", ("openpyxl",)),
    "parquet": ("A Parquet file needs", ("pyarrow",)),
    "xarray": ("Forecast.to_xarray needs", ("xarray",)),
}
"""For each extra: the start of the sentence, and the packages that it installs, by the name that is imported."""
DISTRIBUTIONS = {"PIL": "pillow", "dask_jobqueue": "dask-jobqueue"}


@contextmanager
def extra(name: str, file: Path | None = None) -> Iterator[None]:
    """Turn the failed import of a library of this extra into MissingExtra; ``file`` is the one that needs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS[name][1]:
            raise
        place = f"{file}: " if file else ""
        raise MissingExtra(place + _sentence(name, library)) from None


def require(name: str, *libraries: str) -> None:
    """Raise MissingExtra unless these libraries (default: all) of an extra are installed; nothing is imported.

    For a command that imports the library only after long work.
    """
    for library in libraries or EXTRAS[name][1]:
        if not installed(library):
            raise MissingExtra(_sentence(name, library))


def installed(library: str) -> bool:
    """Whether a package can be imported."""
    try:
        return find_spec(library) is not None
    except ValueError:  # it was set to None in sys.modules
        return False


def _sentence(name: str, library: str) -> str:
    return (
        f"{EXTRAS[name][0]} {DISTRIBUTIONS.get(library, library)}, which is not installed: "
        f"pip install 'crow-longitudinal[{name}]'"
    )
