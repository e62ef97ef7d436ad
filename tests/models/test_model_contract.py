"""What every model does: fit returns it, a saved one gives equal answers, and mistakes are named before any work."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from model_cases import ModelCase, model_cases
from sklearn.base import clone

import crow
from crow.errors import ConfigError, OutputError, RunError
from crow.models.registry import MODELS, model_class
from crow.scans.store import ScanStore

KINDS = list(MODELS)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelCase]:
    torch.set_num_threads(1)
    return model_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def fitted(cases: dict[str, ModelCase], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        kind: (case.fit(case.model(kind, seed=3), out=folder / kind), folder / kind) for kind, case in cases.items()
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
        return True
    return bool(np.array_equal(one, other))


def digest(data: Any) -> str:
    """Changes with any value of a cohort or file of a store."""
    if isinstance(data, ScanStore):
        files = sorted(path for path in data.path.rglob("*") if path.is_file())
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return data.visits.to_csv() + repr(data.schema)


def test_there_is_a_case_for_every_kind(cases: dict[str, ModelCase]) -> None:
    assert set(cases) == set(MODELS)


@pytest.mark.parametrize("kind", KINDS)
def test_fit_returns_the_model_and_writes_a_run(fitted: dict[str, tuple[Any, Path]], kind: str) -> None:
    model, folder = fitted[kind]
    assert type(model) is model_class(kind)
    assert (folder / "model.safetensors").exists() and not (folder / "checkpoints").exists()
    assert model.interrupted is False
    assert len(model.log) >= 1 and model.metrics["epoch" if kind not in ("regions", "scans") else "members"] is not None
    assert "not fitted" not in repr(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_gives_equal_answers(
    cases: dict[str, ModelCase], fitted: dict[str, tuple[Any, Path]], tmp_path: Path, kind: str
) -> None:
    model, folder = fitted[kind]
    answer = cases[kind].ask(model)
    loaded = crow.load(folder)
    assert type(loaded) is type(model) and loaded.config == model.config and repr(loaded) == repr(model)
    assert same(cases[kind].ask(loaded), answer)
    loaded.save(tmp_path / "copy")
    assert same(cases[kind].ask(type(model).load(tmp_path / "copy")), answer)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_answer(
    cases: dict[str, ModelCase], fitted: dict[str, tuple[Any, Path]], kind: str
) -> None:
    case = cases[kind]
    before = digest(case.data)
    again = case.fit(case.model(kind, seed=3))
    assert same(case.ask(again), case.ask(fitted[kind][0]))
    other = case.fit(case.model(kind, seed=4))
    with pytest.raises(AssertionError):
        assert same(case.ask(other), case.ask(again))
    assert digest(case.data) == before, "fitting and asking leave the data as they are"


@pytest.mark.parametrize("kind", KINDS)
def test_an_unfitted_model_says_so(cases: dict[str, ModelCase], tmp_path: Path, kind: str) -> None:
    model = cases[kind].model(kind)
    assert "not fitted" in repr(model)
    with pytest.raises(RunError, match="not fitted yet"):
        cases[kind].ask(model)
    with pytest.raises(RunError, match="not fitted yet"):
        model.save(tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_setting_is_named_with_the_nearest_one(cases: dict[str, ModelCase], kind: str) -> None:
    with pytest.raises(ConfigError, match=r"no setting training\.max_epoch\. Did you mean training\.max_epochs\?"):
        cases[kind].model(kind, training={"max_epoch": 3})
    with pytest.raises(ConfigError, match="Did you mean seed"):
        cases[kind].model(kind, sed=3)
    config = cases[kind].model(kind).config
    with pytest.raises(ConfigError, match="seed are given beside a complete"):
        model_class(kind)(config, seed=7)


@pytest.mark.parametrize("kind", KINDS)
def test_an_existing_run_stays(cases: dict[str, ModelCase], fitted: dict[str, tuple[Any, Path]], kind: str) -> None:
    folder = fitted[kind][1]
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        cases[kind].fit(cases[kind].model(kind), out=folder)
    with pytest.raises(OutputError, match="exists already"):
        fitted[kind][0].save(folder)
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_of_scikit_learn(cases: dict[str, ModelCase], kind: str) -> None:
    model = cases[kind].model(kind, seed=5)
    assert model.get_params(deep=False)["seed"] == 5
    twin = clone(model)
    assert type(twin) is type(model) and twin.config == model.config and twin.flow is None
    twin.set_params(seed=6, training__max_epochs=9)
    assert twin.config.seed == 6 and twin.config.training.max_epochs == 9
    assert twin.get_params()["training__max_epochs"] == 9
    assert model.config.training.max_epochs == 1, "a clone shares nothing"
    with pytest.raises(ConfigError, match="Did you mean"):
        twin.set_params(training__max_epoch=1)


def test_a_run_of_another_kind_is_refused(fitted: dict[str, tuple[Any, Path]]) -> None:
    with pytest.raises(RunError, match="a run of crow classify, not of crow synthesize"):
        crow.Synthesizer.load(fitted["classify"][1])
    with pytest.raises(RunError, match="a run of crow train, not of crow translate"):
        crow.Translator.load(fitted["regions"][1])
