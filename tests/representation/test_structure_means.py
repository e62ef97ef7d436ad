"""Means of structures are exact coefficients of a scan: they are read off, drawn and part of the density as such."""

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from scipy.stats import multivariate_normal
from small_cohorts import in_memory

from crow.errors import RunError
from crow.representation.structure_means import StructureMeans
from crow.representation.subspace import Subspace
from crow.scans.region_values import image_means, means, structures_of
from crow.scans.store import DONE, ScanStore, StoreInfo
from crow.scans.template import load_template

RESOLUTION, SUBJECTS, VISITS = 12.0, 10, 3
FIXED = "cerebellum"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Scans whose structures change at rates of their own; the mean of the cerebellum is 1."""
    rng, template = np.random.default_rng(0), load_template(RESOLUTION)
    table = pd.DataFrame({
        "subject": np.repeat([f"s{k:02d}" for k in range(SUBJECTS)], VISITS),
        "age": 70 + np.tile(np.arange(VISITS) * 1.0, SUBJECTS),
    })  # fmt: skip
    cohort, mask = in_memory(table, [], {}), template.mask > 0
    info = StoreInfo(
        modality="pet", space="x", grid=template.grid, velocity_grid=None, cohort_schema=cohort.schema,
        settings={"resolution": RESOLUTION},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("structures") / "store"
    store = ScanStore.create(path, info, cohort, np.ones(mask.shape, np.float32), mask, velocities=False)
    atlas = structures_of(store)
    for row in range(SUBJECTS * VISITS):
        image = 1.2 + 0.1 * rng.normal(size=mask.shape)
        for label, name in atlas.names.items():
            inside = atlas.labels == label
            image[inside] += rng.normal(0.1 * (row % VISITS), 0.05)
            if name == FIXED:
                image[inside] += 1 - image[inside].mean()
        store.array("intensity")[row] = np.where(mask, image, 0)
        store.array("scale")[row], store.array("status")[row] = (2.0, 0.1), DONE
    store.finish([])
    return store


@pytest.fixture(scope="module")
def subspace(store):
    return Subspace.fit(store, store.rows, components=2)


def test_coefficients_are_the_means_of_structures(store, subspace):
    atlas = structures_of(store)
    inside = [k for k, name in enumerate(atlas.names.values()) if f"mean_{name}" in subspace.names]
    expected = np.stack([means(store, int(row), atlas)[inside] for row in store.rows])
    assert len(inside) == len(atlas.names) - 1 > 5 and f"mean_{FIXED}" not in subspace.names
    assert subspace.names[len(inside) :] == ["mode_01", "mode_02"]
    np.testing.assert_allclose(subspace.encode(store, store.rows)[:, : len(inside)], expected, atol=1e-5)


def test_drawn_scans_have_the_means_that_were_drawn(store, subspace):
    """Neither the modes nor the residual, which is correlated in space, move them."""
    draws = subspace.encode(store, store.rows[:4])[:, None].astype(float)
    draws[..., : len(subspace.structures.names)] += np.random.default_rng(1).normal(size=(4, 1, 1))
    atlas, columns = structures_of(store), [name.removeprefix("mean_") for name in subspace.structures.columns]
    inside = [list(atlas.names.values()).index(name) for name in columns]
    drawn = subspace.samples(store, store.rows[:2], draws)
    maps = [image_means(subspace.volume(one[0]), atlas)[inside] for one in drawn]
    np.testing.assert_allclose(maps, draws[:, 0, : len(columns)], atol=1e-4)


def test_density_of_a_scan_is_the_dense_gaussian(store, subspace):
    """With a Gaussian of means and modes, the visit is Gaussian over all voxels, in the scan's units."""
    rows, n = store.rows[:VISITS], VISITS - 1
    basis, prior = subspace.basis.astype(float), subspace.prior
    c = subspace.encode(store, rows)[-1].astype(float)
    centre, spread = c + 0.1 * subspace.unit, subspace.unit**2 * (1 + np.arange(len(c)))
    found = multivariate_normal.logpdf(c, centre, np.diag(spread)) + subspace.remainder_log_prob(store, rows)[-1]
    gain, offset = store.array("scale")[int(rows[-1])]
    p = np.eye(len(basis)) - basis @ basis.T
    y = (store.masked(rows[:-1]) - subspace.mean) / subspace.scale
    scaled, scales = (centre - subspace.centre) / subspace.unit, np.diag(spread / subspace.unit**2)
    mean = basis @ scaled + p @ prior.bands.expected((y @ p).mean(0), n)
    covariance = basis @ scales @ basis.T + p @ np.diag(prior.variance(n)) @ p
    unit = gain * subspace.scale
    expected = multivariate_normal.logpdf(
        gain * store.masked(rows[-1:])[0] + offset, gain * (mean * subspace.scale + subspace.mean) + offset,
        covariance * unit[:, None] * unit,
    )  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-5)


def test_modes_are_orthogonal_to_structures(subspace):
    np.testing.assert_allclose(subspace.basis.T @ subspace.basis, np.eye(len(subspace.names)), atol=1e-5)
    np.testing.assert_allclose(subspace.basis[:, : -subspace.modes], subspace.structures.basis, atol=1e-6)


def test_saving_and_loading(store, subspace, tmp_path):
    safetensors.torch.save_file(subspace.tensors(), tmp_path / "s.safetensors")
    tensors, described = safetensors.torch.load_file(tmp_path / "s.safetensors"), subspace.describe()
    loaded = Subspace.from_saved(tensors, described)
    assert loaded.names == subspace.names and repr(loaded) == repr(subspace)
    np.testing.assert_array_equal(loaded.encode(store, store.rows), subspace.encode(store, store.rows))
    with pytest.raises(RunError, match="damaged"):
        Subspace.from_saved(tensors | {"structure_labels": tensors["structure_labels"][1:]}, described)
    with pytest.raises(RunError, match="do not fit"):
        Subspace.from_saved(tensors, described | {"structures": described["structures"][1:]})
    with pytest.raises(RunError, match="earlier version"):
        Subspace.from_saved(tensors | {"structure_sd": torch.ones(3)}, described)


def test_no_structures_have_no_coefficients():
    none = StructureMeans.none(5)
    assert none.columns == [] and none.basis.shape == (5, 0)
    y = np.ones((2, 5), np.float32)
    np.testing.assert_array_equal(none.complement(y), y)
