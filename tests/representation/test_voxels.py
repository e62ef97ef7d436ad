"""Scans as standardised voxels of a box: round trip, lower resolution, and reading on demand."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from small_stores import SHAPE, SUBJECTS, VISITS, ball, make_store

from crow.errors import CohortError, RunError
from crow.flows.voxels import VoxelFlow
from crow.representation.regions import RegionTable
from crow.representation.voxels import StoredSequences, Voxels
from crow.run.config import TrainingSettings
from crow.scans.store import ScanStore
from crow.training.fit import train


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    return make_store(tmp_path_factory.mktemp("scans") / "store", ball())


def stored(store: ScanStore, voxels: Voxels) -> StoredSequences:
    cohort = store.cohort()
    return voxels.sequences(store, cohort.visits, RegionTable.fit(cohort))


@pytest.mark.parametrize(("size", "factor"), [(None, 1), (32, 1), (8, 2), (4, 3)])
def test_the_box_contains_the_brain(store: ScanStore, size: int | None, factor: int) -> None:
    voxels = Voxels.fit(store, store.rows, size)
    assert voxels.factor == factor
    assert all(n % 4 == 0 and (size is None or n <= size) for n in voxels.mask.shape)
    x = voxels.encode(store, store.rows)
    inside = x[:, 0][:, voxels.mask]
    assert x.shape == (24, 1, *voxels.mask.shape) and x.dtype == np.float32
    assert np.abs(inside.mean(0)).max() < 1e-4 and np.abs(inside.std(0, ddof=1) - 1).max() < 1e-3
    assert (x[:, 0][:, ~voxels.mask] == 0).all()
    blocks = voxels.decode(torch.from_numpy(x))
    brain = store.array("intensity")[:] * store.mask
    assert abs(blocks[:, store.mask].mean() - brain[:, store.mask].mean()) < 0.02


def test_full_resolution_comes_back_as_it_was(store: ScanStore) -> None:
    voxels = Voxels.fit(store, store.rows, None)
    assert voxels.mask.sum() == store.mask.sum()
    back = voxels.decode(torch.from_numpy(voxels.encode(store, store.rows[:4])).view(2, 2, 1, *voxels.mask.shape))
    np.testing.assert_allclose(back.reshape(4, *SHAPE), store.array("intensity")[:4] * store.mask, atol=1e-5)


def test_a_coarse_voxel_is_the_mean_of_the_brain_in_it(store: ScanStore) -> None:
    voxels = Voxels.fit(store, store.rows, 8)
    image, i, j, k = store.array("intensity")[3], *np.argwhere(voxels.mask)[0]
    at = tuple(slice(max(c + 2 * n, 0), max(c + 2 * n + 2, 0)) for c, n in zip(voxels.corner, (i, j, k), strict=True))
    expected = image[at][store.mask[at]].mean()
    x = voxels.encode(store, np.array([3]))[0, 0, i, j, k]
    assert x * voxels.sd[i, j, k] + voxels.mean[i, j, k] == pytest.approx(expected, abs=1e-5)


def test_a_scan_as_smooth_as_the_box_comes_back(tmp_path: Path) -> None:
    """A plane is preserved at every resolution, except at the rim, where means are off the centre of the block."""
    store = make_store(tmp_path / "store", np.ones(SHAPE, bool))
    plane = (np.indices(SHAPE) * np.array([0.1, 0.2, -0.1])[:, None, None, None]).sum(0).astype(np.float32)
    voxels = Voxels.fit(store, store.rows, 8)
    store.array("intensity")[0] = plane
    back = voxels.decode(torch.from_numpy(voxels.encode(store, np.array([0]))))[0]
    np.testing.assert_allclose(back[2:-2, 2:-2, 2:-2], plane[2:-2, 2:-2, 2:-2], atol=1e-4)


def test_a_change_is_the_difference_of_two_scans(store: ScanStore) -> None:
    voxels = Voxels.fit(store, store.rows, 8)
    before, after = torch.from_numpy(voxels.encode(store, np.array([0, 1])))
    expected = voxels.decode(after) - voxels.decode(before)
    np.testing.assert_allclose(voxels.decode_change(after - before), expected, atol=1e-5)
    ones = voxels.spread(torch.ones(1, *voxels.mask.shape))
    assert np.isin(ones.round(5), [0, 1]).all() and (ones[~store.mask] == 0).all()


def test_log_jacobian_is_that_of_the_scaling(store: ScanStore) -> None:
    voxels = Voxels.fit(store, store.rows, None)
    assert voxels.log_jacobian == pytest.approx(-np.log(voxels.sd[voxels.mask]).sum(), rel=1e-5)


def test_only_the_scans_of_a_batch_are_read(store: ScanStore, monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = Voxels.fit(store, store.rows, 8)
    read: list[int] = []
    encode = Voxels.encode
    monkeypatch.setattr(Voxels, "encode", lambda self, s, rows: (read.extend(rows), encode(self, s, rows))[1])
    data = stored(store, voxels)
    assert len(data) == SUBJECTS and not read
    chosen = data.rows(torch.tensor([1, 4, 6]))
    batch = chosen[torch.tensor([2, 0])]
    assert read == [18, 19, 20, 3, 4, 5]
    assert batch.x.shape == (2, VISITS, 1, *voxels.mask.shape)
    np.testing.assert_array_equal(batch.x[1, 2], voxels.encode(store, np.array([5]))[0])
    assert data.digest() == stored(store, voxels).digest() != chosen.digest()


def test_short_sequences_are_padded_with_zeros(store: ScanStore) -> None:
    cohort = store.cohort()
    visits = cohort.visits.drop(index=[2, 4, 5])
    voxels = Voxels.fit(store, visits.index.to_numpy(), 8)
    batch = voxels.sequences(store, visits, RegionTable.fit(cohort))[slice(0, 2)]
    assert batch.mask.tolist() == [[True, True], [True, False]]
    assert bool((batch.x[1, 1] == 0).all()) and bool((batch.x[1, 0] != 0).any())


def test_a_flow_trains_on_scans_read_on_demand(store: ScanStore) -> None:
    voxels = Voxels.fit(store, store.rows, 8)
    data = stored(store, voxels)
    torch.manual_seed(0)
    flow = VoxelFlow(torch.from_numpy(voxels.mask), data.context.shape[2], depth=2, hidden=4)
    rows = torch.arange(SUBJECTS)
    settings = TrainingSettings(max_epochs=2, batch_size=3, steps_per_epoch=2, visit_dropout=0.0)
    before = flow.loss(data[rows]).item()
    flow.initialise(data.rows(rows[:6]), batch=4)
    fitted = train(flow, data.rows(rows[:6]), data.rows(rows[6:]), settings, seed=0)
    assert len(fitted.history) == 3 and fitted.history["validation"].notna().all()
    assert flow.loss(data[rows]).item() < before


def test_saved_voxels_are_the_same(store: ScanStore) -> None:
    voxels = Voxels.fit(store, store.rows, 8)
    tensors = safetensors.torch.load(safetensors.torch.save(voxels.tensors()))
    again = Voxels.from_saved(tensors, voxels.describe())
    np.testing.assert_array_equal(again.encode(store, store.rows), voxels.encode(store, store.rows))
    assert repr(again) == repr(voxels)
    with pytest.raises(RunError, match="damaged"):
        Voxels.from_saved({k: v for k, v in tensors.items() if k != "sd"}, voxels.describe())
    with pytest.raises(RunError, match="do not fit"):
        Voxels.from_saved({**tensors, "sd": tensors["sd"][1:]}, voxels.describe())


def test_another_mask_is_refused(store: ScanStore, tmp_path: Path) -> None:
    other = ball()
    other[5, 6, 4] = False
    with pytest.raises(CohortError, match="mask differs from that of the training scans"):
        Voxels.fit(store, store.rows).encode(make_store(tmp_path / "store", other), np.array([0]))


def test_scans_that_do_not_differ_are_refused(store: ScanStore) -> None:
    with pytest.raises(CohortError, match="its 3 training scans are identical"):
        Voxels.fit(store, np.array([1, 1, 1]))
    with pytest.raises(CohortError, match="voxels in the mask and 1 scans"):
        Voxels.fit(store, np.array([1]))
