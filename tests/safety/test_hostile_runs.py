"""A run folder that is damaged, or that a stranger made up, is refused with a sentence, in bounded time and memory."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from commands import done, refused
from safetensors import safe_open

import crow
from crow.errors import RunError
from crow.run.folder import FORMAT_VERSION

RUNS = Path(__file__).parents[1] / "data" / f"runs-v{FORMAT_VERSION}"
REGIONS = 2
Edit = Callable[[dict[str, Any]], object]


def forge(run: Path, edit: Edit = lambda model: None, tensors: Edit = lambda tensors: None) -> None:
    """Change the description and the tensors of a run, and all digests with them, as a stranger could."""
    model = json.loads((run / "model.json").read_text())
    with safe_open(run / "model.safetensors", framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors(found)
    edit(model)
    digest = hashlib.sha256(json.dumps(model["description"], sort_keys=True).encode()).hexdigest()
    data = safetensors.torch.save(found, {"description": digest})
    (run / "model.safetensors").write_bytes(data)
    model["sha256"] = hashlib.sha256(data).hexdigest()
    (run / "model.json").write_text(json.dumps(model))


def described(**values: Any) -> Callable[[Path], None]:
    return lambda run: forge(run, lambda model: model["description"].update(values))


def table(**values: Any) -> Callable[[Path], None]:
    return lambda run: forge(run, lambda model: model["description"]["representation"].update(values))


def schema(**values: Any) -> Callable[[Path], None]:
    return lambda run: forge(run, lambda model: model["description"]["schema"].update(values))


def model_json(**values: Any) -> Callable[[Path], None]:
    return lambda run: forge(run, lambda model: model.update(values))


def text(name: str, content: str | bytes) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda run: (run / name).write_bytes(data)


def setting(old: str, new: str) -> Callable[[Path], object]:
    def edit(run: Path) -> None:
        before = (run / "config.yaml").read_text()
        assert old in before, before
        (run / "config.yaml").write_text(before.replace(old, new, 1))

    return edit


def tensor(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def edit(tensors: dict[str, Any]) -> None:
        name = next(name for name, one in tensors.items() if one.is_floating_point() and one.numel() > 1)
        tensors[name] = change(tensors[name])

    return lambda run: forge(run, tensors=edit)


def removed(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).unlink()


DAMAGE: dict[str, Callable[[Path], object]] = {
    **{f"no {name}": removed(name) for name in (
        "config.yaml", "model.json", "model.safetensors", "metrics.json", "findings.json", "log.csv"
    )},
    **{f"empty {name}": text(name, "") for name in (
        "model.json", "model.safetensors", "metrics.json", "findings.json", "log.csv"
    )},
    **{f"bytes in {name}": text(name, b"\xff\xfe\x00\x80") for name in (
        "config.yaml", "model.json", "model.safetensors", "metrics.json", "findings.json",
    )},
    **{f"{name} nested without end": text(name, "[" * 200_000) for name in (
        "model.json", "metrics.json", "findings.json",
    )},
    "config.yaml nested without end": text("config.yaml", "[" * 20_000),
    "config.yaml of aliases that multiply": text(
        "config.yaml", "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
            f"{chr(98 + k)}: &{chr(98 + k)} [{','.join(['*' + chr(97 + k)] * 9)}]\n" for k in range(8)
        )
    ),
    "config.yaml with a Python object": text("config.yaml", "seed: !!python/object/apply:os.system ['true']\n"),
    "model.json is a list": text("model.json", "[]"),
    "model.json is a number of 5000 digits": text("model.json", "9" * 5000),
    "metrics.json is a list": text("metrics.json", "[1, 2]"),
    "findings.json is an object": text("findings.json", "{}"),
    "findings.json has numbers": text("findings.json", "[1]"),
    "log.csv is binary": text("log.csv", b"\x00\x01\x02" * 50),
    "log.csv has words": text("log.csv", "epoch,train,validation\n1,=1+1,x\n"),
    "half of the tensors": lambda run: (run / "model.safetensors").write_bytes(
        (run / "model.safetensors").read_bytes()[: (run / "model.safetensors").stat().st_size // 2]
    ),
    "a header of tensors that promises 2^60 bytes": text("model.safetensors", (2**60).to_bytes(8, "little") + b"{}"),
    "NaN tensors": tensor(lambda one: one * float("nan")),
    "infinite tensors": tensor(lambda one: one + float("inf")),
    "a tensor of another shape": tensor(lambda one: one[:1]),
    "a tensor of another type": tensor(lambda one: one.to(torch.int8)),
    "no tensors": lambda run: forge(run, tensors=lambda tensors: tensors.clear()),
    "an unknown tensor": lambda run: forge(run, tensors=lambda tensors: tensors.update(more=torch.zeros(1))),
    "a changed description": lambda run: text(
        "model.json", (run / "model.json").read_text().replace('"sex"', '"age2"', 1)
    )(run),
    "another seed in config.yaml": setting("seed: ", "seed: 1"),
    "another test share in config.yaml": setting("test: ", "test: 0.3 #"),
    "an unknown setting": setting("seed: ", "nope: 1\nseed: "),
    "a format of the future": model_json(format_version=FORMAT_VERSION + 1),
    "a format of the past": model_json(format_version=FORMAT_VERSION - 1),
    "a negative format": model_json(format_version=-1),
    "a format in words": model_json(format_version="three"),
    "a format of 1e400": model_json(format_version=10**400),
    "versions that are numbers": model_json(versions={"crow": 1}),
    "versions that are missing": lambda run: forge(run, lambda model: model.pop("versions")),
    "another seed in model.json": model_json(seed=77),
    "more than crow writes": model_json(more=1),
    "an unknown kind": described(kind="magic"),
    "a kind that is a path": described(kind="../../etc/passwd"),
    "a kind that is a list": described(kind=["regions"]),
    "a kind of another command": described(kind="classify"),
    "a million members": described(initialisations=["mixed_model"] * 1_000_000),
    "members of an unknown kind": described(initialisations=["magic"]),
    "members that are a number": described(initialisations=10**9),
    "no members": described(initialisations=[]),
    "no representation": described(representation=None),
    "no schema": described(schema=None),
    "no cohort": described(cohort=None),
    "a cohort that is a list": described(cohort=[]),
    "regions without scale": table(mean=[]),
    "a scale that is null": table(sd=[None]),
    "a scale of zero regions": table(regions=[]),
    "a scale of nothing": table(sd=[0.0, 0.0]),
    "a schema with an unknown time": schema(time_kind="eons"),
    "a schema with an unknown covariate": schema(covariates={"sex": "colour"}),
    "a schema that is a number": described(schema=3),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_or_forged_run_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(RUNS / "regions", tmp_path / "run")
    DAMAGE[name](tmp_path / "run")
    message = refused(capsys, *_words(tmp_path / "run", tmp_path))
    assert "Error" in message and len(message) < 2000
    assert not (tmp_path / "s.csv").exists()


def test_the_run_as_it_was_is_accepted(tmp_path: Path) -> None:
    """So that the others are refused for their damage."""
    done(_words(RUNS / "regions", tmp_path))
    assert (tmp_path / "s.csv").exists()


def _words(run: Path, folder: Path) -> list[str | Path]:
    rows = "".join(f"a,{70 + k},F,{k}," + ",".join(str(1.5 + k / 10) for _ in range(REGIONS)) + "\n" for k in range(2))
    header = ",".join(["subject", "age", "sex", "CDRSB", *(f"ROI{k + 1:02d}" for k in range(REGIONS))])
    (folder / "cohort.csv").write_text(f"{header}\n{rows}")
    return ["score", "--run", run, "--cohort", folder / "cohort.csv", "--out", folder / "s.csv"]


def test_a_run_with_many_blocks_in_its_settings_is_not_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even if the digests fit: settings and members together may not ask for many more layers than tensors."""
    run = tmp_path / "run"
    shutil.copytree(RUNS / "regions", run)
    setting("blocks: ", "blocks: 999 #")(run)
    digest = hashlib.sha256((run / "config.yaml").read_bytes()).hexdigest()
    described(config_sha256=digest, initialisations=["mixed_model"] * 9)(run)
    assert "layers, but it has" in refused(
        capsys, "generate", "--run", run, "--subject", "a", "--at", "1", "--out", tmp_path / "a.csv"
    )


