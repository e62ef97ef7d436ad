"""Scans as coefficients of modes: exact principal components, exact voxel densities, bounded memory."""

import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
from scipy.stats import multivariate_normal
from small_cohorts import in_memory

from crow.errors import CohortError, ConfigError, RunError
from crow.representation import modes
from crow.representation.modes import ScaledScans
from crow.representation.residual import ResidualPrior
from crow.representation.subspace import Subspace, _cross_fitted_errors
from crow.scans.grid import Grid
from crow.scans.store import DONE, ScanStore, StoreInfo

SHAPE = (9, 8, 7)
TRUE = 3


def make_store(
    path: Path, subjects: int = 24, visits: int = 3, shape: tuple[int, ...] = SHAPE, seed: int = 0, moved: float = 0
) -> ScanStore:
    """Three smooth modes, one of them a change at a rate per subject; a random pattern per subject, and noise.

    ``moved``: displacement (mm along x) of the anatomy, if not 0.
    """
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({
        "subject": np.repeat([f"s{k:03d}" for k in range(subjects)], visits),
        "age": 70 + np.tile(np.arange(visits) * 1.0, subjects),
    })  # fmt: skip
    mask = np.zeros(shape, bool)
    mask[1:-1, 1:-1, 1:-1] = True
    size = int(mask.sum())
    i = np.arange(size) / size
    patterns = np.stack([np.sin(3 * i), np.cos(5 * i), np.sin(11 * i)])
    grid = Grid.of(shape, np.diag([4.0, 4, 4, 1]))
    cohort, fields = in_memory(table, [], {}), grid if moved else None
    info = StoreInfo(modality="pet", space="x", grid=grid, velocity_grid=fields, cohort_schema=cohort.schema)
    store = ScanStore.create(path, info, cohort, np.ones(shape, np.float32), mask, velocities=False)
    for subject in range(subjects if moved else 0):
        store.array("anatomy")[subject] = np.stack([np.full(shape, moved), *np.zeros((2, *shape))])
    row = 0
    for _ in range(subjects):
        own, level, rate = generator.normal(size=size), generator.normal(size=2), generator.normal() + 0.8
        for t in range(visits):
            image = 1.5 + 0.3 * level @ patterns[:2] + 0.2 * rate * t * patterns[2] + 0.05 * own
            image += (0.03 + 0.03 * i) * generator.normal(size=size)
            volume = np.zeros(shape, np.float32)
            volume[mask] = image
            store.array("intensity")[row] = volume
            store.array("scale")[row] = (2.0, 0.1)
            store.array("status")[row] = DONE
            row += 1
    store.finish([])
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    return make_store(tmp_path_factory.mktemp("scans") / "store")


@pytest.fixture(scope="module")
def subspace(store: ScanStore) -> Subspace:
    return Subspace.fit(store, store.rows)


def past_and_last(store: ScanStore, subject: int = 0) -> tuple[np.ndarray, int]:
    rows = np.flatnonzero(store.visits["subject"] == store.subjects[subject])
    return rows[:-1], int(rows[-1])


def test_the_true_modes_are_found(store: ScanStore, subspace: Subspace) -> None:
    assert TRUE <= len(subspace.names) <= TRUE + 1
    assert subspace.validation[3] > max(subspace.validation[1], subspace.validation[2])
    assert max(subspace.validation) == 6
    assert subspace.names[0] == "mode_01"
    size = int(store.mask.sum())
    i = np.arange(size) / size
    scaled = np.sin(11 * i) / subspace.scale
    inside = np.linalg.norm(subspace.basis.T @ scaled) / np.linalg.norm(scaled)
    assert inside > 0.98, "the pattern of change lies in the subspace"
    np.testing.assert_allclose(subspace.basis.T @ subspace.basis, np.eye(len(subspace.names)), atol=1e-5)


