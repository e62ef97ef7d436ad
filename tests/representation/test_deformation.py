"""Deformation coefficients recover the true change, and a follow-up is the warped last scan."""

import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from scipy import ndimage
from small_cohorts import in_memory

from crow.cohort.covariate_paths import future_visits
from crow.errors import CohortError, RunError
from crow.explore.explorer import SHARES
from crow.explore.question import Course, Question
from crow.explore.scan_explorer import ScanExplorer
from crow.explore.wording import Source
from crow.models.scan_state import ScanState
from crow.models.scans import ScanModel
from crow.representation import velocity_modes
from crow.representation.deformation import Deformation
from crow.representation.structure_volumes import NAMES, log_volumes, registration_error
from crow.representation.velocity_modes import VelocityModes
from crow.scans import deform
from crow.scans.grid import Grid
from crow.scans.store import DONE, ScanStore, StoreInfo
from crow.scans.template import load_template

SUBJECTS, VISITS = 8, 3
VENTRICLES = np.array([0.0, -15, 12])


def true_modes(nodes):
    """Two modes of change: growing ventricles (points move to their centre), and a smooth swirl."""
    x = nodes.points() - VENTRICLES[:, None, None, None].astype(np.float32)
    near = np.exp(-(x**2).sum(0) / (2 * 25**2))
    swirl = np.stack([x[1], -x[0], 0 * x[2]])
    return np.stack([-0.2 * x * near, 0.12 * swirl * near])


def smooth(rng, shape, width):
    noise = ndimage.gaussian_filter(rng.normal(size=shape), width)
    return (noise / noise.std()).astype(np.float32)


@pytest.fixture(scope="module")
def amounts():
    """True amounts of each mode ``[subject, visit, 2]``, 0 at the first visit."""
    rate = np.random.default_rng(3).uniform(0.4, 1, size=(SUBJECTS, 1, 2))
    return rate * np.arange(VISITS)[:, None] * np.array([1, -1])


@pytest.fixture(scope="module")
def store(tmp_path_factory, amounts):
    folder = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)
    template = load_template(6.0)
    grid = template.grid
    nodes = grid.coarser(8.0)
    names = np.repeat([f"s{k}" for k in range(SUBJECTS)], VISITS)
    table = pd.DataFrame({"subject": names, "age": 70.0 + np.tile(np.arange(VISITS), SUBJECTS)})
    cohort = in_memory(table, [], {})
    cohort.visits["scan"] = [str(folder / f"{k}.nii.gz") for k in range(len(table))]
    schema = cohort.schema.model_copy(update={"scan": "scan"})
    cohort.schema = schema
    info = StoreInfo(modality="T1w", space="x", grid=grid, velocity_grid=nodes, cohort_schema=schema)
    store = ScanStore.create(folder / "store", info, cohort, template.t1, template.mask)
    change = true_modes(nodes)
    to_scan = np.diag([1.1, 1.1, 1.1, 1.0])
    to_scan[:3, 3] = [3, -2, 1]
    own = Grid.of(grid.shape, to_scan @ grid.matrix @ np.diag([-1, 1, 1, 1]) @ _from_end(grid.shape[0]))
    for s in range(SUBJECTS):
        v = np.stack([1.5 * smooth(rng, nodes.shape, 3) for _ in range(3)])
        store.array("anatomy")[s] = deform.exponential(-v, nodes)
        for t in range(VISITS):
            w = np.tensordot(amounts[s, t], change, 1).astype(np.float32)
            moved = deform.compose(deform.exponential(w, nodes), deform.exponential(v, nodes), nodes)
            image = deform.warp(template.t1, grid, moved, nodes) + np.float32(0.005) * rng.normal(size=grid.shape)
            row = s * VISITS + t
            store.array("intensity")[row] = image
            noise = 0.0 if t == 0 else 0.1
            store.array("velocity")[row] = w + noise * np.stack([smooth(rng, nodes.shape, 2) for _ in range(3)])
            store.array("scale")[row] = (500.0, 0.0)
            store.array("to_scan")[row] = to_scan
            store.array("status")[row] = DONE
            nib.save(nib.Nifti1Image(500 * image[::-1].astype(np.float32), own.matrix), cohort.visits["scan"][row])
    store.finish([])
    return ScanStore.open(folder / "store")