@pytest.mark.parametrize("kind", sorted(path.name for path in RUNS.iterdir()))
@pytest.mark.parametrize("damage", ["NaN tensors", "model.json nested without end", "a format of the future"])
def test_every_kind_of_run_is_checked(
    kind: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(RUNS / kind, tmp_path / "run")
    DAMAGE[damage](tmp_path / "run")
    refused(capsys, "report", "--run", tmp_path / "run", "--out", tmp_path / "report.html")


def inputs(**values: Any) -> Edit:
    return lambda model: model["description"]["inputs"].update(values)


def store_facts(**values: Any) -> Edit:
    return lambda model: model["description"]["inputs"]["facts"].update(values)


FORGED: dict[str, tuple[str, Edit]] = {
    "grey levels without a range": ("segment", inputs(low=1.0, high=1.0)),
    "grey levels that are words": ("enhance", inputs(low="")),
    "grey levels of 10^400": ("enhance", inputs(high=10**400)),
    "facts that are a number": ("segment", inputs(facts=1e308)),
    "a slice outside the volume": ("segment", inputs(cut=[2, 10**9])),
    "a modality that is missing": ("segment", lambda model: model["description"]["inputs"]["facts"].pop("modality")),
    "a grid that is a number": ("segment", store_facts(grid=-1)),
    "settings that are a list": ("segment", store_facts(settings=[[]])),
    "a corner of two numbers": ("segment", lambda model: model["description"].update(corner=[7, 9])),
    "a corner far away": ("segment", lambda model: model["description"].update(corner=[7, 9, 10**9])),
    "a box of no size": ("segment", lambda model: model["description"].update(shape=[14, 0, 14])),
    "a box that is a word": ("segment", lambda model: model["description"].update(shape=["x", 14, 14])),
    "a label that is a word": ("segment", lambda model: model["description"].update(label="x")),
    "fewer medians than regions": ("classify", lambda model: model["description"]["inputs"]["table"]["median"].pop()),
    "a mean of 1e308": ("translate", lambda model: model["description"]["inputs"]["table"].update(mean=[1e308, 0.0])),
    "an sd of 1e308": ("translate", lambda model: model["description"]["inputs"]["table"].update(sd=[1e308, 1.0])),
    "shares of more levels": (
        "scans", lambda model: model["description"]["representation"]["covariates"][1].update(shares=[0.5, 0.3, 0.2])
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_numbers_that_do_not_fit_each_other_are_refused(name: str, tmp_path: Path) -> None:
    kind, edit = FORGED[name]
    shutil.copytree(RUNS / kind, tmp_path / "run")
    forge(tmp_path / "run", edit)
    with pytest.raises(RunError, match=r"run"):
        crow.load(tmp_path / "run")
