"""A run folder: one fitted model with all that is needed to use, evaluate and repeat it. Reading one runs no code.

    config.yaml        the resolved settings; the description has their digest
    model.safetensors  every tensor; its header holds the digest of model.json's description
    model.json         format and versions, seed, columns and scalers, the digest of model.safetensors
    metrics.json  findings.json  log.csv  logs/

During training there is only config.yaml, checkpoints/ and logs/. No subject's name, row or value is stored.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from crow import __version__
from crow.errors import ConfigError, OutputError, RunError
from crow.files import check_free, read_text, writing
from crow.ownership import is_own
from crow.processes import is_first
from crow.run.config import Config, Kind, dump_config
from crow.run.cross_sectional_config import CrossSectionalConfig, load_any

if TYPE_CHECKING:  # torch and pandas take seconds to import, and a damaged run is refused without them
    import pandas as pd
    from torch import Tensor

    from crow.cohort.cohort import Finding

FORMAT_VERSION = 5
CONFIG = "config_sha256"  # in the description: the digest of config.yaml, which decides the test subjects
LOSSES = ("epoch", "train", "validation")  # columns of the log
NUMBERS = ("_per_visit", "_loss", "epoch", "visits", "test_subjects")  # ends of the names of metrics
FILES = ("config.yaml", "model.safetensors", "model.json", "metrics.json", "findings.json", "log.csv")


@dataclass(frozen=True)
class Run:
    """The pieces of a run: ``description`` (JSON values: schema, columns, scalers) goes with ``tensors``.

    ``findings`` are the reader's, reduced to code, severity, column and number of rows. ``finished`` is False for a
    training that Ctrl-C ended: usable, and still to be resumed. ``versions`` and ``git`` are filled in by `load_run`.
    """

    config: Config | CrossSectionalConfig
    tensors: dict[str, Tensor]
    description: dict[str, Any]
    metrics: dict[str, Any]
    log: pd.DataFrame
    findings: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = True
    versions: dict[str, str] = field(default_factory=dict)
    git: str | None = None


class ModelFile(BaseModel):
    """What model.json holds."""

    model_config = ConfigDict(extra="forbid")

    format_version: int
    versions: dict[str, str]
    git: str | None
    seed: int
    finished: bool
    sha256: str
    description: dict[str, Any]


def start_run(folder: str | Path, config: Config | CrossSectionalConfig, overwrite: bool = False) -> None:
    """Make the folder of a new training; raises OutputError if it exists and may not be replaced."""
    folder = Path(folder)
    check_place(folder, overwrite)
    with writing(folder, overwrite, "run") as temporary:
        (temporary / "checkpoints").mkdir(parents=True)
        (temporary / "config.yaml").write_text(dump_config(config), encoding="utf-8")


def check_place(folder: str | Path, overwrite: bool = False) -> None:
    """Raise OutputError if a new run may not be written at ``folder``."""
    folder = Path(folder)
    if (folder / "checkpoints").is_dir() and not overwrite and is_first():
        raise OutputError(
            f"{folder}: a training was started here. Continue it with --resume or replace it with --overwrite."
        )
    check_free(folder, overwrite, "run")


def unfinished_config(folder: str | Path, kind: type[Kind]) -> Kind:
    """The settings of a training to resume; raises RunError if there is none, or if it is one of another command."""
    folder = Path(folder)
    if not (folder / "checkpoints").is_dir():
        reason = "training has finished" if (folder / "model.json").exists() else "no training was started here"
        raise RunError(f"{folder}: {reason}, so there is nothing to resume. Leave --resume out.")
    config = read_config(folder)
    if not is_own(folder / "config.yaml"):
        raise RunError(
            f"{folder / 'config.yaml'}: changed since the training began, so it cannot be continued as it began. "
            "Restore the file, or train again with --overwrite."
        )
    if not isinstance(config, kind):
        raise RunError(f"{folder}: the training of another model. Resume it with the command that started it.")
    return config


def save_run(folder: str | Path, run: Run, overwrite: bool = False) -> None:
    """Write a run beside its place, then rename it; a folder that `start_run` made is completed.

    Raises OutputError if another run exists and ``overwrite`` is not set, or if the disk refuses.
    """
    import safetensors.torch

    folder = Path(folder)
    unfinished = (folder / "checkpoints").is_dir()
    keeping = (lambda name: not run.finished or name != "checkpoints") if unfinished else None
    with writing(folder, overwrite, "run", keeping) as temporary:
        temporary.mkdir()
        config = dump_config(run.config)
        description = json.loads(_json({**run.description, CONFIG: _sha256(config)}))
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in run.tensors.items()}
        data = safetensors.torch.save(tensors, {"description": _digest(description)})
        (temporary / "model.safetensors").write_bytes(data)
        model = ModelFile(
            format_version=FORMAT_VERSION,
            versions=_versions(),
            git=_git_revision(),
            seed=run.config.seed,
            finished=run.finished,
            sha256=hashlib.sha256(data).hexdigest(),
            description=description,
        )
        (temporary / "config.yaml").write_text(config, encoding="utf-8")
        (temporary / "model.json").write_text(_json(model.model_dump()), encoding="utf-8")
        (temporary / "metrics.json").write_text(_json(_finite(run.metrics)), encoding="utf-8")
        (temporary / "findings.json").write_text(_json(run.findings), encoding="utf-8")
        run.log.to_csv(temporary / "log.csv", index=False)


def load_run(folder: str | Path) -> Run:
    """Read a run and check that it is whole.

    Raises RunError for a folder that is missing, unfinished, truncated, changed since it was written, or from a newer
    crow.
    """
    import pandas as pd

    folder = Path(folder)
    _check_files(folder)
    model = _read_model(folder / "model.json")
    tensors = _read_tensors(folder / "model.safetensors", model)
    try:
        log = pd.read_csv(folder / "log.csv")
    except (ValueError, OSError) as error:
        raise RunError(f"{folder / 'log.csv'}: cannot be read: {error}. Restore the file or train again.") from None
    _check_log(folder / "log.csv", log)
    return Run(
        config=_config_of(folder, model),
        tensors=tensors,
        description={name: value for name, value in model.description.items() if name != CONFIG},
        metrics=_checked_metrics(folder / "metrics.json"),
        log=log,
        findings=_checked_findings(folder / "findings.json"),
        finished=model.finished,
        versions=model.versions,
        git=model.git,
    )


def read_description(folder: str | Path) -> dict[str, Any]:
    """The description in model.json, without the tensors; raises RunError if there is no run."""
    folder = Path(folder)
    _check_files(folder)
    return _read_model(folder / "model.json").description


def anonymous(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as a run may keep them: what kind and how many rows, not which subjects or values."""
    return [{"code": f.code, "severity": f.severity, "column": f.column, "rows": len(f.rows)} for f in findings]


