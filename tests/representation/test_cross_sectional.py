"""Inputs of cross-sectional flows: regions in original units, grey levels of a box or slice, read on demand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_cohorts import small_cohort
from small_stores import ball, make_store

from crow.errors import CohortError
from crow.representation.cross_sectional import RegionInputs, ScanInputs, inputs_from_saved
from crow.run.cross_sectional_config import ImageSettings
from crow.scans.store import ScanStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    return make_store(tmp_path_factory.mktemp("scans") / "store", ball())


def fitted(store: ScanStore, **settings: object) -> ScanInputs:
    return ScanInputs.fit(store, store.cohort().visits, ImageSettings.model_validate(settings), 1)


def test_regions_round_trip() -> None:
    cohort = small_cohort()
    visits = RegionInputs.fit(cohort, cohort.visits)
    examples = visits.examples(cohort, cohort.visits)
    assert examples.x.shape == (len(cohort), *visits.shape)
    np.testing.assert_allclose(visits.decode(examples.x), cohort.visits[cohort.regions], rtol=1e-5)
    np.testing.assert_allclose(examples.x.std(0), 1, atol=1e-5)
    assert visits.log_scale == pytest.approx(np.log(cohort.visits[cohort.regions].std()).sum())


@pytest.mark.parametrize("cut", [None, "axial", "coronal", "sagittal"])
def test_grey_levels_round_trip(store: ScanStore, cut: str | None) -> None:
    visits = fitted(store, size=None, slice=cut, position=8.0)
    rows = store.cohort().visits
    examples = visits.examples(store, rows)
    x = examples[torch.arange(3)].x
    assert x.shape == (3, *visits.shape)
    assert x.min() >= 0 and x.max() <= 255 and torch.equal(x, x.round())
    across = None if visits.cut is None else visits.cut[0]
    assert visits.decode(x).shape[1:] == tuple(1 if k == across else n for k, n in enumerate(visits.box.mask.shape))
    back = torch.from_numpy(visits.decode(x)).reshape(3, -1)[:, visits.mask.ravel()]
    seen = np.stack([visits._cut(visits.box.read(store, row)) for row in range(3)])[:, visits.mask]
    clipped = seen.clip(visits.low, visits.high)
    assert np.abs(back.numpy() - clipped).max() <= visits.width * 0.51


def test_the_affine_of_a_slice(store: ScanStore) -> None:
    whole, cut = fitted(store, size=None), fitted(store, size=None, slice="axial", position=8.0)
    assert cut.cut is not None
    expected = whole.affine @ [0, 0, cut.cut[1], 1]
    np.testing.assert_allclose(cut.affine[:, 3], expected)
    np.testing.assert_allclose(cut.affine[:3, :3], whole.affine[:3, :3])
    assert abs(cut.affine[2, 3] - 8.0) <= 1


def test_a_slice_outside_the_brain_is_refused(store: ScanStore) -> None:
    with pytest.raises(CohortError, match=r"images\.position 500: no brain in that axial slice"):
        fitted(store, slice="axial", position=500.0)


@pytest.mark.parametrize("cut", [None, "axial"])
def test_saving_and_loading(store: ScanStore, cut: str | None) -> None:
    visits = fitted(store, slice=cut, position=8.0)
    again = inputs_from_saved(visits.tensors(), json.loads(json.dumps(visits.describe())))
    assert isinstance(again, ScanInputs)
    rows = store.cohort().visits
    assert torch.equal(again.examples(store, rows)[:4].x, visits.examples(store, rows)[:4].x)
    np.testing.assert_array_equal(again.affine, visits.affine)


def test_scans_of_another_modality_are_refused(store: ScanStore, tmp_path: Path) -> None:
    visits = fitted(store)
    other = make_store(tmp_path / "pet", ball(), modality="pet")
    with pytest.raises(CohortError, match="modality pet; the run was trained on T1w"):
        visits.check(other)
    with pytest.raises(CohortError, match="trained on T1w scans"):
        visits.check(small_cohort())
    regions = RegionInputs.fit(small_cohort(), small_cohort().visits)
    with pytest.raises(CohortError, match="trained on a table of regions"):
        regions.examples(store, store.cohort().visits)


def test_a_batch_reads_only_its_own_scans(store: ScanStore, monkeypatch: pytest.MonkeyPatch) -> None:
    visits = fitted(store)
    examples, read = visits.examples(store, store.cohort().visits), []
    one = visits.box.read
    monkeypatch.setattr(visits.box, "read", lambda s, row: read.append(row) or one(s, row))
    first = examples[torch.tensor([5, 2])].x
    assert read == [5, 2]
    assert torch.equal(examples[torch.tensor([5, 2])].x, first) and read == [5, 2]
    monkeypatch.setattr("crow.representation.cross_sectional.CACHE_BYTES", 0)
    examples.subset(torch.tensor([7]))[:]
    examples.subset(torch.tensor([7]))[:]
    assert read == [5, 2, 7, 7]
