"""Regional values of prepared scans, as a table for training."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_scans import cohort, save

from crow.cohort import read_cohort
from crow.errors import CohortError, ConfigError, OutputError, ScanError
from crow.pipelines.extract import extract
from crow.pipelines.prepare import prepare
from crow.scans.atlas import read_names
from crow.scans.store import ScanStore
from crow.scans.template import STRUCTURES, load_template
from crow.scans.unbiased import found_of, unbiased

TEMPLATE = load_template(8.0)
LEFT = (TEMPLATE.grid.points()[0] < 0) & TEMPLATE.mask
ATLAS = np.where(TEMPLATE.mask, np.where(LEFT, 10, 20), 0).astype(np.int16)


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    """CBF of five subjects, without registration."""
    folder = tmp_path_factory.mktemp("maps")
    table = cohort(folder, subjects=5, suffix="CBF")
    return prepare(table, folder / "store", resolution=8.0, registration="none", modality="CBF", jobs=1).store


@pytest.fixture(scope="module")
def deformed(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    """T1w of one subject, with deformations set by the test."""
    folder = tmp_path_factory.mktemp("deformed")
    store = prepare(cohort(folder, 1), folder / "store", resolution=8.0, registration="nonlinear", jobs=1).store
    store.array("to_scan")[:] = np.stack([np.diag([1.1, 1.0, 1.0, 1.0])] * 2)
    store.array("anatomy")[:] = 0
    nodes = store.info.velocity_grid
    assert nodes is not None
    store.array("velocity")[1] = -0.02 * (nodes.points() - np.array([0, -20, 10])[:, None, None, None])
    return store


def test_means_of_an_atlas_with_names(maps: ScanStore, tmp_path: Path) -> None:
    atlas = save(tmp_path / "atlas.nii.gz", ATLAS)
    (tmp_path / "lut.tsv").write_text("index\tname\n10\tleft half\n20\tright half\n30\tnowhere\n")
    done = extract(maps.path, tmp_path / "regions.csv", atlas=atlas, labels=tmp_path / "lut.tsv")
    table = pd.read_csv(tmp_path / "regions.csv")
    assert list(table.columns) == ["subject", "session", "years", "age", "sex", "left half", "right half"]
    intensity = maps.array("intensity")[:]
    np.testing.assert_allclose(table["left half"], [image[ATLAS == 10].mean() for image in intensity], rtol=1e-5)
    assert done.notes == (f"1 labels of {tmp_path / 'lut.tsv'} do not occur in the atlas",)


def test_the_table_is_a_cohort(maps: ScanStore, tmp_path: Path) -> None:
    extract(maps.path, tmp_path / "regions.csv", atlas=save(tmp_path / "atlas.nii.gz", ATLAS))
    found = read_cohort(tmp_path / "regions.csv", strict=False)
    assert found.regions == ["label_10", "label_20"]
    assert found.covariates == ["sex"]
    np.testing.assert_allclose(found.visits["time"], maps.cohort().visits["time"], atol=1e-3)


def test_an_atlas_on_another_grid(maps: ScanStore, tmp_path: Path) -> None:
    fine = load_template(4.0)
    labels = np.where(fine.mask, np.where(fine.grid.points()[0] < 0, 10, 20), 0).astype(np.int16)
    one = extract(maps.path, tmp_path / "a.csv", atlas=save(tmp_path / "a.nii.gz", labels, resolution=4.0))
    other = extract(maps.path, tmp_path / "b.csv", atlas=save(tmp_path / "b.nii.gz", ATLAS))
    np.testing.assert_allclose(one.table["label_10"], other.table["label_10"], rtol=0.05)
    assert one.notes == ("2 labels have no name (10, 20); they are named label_<number>",)


def test_parcels_are_learned_connected_and_written(maps: ScanStore, tmp_path: Path) -> None:
    done = extract(maps.path, tmp_path / "regions.csv", parcels=6)
    assert done.regions == [f"parcel_{k:03d}" for k in range(1, 7)]
    assert done.written == (tmp_path / "regions.csv", tmp_path / "regions_atlas.nii.gz")
    assert "learned from all 5 subjects of the store, including those of a later test set" in done.notes[0]
    again = extract(maps.path, tmp_path / "again.csv", atlas=tmp_path / "regions_atlas.nii.gz")
    np.testing.assert_allclose(again.table.filter(like="label").to_numpy(), done.table.filter(like="parcel").to_numpy())


def test_all_files_or_none_are_written(maps: ScanStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "regions_atlas.nii.gz").write_text("precious")
    with pytest.raises(OutputError, match=r"regions_atlas\.nii\.gz: exists already"):
        extract(maps.path, tmp_path / "regions.csv", parcels=3)
    assert [path.name for path in tmp_path.iterdir()] == ["regions_atlas.nii.gz"]

    def full(data: bytes, mtime: float) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crow.pipelines.extract.gzip.compress", full)
    with pytest.raises(OutputError, match="No space left on device"):
        extract(maps.path, tmp_path / "regions.csv", parcels=3, overwrite=True)
    assert (tmp_path / "regions_atlas.nii.gz").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["regions_atlas.nii.gz"]


def test_volumes_follow_the_deformation(deformed: ScanStore, tmp_path: Path) -> None:
    done = extract(deformed.path, tmp_path / "regions.csv", as_registered=True)
    assert set(done.regions) == set(STRUCTURES.values())
    voxels = float(TEMPLATE.structure("white_matter_left").sum()) * 8**3
    volumes = done.table["white_matter_left"]
    assert volumes[0] == pytest.approx(1.1 * voxels, rel=1e-4)
    # exp(w) with w = -0.02 x warps the first scan to this visit: it samples 0.98 x, so the brain is larger
    assert volumes[1] == pytest.approx(1.1 * np.exp(3 * 0.02) * voxels, rel=0.01)


def test_volumes_need_deformations(tmp_path: Path) -> None:
    store = prepare(cohort(tmp_path, 1), tmp_path / "store", resolution=8.0, registration="none", jobs=1).store
    with pytest.raises(CohortError, match="volumes need deformations"):
        extract(store.path, tmp_path / "regions.csv")


def test_conflicting_options_are_refused(maps: ScanStore, deformed: ScanStore, tmp_path: Path) -> None:
    atlas = save(tmp_path / "atlas.nii.gz", ATLAS)
    with pytest.raises(ConfigError, match="--labels: names the labels of an --atlas"):
        extract(maps.path, tmp_path / "a.csv", labels=atlas)
    with pytest.raises(ConfigError, match="--parcels"):
        extract(maps.path, tmp_path / "a.csv", atlas=atlas, parcels=3)
    with pytest.raises(ConfigError, match="--parcels"):
        extract(deformed.path, tmp_path / "a.csv", parcels=3)
    (tmp_path / "lut.tsv").write_text("index\tname\n10\tsex\n20\tb\n")
    with pytest.raises(ConfigError, match="sex is also the name of a covariate"):
        extract(maps.path, tmp_path / "a.csv", atlas=atlas, labels=tmp_path / "lut.tsv")
    assert not (tmp_path / "a.csv").exists()


def test_invalid_atlases_are_refused(maps: ScanStore, tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="an atlas needs integer labels from 0; found 0\\.5"):
        extract(maps.path, tmp_path / "a.csv", atlas=save(tmp_path / "atlas.nii.gz", ATLAS * np.float32(0.05)))
    away = np.eye(4)
    away[:3, 3] = 900
    with pytest.raises(ScanError, match="no label lies on the store's grid"):
        extract(maps.path, tmp_path / "a.csv", atlas=save(tmp_path / "away.nii.gz", ATLAS, away))


@pytest.mark.parametrize(
    "text",
    [
        "index\tname\tcolor\n3\tLeft-Cortex\t#fff\n17\tHippocampus\t#eee\n",
        "label,name\n3,Left-Cortex\n17,Hippocampus\n",
        "#No. Label Name: R G B A\n\n  3   Left-Cortex   205 62 78 0\n 17  Hippocampus 220 216 20 0\n",
    ],
)
def test_tables_of_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "lut").write_text(text)
    assert read_names(tmp_path / "lut") == {3: "Left-Cortex", 17: "Hippocampus"}


def test_a_table_without_names(tmp_path: Path) -> None:
    (tmp_path / "lut").write_text("# nothing\n")
    with pytest.raises(ScanError, match="has no labels"):
        read_names(tmp_path / "lut")


def test_changes_are_corrected_for_what_registration_misses(deformed: ScanStore, tmp_path: Path) -> None:
    """The first visit stays; the log ratio of each later one is divided by the share of its structure."""
    raw = extract(deformed.path, tmp_path / "raw.csv", as_registered=True)
    done = extract(deformed.path, tmp_path / "regions.csv")
    first = done.table.groupby("subject")[done.regions].transform("first")
    first_raw = raw.table.groupby("subject")[raw.regions].transform("first")
    pd.testing.assert_frame_equal(first, first_raw)
    ratio = (done.table[done.regions] / first).map(np.log) / (raw.table[raw.regions] / first_raw).map(np.log)
    changed = (raw.table[raw.regions] != first_raw).any(axis=1)
    assert changed.any()
    shares = {name: 1 / found_of(name, 8.0).share for name in done.regions}
    for name in ("white_matter_left", "deep_gray_right", "cerebellum"):
        np.testing.assert_allclose(ratio.loc[changed, name], shares[name], rtol=1e-3)
    assert shares["cerebellum"] == 1 < shares["white_matter_left"] < shares["deep_gray_right"]
    assert any("deep_gray" in note and "approximate" in note for note in done.notes) and not raw.notes


def test_there_and_back_is_no_change() -> None:
    volumes = np.array([[100.0, 50.0], [110.0, 45.0]])
    names = ["ventricles", "hippocampus_left"]
    there, back = unbiased(volumes, names, 2.0), unbiased(volumes[::-1], names, 2.0)
    np.testing.assert_allclose(there[1] / there[0] * back[1] / back[0], 1, rtol=1e-12)
    np.testing.assert_allclose(np.log(there[1] / there[0]), np.log([1.1, 0.9]) / [0.93, 0.92])
    with pytest.raises(KeyError):
        unbiased(volumes, ["ventricles", "thalamus"], 2.0)