def _from_end(n):
    flip = np.eye(4)
    flip[0, 3] = 1 - n
    return flip


@pytest.fixture(scope="module")
def rows(store):
    return store.rows


@pytest.fixture(scope="module")
def basis(store, rows):
    return Deformation.fit(store, rows[: 6 * VISITS], components=2)


def test_coefficients_recover_the_true_change(store, rows, basis, amounts):
    nodes = store.info.velocity_grid
    seen = np.abs(velocity_modes.metric_root(store, nodes)).max((0, 1)) > 0
    for row in rows[7 * VISITS :]:
        c = basis.encode(store, np.array([row]))[0]
        true = np.tensordot(amounts[row // VISITS, row % VISITS], true_modes(nodes), 1)
        if row % VISITS == 0:
            assert (c == 0).all()
        else:
            found = basis.velocity(c)
            assert np.corrcoef(found[:, seen].ravel(), true[:, seen].ravel())[0, 1] > 0.9
            assert 0.8 < (found * true)[:, seen].sum() / (true**2)[:, seen].sum() < 1.2


def test_coefficients_do_not_depend_on_other_rows(store, rows, basis):
    every = basis.encode(store, rows)
    np.testing.assert_array_equal(basis.encode(store, rows[[4, 22]]), every[[4, 22]])


def test_modes_are_orthogonal_in_the_metric_and_do_not_depend_on_chunks(store, rows, monkeypatch):
    nodes = store.info.velocity_grid
    later = rows[rows % VISITS > 0]
    years = (later % VISITS).astype(float)
    whole = VelocityModes.fit(store, later, years, nodes, 3)
    monkeypatch.setattr(velocity_modes, "CHUNK", 5)
    parts = VelocityModes.fit(store, later, years, nodes, 3)
    np.testing.assert_allclose(np.abs(parts.fields), np.abs(whole.fields), atol=1e-4)
    assert (np.diff(whole.share[1:]) <= 0).all()
    assert whole.share[:2].sum() > 0.9
    root = velocity_modes.metric_root(store, nodes)
    features = np.einsum("ij...,ki...->kj...", root, whole.fields).reshape(3, -1)
    np.testing.assert_allclose(features @ features.T, np.eye(3), atol=0.1)


def test_velocities_of_a_pair_of_chunks_are_read_once(store, rows, monkeypatch):
    names, array = [], ScanStore.array
    monkeypatch.setattr(ScanStore, "array", lambda self, name: names.append(name) or array(self, name))
    monkeypatch.setattr(velocity_modes, "CHUNK", 5)
    VelocityModes.fit(store, rows[:15], np.ones(15), store.info.velocity_grid, 2)
    assert names.count("velocity") == 15 + (10 + 5) + 15  # all, with those after them, and for the fields


def test_saving_and_loading(store, rows, basis, tmp_path):
    safetensors.torch.save_file(basis.tensors(), tmp_path / "basis.safetensors")
    read = safetensors.torch.load_file(tmp_path / "basis.safetensors")
    loaded = Deformation.from_saved(read, basis.describe())
    np.testing.assert_array_equal(loaded.encode(store, rows[:3]), basis.encode(store, rows[:3]))
    assert (loaded.names, repr(loaded)) == (["mode_01", "mode_02", *NAMES], repr(basis))
    with pytest.raises(RunError, match="damaged"):
        Deformation.from_saved({name: read[name] for name in ("modes", "duals")}, basis.describe())
    for older in ({"modes": read["modes"]}, {**read, "structures": torch.zeros(14, 14)}):
        with pytest.raises(RunError, match="earlier version"):
            Deformation.from_saved(older, basis.describe())
    with pytest.raises(RunError, match="do not fit"):
        Deformation.from_saved(read, {**basis.describe(), "components": 3})


@pytest.mark.parametrize("space", ["native", "template"])
def test_a_follow_up_is_the_warped_last_scan(store, rows, basis, space):
    past, target = rows[21:23], int(rows[23])
    c = basis.encode(store, rows[23:24])[0]
    rng = np.random.default_rng(0)
    near = 0.02 * np.r_[np.full(2, np.abs(c[:2]).max()), np.full(14, np.abs(c[2:]).max())]
    draws = c + near * rng.normal(size=(50, len(c)))
    scan = basis.follow_up(store, past, draws, space=space, samples=2)
    shape = scan.like.shape
    assert (scan.median.shape, scan.change.shape, scan.sd.shape, len(scan.samples)) == (shape, shape, shape, 2)
    last, real = (
        np.asarray(nib.load(store.visits["scan"][row]).dataobj) if space == "native"
        else 500 * store.array("intensity")[int(row)]
        for row in (past[-1], target)
    )  # fmt: skip
    np.testing.assert_allclose(scan.median - scan.change, last, atol=1e-2)
    inside = last > 100
    assert np.corrcoef(scan.change[inside], (real - last)[inside])[0, 1] > 0.7
    assert np.abs(real - scan.median)[inside].mean() < 0.7 * np.abs(real - last)[inside].mean()
    assert 0.8 < (np.abs(real - scan.median) < 1.645 * scan.sd)[inside].mean() < 0.98
    assert scan.folded == 0
    volumes = scan.volumes.set_index("structure")
    assert volumes.loc["ventricles", "change"] > 0.02
    assert (volumes["q05"] <= volumes["change"]).all()
    assert (volumes["change"] <= volumes["q95"]).all()


@pytest.mark.parametrize("space", ["template", "native"])
def test_a_follow_up_without_change_has_the_voxels_of_the_last_scan(store, rows, basis, space):
    past = rows[:VISITS]
    still = basis.encode(store, past[-1:])
    found = basis.follow_up(store, past, np.repeat(still, 5, 0), space=space, samples=1)
    last = np.asarray(nib.load(store.visits["scan"].iloc[past[-1]]).dataobj) if space == "native" else None
    assert np.array_equal(found.samples[0], found.median) and not found.change.any()
    assert last is None or np.array_equal(found.median, last.astype(np.float32))


def test_velocities_have_the_volumes_of_their_coefficients(store, rows, basis):
    """Of a visit, and of coefficients whose volumes are not those of the modes."""
    nodes = store.info.velocity_grid
    psi = np.asarray(store.array("anatomy")[7])
    first = log_volumes(psi, np.zeros((3, *nodes.shape), np.float32), nodes)
    real = basis.encode(store, rows[23:24])[0]
    other = real + np.r_[np.zeros(2), 0.03 * np.random.default_rng(1).normal(size=len(NAMES))].astype(np.float32)
    assert np.abs(real[2:]).max() > 0.05
    for c in (real, other):
        found = log_volumes(psi, basis.velocity(c), nodes) - first
        assert np.corrcoef(found, c[2:])[0, 1] > 0.95
        assert np.abs(found - c[2:]).max() < 0.4 * np.abs(c[2:]).max()


def test_volumes_of_draws_are_those_of_the_coefficients_and_have_an_error_of_registration(store, rows, basis):
    c = basis.encode(store, rows[22:24])
    past, draws = rows[21:23], np.tile(c[1], (400, 1))
    follow_up = basis.follow_up(store, past, draws)
    measured = (c[1] - c[0])[2:].astype(float)
    missed, spread = registration_error(measured, float(min(store.info.grid.spacing)))
    table = follow_up.volumes.set_index("structure")
    np.testing.assert_allclose(np.log1p(table["change"]), measured + missed, atol=1e-6)
    logs, found = (np.log(d / table["last"].to_numpy()) for d in (follow_up.volume_draws, follow_up.measured_draws))
    np.testing.assert_allclose(logs.std(0), spread, rtol=0.15, atol=1e-6)
    np.testing.assert_allclose(found, np.tile(measured, (400, 1)), atol=1e-6)
    assert spread[NAMES.index("log_volume_cortex_left")] > spread[NAMES.index("log_volume_cerebellum")]
    assert missed[NAMES.index("log_volume_white_matter_left")] < 0


@pytest.mark.parametrize(("resolution", "share"), [(1.0, -0.12), (2.0, -0.12), (3.0, -0.25), (4.0, -0.25)])
def test_the_missed_change_is_that_of_the_nearest_resolution(resolution, share):
    missed, _ = registration_error(np.full(len(NAMES), 0.02), resolution)
    assert missed[NAMES.index("log_volume_white_matter_left")] == pytest.approx(share * 0.02)


def test_z_maps_of_typical_scans_have_unit_size(store, rows, basis):
    row = int(rows[23])
    z = basis.z_map(store, row, rows[21:23], basis.encode(store, rows[23:24])[0], np.full(16, 1e-3))
    assert (z[~store.mask] == 0).all()
    assert 0.5 < z[store.mask].std() < 1.5


def test_noise_covers_ninety_percent_of_training_voxels(store, rows, basis):
    """At the scans' own voxels, because interpolation reduces noise."""
    inside = []
    for subject in range(6):
        for row in rows[subject * VISITS + 1 : (subject + 1) * VISITS]:
            z = basis.z_map(store, row, rows[[row - 1]], basis.encode(store, rows[[row]])[0], np.full(16, 1e-6))
            inside.append((np.abs(z[store.mask]) < 1.645).mean())
    assert 0.885 < np.mean(inside) < 0.92


def test_a_store_that_does_not_fit_is_refused(store, rows, basis, monkeypatch):
    with pytest.raises(CohortError, match="0 follow-up scans"):
        Deformation.fit(store, rows[::VISITS])
    other = ScanStore.open(store.path)
    other.info = store.info.model_copy(update={"grid": store.info.grid.coarser(9)})
    with pytest.raises(CohortError, match="same --resolution"):
        basis.encode(other, rows[:2])
    other.info = store.info.model_copy(update={"velocity_grid": None})
    with pytest.raises(CohortError, match="prepared without deformations"):
        Deformation.fit(other, rows)


def test_a_day_after_the_last_scan_nothing_has_changed(store, rows, tmp_path):
    """The last scan was measured with an error, which is neither undone by the follow-up nor part of its spread."""
    shutil.copytree(store.path, tmp_path / "store")
    wrong = ScanStore.open(tmp_path / "store")
    error = 0.5 * true_modes(store.info.velocity_grid)[0]
    wrong.array("velocity")[22] = np.asarray(wrong.array("velocity")[22]) + error
    settings = {"training": {"max_epochs": 0}, "model": {"members": 1, "initialise": "mixed_model"}}
    model = ScanModel(seed=1, scans={"components": 2}, **settings).fit(wrong)
    past, time = wrong.subset(rows[21:23]), wrong.visits["time"][22]
    measured = model.basis.encode(past, rows[21:23])[1]
    changes, spreads = [], []
    for ahead in (1 / 365.25, 1.0):
        forecast = model.forecast(past, pd.DataFrame({"subject": ["s7"], "time": [time + ahead]}))
        made = model.follow_up(past, forecast, 0, "template")
        changes.append(made.volumes.set_index("structure").loc["ventricles", "change"])
        spreads.append(np.log(made.volume_draws[:, 1]).std())
        if ahead < 1:
            draws = forecast.values[0][:, 3]
            assert np.abs(made.change).max() < 0.02 * np.abs(made.median).max()
    assert draws.mean() - measured[3] < -0.01  # as if the ventricles shrank
    assert abs(changes[0]) < 1e-3 and changes[1] > 0.01
    assert spreads[0] < 0.05 * draws.std() and spreads[1] > 5 * spreads[0]
    assert made.volume_error[1] > 0
    visit = future_visits(model.coefficients(past), forecast.visits[["subject", "time"]])
    shown = ScanState(model, past, rows[21:23]).volumes(visit, forecast.values[0][:, : len(model.basis.names)])
    np.testing.assert_allclose(shown, made.volume_draws, rtol=1e-4)
    page = ScanExplorer(model, past, Source(tmp_path, (tmp_path,), draws=200, seed=0))
    assert page.start()["regions"][1]["fan"] == "the volume without error"
    answer = page.forecast(Question(subject="s7", horizon=1.0, courses=[Course()]))
    found = answer["courses"][0]["bands"]["ventricles"][-1]
    np.testing.assert_allclose(found, np.quantile(made.volume_draws[:, 1], SHARES), rtol=1e-3)