def test_modes_are_the_principal_components_of_the_weighted_scatter(
    store: ScanStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = ScaledScans.measure(store, store.rows)
    whole = scans.gram()
    monkeypatch.setattr(modes, "CHUNK_BYTES", 5 * 4 * len(scans.mean))
    np.testing.assert_allclose(scans.gram(), whole, rtol=1e-5, atol=1e-2)
    y = scans.read(store.rows).astype(float)
    np.testing.assert_allclose(whole, y @ y.T, rtol=1e-5, atol=1e-2)
    means = np.repeat(y.reshape(24, 3, -1).mean(1), 3, 0)
    between, within = means.T @ means, (y - means).T @ (y - means)
    scatter = between / np.trace(between) + within / np.trace(within)
    expected = np.linalg.eigh(scatter)[1][:, ::-1][:, :4]
    found = scans.modes(whole, np.arange(len(y)), 4)
    np.testing.assert_allclose(np.abs(np.sum(found * expected, 0)), 1, atol=1e-4)


def test_scans_come_back_from_coefficients_and_residual(store: ScanStore, subspace: Subspace) -> None:
    coefficients = subspace.encode(store, store.rows)
    assert coefficients.dtype == np.float32 and coefficients.shape == (len(store.rows), len(subspace.names))
    decoded = subspace.decode(coefficients)
    scans = store.masked(store.rows)
    residual = (scans - decoded) / subspace.scale
    np.testing.assert_allclose(residual @ subspace.basis, 0, atol=1e-4)
    assert (scans - decoded).std() < 0.4 * scans.std(0).mean()
    assert subspace.decode(coefficients.reshape(24, 3, -1)).shape == (24, 3, len(subspace.mean))
    np.testing.assert_array_equal(subspace.volume(decoded[0])[store.mask], decoded[0])


def test_voxel_density_is_the_dense_gaussian(store: ScanStore, subspace: Subspace) -> None:
    """With a Gaussian for c, the whole visit is Gaussian over all voxels, in the scan's units."""
    past, last = past_and_last(store)
    rows = np.append(past, last)
    basis, prior, n = subspace.basis.astype(float), subspace.prior, len(past)
    c = subspace.encode(store, rows)[-1]
    centre, spread = np.full(len(c), 0.5), 1 + np.arange(len(c))
    found = multivariate_normal.logpdf(c, centre, np.diag(spread))
    gain, offset = store.array("scale")[last]
    found += subspace.remainder_log_prob(store, rows)[-1]

    p = np.eye(len(basis)) - basis @ basis.T
    y = (store.masked(past) - subspace.mean) / subspace.scale
    assert prior.bands is not None
    mean = basis @ centre + p @ prior.bands.expected((y @ p).mean(0), n)
    covariance = basis @ np.diag(spread) @ basis.T + p @ np.diag(prior.variance(n)) @ p
    unit = gain * subspace.scale
    scan = gain * store.masked(np.array([last]))[0] + offset
    mean = gain * (mean * subspace.scale + subspace.mean) + offset
    expected = multivariate_normal.logpdf(scan, mean, covariance * unit[:, None] * unit)
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_visit_is_scored_given_its_past_only(store: ScanStore, subspace: Subspace) -> None:
    all_rows = subspace.residual_log_prob(store, store.rows[:6])
    np.testing.assert_allclose(subspace.residual_log_prob(store, store.rows[:2]), all_rows[:2])
    np.testing.assert_allclose(subspace.residual_log_prob(store, store.rows[3:6]), all_rows[3:])
    first, later = all_rows[[0, 3]].mean(), all_rows[[2, 5]].mean()
    assert later > first + 20, "earlier visits show the subject's pattern"


def test_residual_prior_fits_new_subjects(store: ScanStore, subspace: Subspace, tmp_path: Path) -> None:
    new = make_store(tmp_path / "new", subjects=12, seed=5)
    z = []
    for subject in range(12):
        past, last = past_and_last(new, subject)
        c = subspace.encode(new, np.array([last]))[0]
        z.append(subspace.z_map(new, last, past, c, np.zeros_like(c))[new.mask])
    assert np.std(z) == pytest.approx(1, abs=0.1)
    share = subspace.describe()["persistence"]
    assert 0.3 < share < 0.8, "the pattern has about the variance of the noise"


def test_forecast_has_the_moments_of_the_samples(store: ScanStore, subspace: Subspace) -> None:
    past, _ = past_and_last(store)
    draws = np.random.default_rng(0).normal(size=(4000, 1, len(subspace.names)))
    samples = np.stack([maps[0] for maps in subspace.samples(store, past, draws, seed=1)])
    expected = subspace.forecast(store, past, draws[:, 0].mean(0), np.cov(draws[:, 0].T))
    np.testing.assert_allclose(samples.mean(0), expected.mean, atol=0.1 * expected.sd.mean())
    np.testing.assert_allclose(samples.std(0), expected.sd, rtol=0.1)


def test_samples_of_a_trajectory_are_correlated(store: ScanStore, subspace: Subspace) -> None:
    draws = np.zeros((300, 2, len(subspace.names)))
    maps = np.stack(list(subspace.samples(store, store.rows[:0], draws)))
    again = np.stack(list(subspace.samples(store, store.rows[:0], draws)))
    np.testing.assert_array_equal(maps, again)
    deviation = maps - maps.mean(0)
    correlation = (deviation[:, 0] * deviation[:, 1]).mean() / (deviation**2).mean()
    assert correlation == pytest.approx(subspace.describe()["persistence"], abs=0.1)


def test_saving_and_loading(store: ScanStore, subspace: Subspace, tmp_path: Path) -> None:
    safetensors.torch.save_file(subspace.tensors(), tmp_path / "s.safetensors")
    tensors = safetensors.torch.load_file(tmp_path / "s.safetensors")
    loaded = Subspace.from_saved(tensors, subspace.describe())
    rows = store.rows[:4]
    np.testing.assert_array_equal(loaded.encode(store, rows), subspace.encode(store, rows))
    np.testing.assert_array_equal(loaded.residual_log_prob(store, rows), subspace.residual_log_prob(store, rows))
    assert loaded.describe() == subspace.describe()
    with pytest.raises(RunError, match="do not fit"):
        Subspace.from_saved({**tensors, "noise": tensors["noise"][1:]}, subspace.describe())
    with pytest.raises(RunError, match="damaged"):
        Subspace.from_saved({}, subspace.describe())
    with pytest.raises(RunError, match="damaged"):
        Subspace.from_saved({**tensors, "band_noise": tensors["band_noise"][1:]}, subspace.describe())
    older = {name: tensor for name, tensor in tensors.items() if not name.startswith("band")}
    assert Subspace.from_saved(older, subspace.describe()).prior.bands is None


def test_errors_of_residuals_are_those_of_subjects_that_the_modes_are_not_fitted_to(store: ScanStore) -> None:
    """Their variance per voxel is that of new subjects; the modes of all subjects leave too little."""
    rows = store.rows
    scans = ScaledScans.measure(store, rows)
    gram, found = scans.gram(), Subspace.fit(store, rows, components=12)
    fitted = [found.prior.standardised(r[n], r[:n].sum(0), n)
              for _, r in found._residuals(store, rows) for n in range(1, len(r))]  # fmt: skip
    crossed = list(_cross_fitted_errors(scans, gram, found.prior, 0))
    assert len(crossed) == len(fitted)
    assert np.mean(np.square(crossed)) > 1.05 * np.mean(np.square(fitted))


def test_memory_does_not_grow_with_the_number_of_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as many scans add the size of the Gram matrix, not of the scans."""
    shape = (22, 26, 22)
    size = 20 * 24 * 20
    monkeypatch.setattr(modes, "CHUNK_BYTES", 4 * size * 8)
    peaks = []
    for subjects in (5, 20):
        store = make_store(tmp_path / str(subjects), subjects, 3, shape)
        tracemalloc.start()
        Subspace.fit(store, store.rows, components=4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    scans = 4 * size * (60 - 15)
    grams = 12 * 8 * 60**2
    assert peaks[1] - peaks[0] < grams + 0.1 * scans


def write_scans(store: ScanStore, subject: int, moved: float) -> None:
    """Write a subject's scans: flipped axis, 8 mm from the anatomy, other units."""
    rows = np.flatnonzero(store.visits["subject"] == store.subjects[subject])
    paths = store.visits["scan"].astype(object) if "scan" in store.visits else pd.Series([None] * len(store.visits))
    for row in rows:
        to_scan = np.eye(4)
        to_scan[0, 3] = 8
        whole = np.eye(4)
        whole[0, 3] = 8 + moved
        affine = whole @ store.info.grid.matrix @ np.array([[-1, 0, 0, SHAPE[0] - 1], *np.eye(4)[1:]])
        image = nib.Nifti1Image(2 * store.array("intensity")[int(row)][::-1] + np.float32(0.1), affine)
        paths[row] = str(store.path / f"scan{row}.nii.gz")
        nib.save(image, paths[row])
        store.array("to_scan")[int(row)] = to_scan
    store.visits["scan"] = paths


@pytest.mark.parametrize("moved", [0, 6])
def test_follow_up_is_on_the_grid_of_the_last_scan(tmp_path: Path, moved: float) -> None:
    store = make_store(tmp_path / "store", subjects=8, moved=moved)
    subspace = Subspace.fit(store, store.rows)
    write_scans(store, 1, moved)
    past, _ = past_and_last(store, 1)
    draws = subspace.encode(store, past[-1:]) + np.random.default_rng(0).normal(size=(50, len(subspace.names)))
    draws[:, 0] += 40
    scan = subspace.follow_up(store, past, draws, samples=2)
    flat = subspace.follow_up(store, past, draws, space="template", samples=2)
    inside = store.mask[::-1]
    real = np.asarray(scan.like.dataobj)
    np.testing.assert_array_equal(scan.median[~inside], real[~inside])
    assert (scan.change[~inside] == 0).all() and (scan.sd[inside] > 0).all()
    here, there = ((one.median, one.change, one.sd, *one.samples) for one in (scan, flat))
    for found, expected in zip(here, there, strict=True):
        np.testing.assert_allclose(found, expected[::-1], atol=1e-4)
    mode = 2 * subspace.scale * (subspace.basis @ (draws.mean(0) - subspace.encode(store, past[-1:])[0]))
    np.testing.assert_allclose(scan.change[::-1][store.mask], mode, atol=1e-3)
    assert np.corrcoef(scan.median[inside] - real[inside], scan.change[inside])[0, 1] > 0.9
    (store.path / f"scan{past[-1]}.nii.gz").unlink()
    with pytest.raises(CohortError, match="cannot be read"):
        subspace.follow_up(store, past, draws)


def test_bad_cohorts_are_refused(store: ScanStore, subspace: Subspace, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="0 training subjects have two or more scans"):
        Subspace.fit(store, store.rows[::3])
    with pytest.raises(ConfigError, match="allow at most"):
        Subspace.fit(store, store.rows, components=70)
    other = make_store(tmp_path / "other", 3, 2, (8, 8, 8))
    with pytest.raises(CohortError, match="mask differs from that of the training scans"):
        subspace.encode(other, other.rows)


def test_few_subjects_are_enough(tmp_path: Path) -> None:
    store = make_store(tmp_path / "few", subjects=3, visits=2)
    subspace = Subspace.fit(store, store.rows)
    assert np.isfinite(subspace.residual_log_prob(store, store.rows)).all()
    assert isinstance(subspace.prior, ResidualPrior)
