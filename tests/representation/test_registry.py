"""The contract of every registered representation, and how one is added: a subclass and a line in the registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_stores import ball, make_store, with_files
from torch import Tensor

import crow
from crow.errors import CohortError, ConfigError
from crow.representation.base import ScanRepresentation
from crow.representation.follow_up import FollowUp
from crow.representation.registry import REPRESENTATIONS, representation_for
from crow.representation.scan_space import ScanSpace
from crow.representation.subspace import Subspace
from crow.run.config import Config
from crow.scans.compatibility import require_same_mask
from crow.scans.store import ScanStore


class MeanIntensity(ScanRepresentation):
    """The smallest representation: one coefficient, the mean of the masked voxels."""

    kind = "mean"

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask

    @classmethod
    def suits(cls, store: ScanStore) -> bool:
        return store.info.modality == "CBF"

    @classmethod
    def check(cls, store: ScanStore) -> None:
        if store.info.modality != "CBF":
            raise CohortError(f"{store.path}: scans of modality {store.info.modality}; CBF is needed. Use such scans.")

    @classmethod
    def fit(cls, store: ScanStore, rows: NDArray[np.int64], components: int | None = None, seed: int = 0) -> Self:
        return cls(store.mask)

    @property
    def names(self) -> list[str]:
        return ["mean_intensity"]

    def encode(self, store: ScanStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        require_same_mask(store, self.mask)
        return store.masked(rows).mean(1, keepdims=True)

    def follow_up(
        self, store: ScanStore, past: NDArray[np.int64], draws: NDArray[np.floating], space: Any = "native",
        samples: int = 0, seed: int = 0,
    ) -> FollowUp:  # fmt: skip
        target = ScanSpace(store, int(past[-1]), space)
        last = target.values()
        change = np.full_like(last, target.gain * (np.median(draws) - self.encode(store, past[-1:])[0, 0]))
        sd = np.full_like(last, target.gain * draws.std())
        return FollowUp(target.like, last + change, change, sd, [last + change] * samples)

    def z_map(
        self, store: ScanStore, row: int, past: NDArray[np.int64], mean: NDArray[np.floating], sd: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        image = np.asarray(store.array("intensity")[row])
        return np.where(self.mask, (image - mean[0]) / sd[0], 0).astype(np.float32)

    def tensors(self) -> dict[str, Tensor]:
        return {"mask": torch.from_numpy(self.mask)}

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_saved(cls, tensors: dict[str, Tensor], description: dict[str, Any]) -> Self:
        return cls(tensors["mask"].numpy())


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"mean": MeanIntensity, **REPRESENTATIONS}
    monkeypatch.setattr("crow.representation.registry.REPRESENTATIONS", found)
    monkeypatch.setattr("crow.models.scans.REPRESENTATIONS", found)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    return with_files(make_store(tmp_path_factory.mktemp("scans") / "store", ball(), modality="CBF"))


@pytest.mark.parametrize("kind", [MeanIntensity, Subspace])
def test_contract(store: ScanStore, kind: type[ScanRepresentation]) -> None:
    rows = store.rows
    basis = kind.fit(store, rows, seed=1)
    coefficients = basis.encode(store, rows)
    assert coefficients.shape == (len(rows), len(basis.names)) and coefficients.dtype == np.float32
    np.testing.assert_array_equal(basis.encode(store, rows[[4, 7]]), coefficients[[4, 7]])
    np.testing.assert_array_equal(kind.fit(store, rows, seed=1).encode(store, rows), coefficients)
    loaded = kind.from_saved(basis.tensors(), json.loads(json.dumps(basis.describe())))
    np.testing.assert_array_equal(loaded.encode(store, rows), coefficients)
    draws = coefficients[2] + np.random.default_rng(0).normal(size=(20, len(basis.names)))
    scan = basis.follow_up(store, rows[:2], draws, space="template", samples=3)
    assert scan.median.shape == scan.sd.shape == store.info.grid.shape and len(scan.samples) == 3
    z = basis.z_map(store, 2, rows[:2], coefficients[2], np.ones(len(basis.names)))
    assert z.shape == store.info.grid.shape and (z[~store.mask] == 0).all()
    remainder = basis.remainder_log_prob(store, rows)
    assert remainder is None or (remainder.shape == (len(rows),) and np.isfinite(remainder).all())


def test_representations_are_chosen_by_name_or_by_the_store(store: ScanStore, tmp_path: Path) -> None:
    assert representation_for("auto", store) is MeanIntensity
    assert representation_for("subspace", store) is Subspace
    t1w = make_store(tmp_path / "t1w", ball())
    assert representation_for("auto", t1w) is Subspace, "a structural store without velocities"
    with pytest.raises(CohortError, match="CBF is needed"):
        representation_for("mean", t1w)
    with pytest.raises(CohortError, match="prepared without deformations"):
        representation_for("deformation", t1w)
    with pytest.raises(ConfigError, match=r"'wavelets' is unknown\. Choose auto, voxels, mean, deformation"):
        representation_for("wavelets", t1w)


def test_a_model_trains_with_a_registered_representation(store: ScanStore, tmp_path: Path) -> None:
    settings = {"scans": {"representation": "mean"}, "model": {"members": 1}, "training": {"max_epochs": 1}}
    model = crow.ScanModel(Config.model_validate(settings)).fit(store, tmp_path / "run")
    assert model.representation == "mean" and not model.relative
    table = model.log_prob(store)
    assert table["log_prob"].notna().all() and "residual" not in table, "only coefficients have a density"
    future = store.cohort().visits[["subject", "time"]].tail(1).assign(time=4.0)
    forecast = model.forecast(store, future, draws=20)
    assert model.follow_up(store, forecast, 0, space="template").median.shape == store.info.grid.shape
    loaded = crow.load(tmp_path / "run")
    assert isinstance(loaded, crow.ScanModel)
    np.testing.assert_allclose(loaded.log_prob(store)["log_prob"], table["log_prob"], rtol=1e-5)