def sha256(path: str | Path) -> str:
    """The digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_files(folder: Path) -> None:
    if folder.is_file() and folder.suffix.lower() == ".zip":
        raise RunError(f"{folder}: a zip file. Unpack it first: python -m zipfile -e {folder} {folder.stem}")
    if not folder.is_dir():
        raise RunError(f"{folder}: there is no such run folder. Give the folder that crow train --out wrote.")
    if not (folder / "model.json").exists() and (folder / "checkpoints").is_dir():
        raise RunError(
            f"{folder}: training has not finished. Continue it with --resume --out {folder} and the command that "
            "started it."
        )
    missing = [name for name in FILES if not (folder / name).is_file()]
    if len(missing) == len(FILES):
        raise RunError(f"{folder}: not a run folder: it has none of {', '.join(FILES)}.")
    if missing:
        raise RunError(f"{folder}: {', '.join(missing)} missing. Restore the whole folder or train again.")


def _read_model(path: Path) -> ModelFile:
    content = _read_json(path)
    found = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(found, int) and found > FORMAT_VERSION:
        versions = content.get("versions")
        writer = versions.get("crow") if isinstance(versions, dict) else None
        raise RunError(
            f"{path}: run format {found}, newer than format {FORMAT_VERSION} that crow {__version__} reads. "
            f"Install crow {writer or 'in a newer version'} or newer."
        )
    if isinstance(found, int) and found < FORMAT_VERSION:
        raise RunError(
            f"{path}: run format {found}, of a version of crow that was never released; format {FORMAT_VERSION} is "
            "needed. Train again."
        )
    try:
        return ModelFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise RunError(f"{path}: {where}: {first['msg']}. Restore the file or train again.") from None


def _read_tensors(path: Path, model: ModelFile) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: truncated or damaged ({error}). Restore the file or train again.") from None
    if sha256(path) != model.sha256:
        raise RunError(f"{path}: not the file that model.json was written with: it was changed. Restore both files.")
    # The bounds of a region without bounds are infinite.
    if bad := [n for n, t in tensors.items() if t.isnan().any() or (".bounds." not in n and t.isinf().any())]:
        raise RunError(f"{path}: tensor {bad[0]} has NaN or infinite values. Restore the file or train again.")
    if metadata.get("description") != _digest(model.description):
        raise RunError(
            f"{path.with_name('model.json')}: its columns or scalers are not those that {path.name} was "
            "fitted with: it was changed. Restore both files."
        )
    return tensors


def read_config(folder: Path) -> Config | CrossSectionalConfig:
    """The settings of a run folder; raises RunError."""
    try:
        return load_any(folder / "config.yaml")
    except ConfigError as error:
        raise RunError(f"{error} Restore the file as the training wrote it.") from None


def _config_of(folder: Path, model: ModelFile) -> Config | CrossSectionalConfig:
    """The settings of a finished run, if they are those that it was trained with; raises RunError."""
    config = read_config(folder)
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    if model.description.get(CONFIG, _sha256(text)) != _sha256(text) or model.seed != config.seed:
        raise RunError(
            f"{folder / 'config.yaml'}: changed since the training: its settings are not those of the model. Restore "
            "the file, or train again with the settings that you need."
        )
    return config


def _read(path: Path, kind: type) -> Any:
    """The content of a JSON file that has to be an object or a list of objects; raises RunError."""
    content = _read_json(path)
    items = content if isinstance(content, list) else []
    if not isinstance(content, kind) or not all(isinstance(item, dict) for item in items):
        what = "an object" if kind is dict else "a list of objects"
        raise RunError(f"{path}: not what crow writes there, which is {what}. Restore the file or train again.")
    return content


def _check_log(path: Path, log: pd.DataFrame) -> None:
    """Raise RunError unless the log has the losses of epochs."""
    epochs = log.drop(columns="member", errors="ignore")
    if missing := [name for name in LOSSES if name not in log]:
        raise RunError(f"{path}: has no column {', '.join(missing)}. Restore the file or train again.")
    for name in epochs.columns:
        if epochs[name].dtype.kind not in "fiu" or (epochs[name].abs() == math.inf).any():
            raise RunError(f"{path}: column {name} has text or infinite values. Restore the file or train again.")
    if len(log) and (log["epoch"].isna().any() or log["validation"].isna().all()):
        raise RunError(f"{path}: an epoch or the validation losses are missing. Restore the file or train again.")


def _checked_metrics(path: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = _read(path, dict)
    members = metrics.get("members", [])
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise RunError(f"{path}: members is not a list of objects. Restore the file or train again.")
    for name, value in metrics.items():
        if name.endswith(NUMBERS) and not (value is None or isinstance(value, int | float)):
            raise RunError(f"{path}: {name} is not a number. Restore the file or train again.")
    return metrics


def _checked_findings(path: Path) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = _read(path, list)
    for one in findings:
        words = (one.get(name) for name in ("code", "severity", "column"))
        rows = one.get("rows", 0)
        if not all(word is None or isinstance(word, str) for word in words) or not isinstance(rows, int):
            raise RunError(f"{path}: a finding has not the values that crow writes. Restore the file or train again.")
    return findings


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise RunError(f"{path}, {place}: truncated or damaged ({error.msg}). Restore it or train again.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read: {error}. Restore the file or train again.") from None


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=lambda array: array.tolist()) + "\n"


def _digest(description: dict[str, Any]) -> str:
    return _sha256(json.dumps(description, sort_keys=True))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _finite(value: Any) -> Any:
    """JSON has no NaN: what could not be computed is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("lightning", "numpy", "pandas", "safetensors")}
    return {"crow": __version__, **packages, "torch": version("torch"), "python": platform.python_version()}


def _git_revision() -> str | None:
    """The commit that crow runs from, if it runs from its own checkout."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
