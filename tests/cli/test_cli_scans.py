"""From a simulated BIDS tree to follow-up scans: `crow train`, `crow generate` and `crow score` as a user runs them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import bids_validator
import joblib
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from commands import refused, run
from PIL import Image

import crow
from crow.explore.open_run import open_run
from crow.explore.question import Course, Whose
from crow.models.scans import ScanModel
from crow.models.voxels import VoxelModel
from crow.pipelines.report_subjects import known_subjects
from crow.representation.structure_volumes import NAMES

QUICK = ["--set", "model.members=1", "--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2"]
COARSE = ["--set", "scans.resolution=8"]


@pytest.fixture(autouse=True, scope="module")
def one_process() -> Iterator[None]:
    """A pool of processes would import everything again."""
    with joblib.parallel_config(backend="sequential"):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BIDS tree of T1w scans, their store, and the run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("scans")
    run("simulate", "--scans", "--out", folder / "bids", "--subjects", 10, "--visits", 2, "--resolution", 8)
    output = run("train", "--cohort", folder / "bids", "--out", folder / "run", *COARSE, *QUICK)
    assert "Preparing 20 scans" in output and "deformation of 20 T1w scans" in output and "nats per visit" in output
    return folder


def scan_of(folder: Path, subject: str) -> nib.Nifti1Image:
    """The last real scan of a subject."""
    return nib.load(sorted((folder / "bids" / subject).glob("ses-*/anat/*_T1w.nii.gz"))[-1])


def test_a_follow_up_looks_like_the_last_scan_and_says_what_it_is(folder: Path, tmp_path: Path) -> None:
    out, last = tmp_path / "fu", scan_of(folder, "sub-0002")
    output = run("generate", "--run", folder / "run", "--subject", "0002", "--at", "1.5", "--out", out,
               "--set-covariate", "CDRSB=6@1", "--save-scan-draws", "2", "--draws", "20")  # fmt: skip
    here = out / "sub-0002" / "ses-plus1p5y" / "anat"
    stem = "sub-0002_ses-plus1p5y_desc-{}_T1w"
    for desc in ("synthetic", "synthetic01", "synthetic02", "change", "uncertainty"):
        image = nib.load(here / f"{stem.format(desc)}.nii.gz")
        facts = json.loads((here / f"{stem.format(desc)}.json").read_text())
        assert image.shape == last.shape and facts["synthetic"] is True and facts["Draws"] == 20
        np.testing.assert_allclose(image.affine, last.affine, atol=1e-5)
        is_map = desc in ("change", "uncertainty")
        assert image.get_data_dtype() == (np.float32 if is_map else last.get_data_dtype())
    assert facts["YearsSinceLastScan"] == 1.5 and facts["Covariates"]["CDRSB"] == 6.0 and len(facts["Sources"]) == 2
    assert not any("/" in source for source in facts["Sources"])
    follow_up = nib.load(here / f"{stem.format('synthetic')}.nii.gz").get_fdata()
    assert np.corrcoef(follow_up.ravel(), last.get_fdata().ravel())[0, 1] > 0.97
    uncertainty = nib.load(here / f"{stem.format('uncertainty')}.nii.gz").get_fdata()
    assert uncertainty.min() >= 0 and uncertainty.max() > 0
    assert (here / f"{stem.format('followup')}.png").read_bytes()[:4] == b"\x89PNG"
    if bids_validator.found():
        assert bids_validator.errors(out) == [] == bids_validator.errors(folder / "bids")
    volumes = pd.read_csv(out / "volumes.tsv", sep="\t")
    assert {"ventricles", "hippocampus_left"} <= set(volumes["structure"]) and "ventricles" in output
    assert ((volumes["q05"] <= volumes["change"] + 1e-9) & (volumes["change"] <= volumes["q95"] + 1e-9)).all()


def test_the_same_seed_gives_the_same_scans_and_nothing_is_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ("generate", "--run", folder / "run", "--subject", "sub-0001", "--subject", "sub-0004", "--at", "1,2",
           "--draws", "10", "--out")  # fmt: skip
    run(*ask, tmp_path / "a")
    with joblib.parallel_config(backend="loky"):
        run(*ask, tmp_path / "b", "--jobs", "2")
    made = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.nii.gz"))
    assert len(made) == 2 * 2 * 3
    for path in (tmp_path / "a").rglob("*.*s*"):  # sidecars and volumes.tsv
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    for path in made:
        one, other = (np.asarray(nib.load(tmp_path / side / path).dataobj) for side in "ab")
        np.testing.assert_array_equal(one, other)
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert "exists already" in refused(capsys, *ask, tmp_path / "a")
    assert before == {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert len(pd.read_csv(tmp_path / "a" / "volumes.tsv", sep="\t").groupby(["subject", "session"])) == 4


def test_a_follow_up_that_fails_leaves_those_of_others_whole(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = sorted((folder / "bids" / "sub-0001").glob("ses-*/anat/*_T1w.nii.gz"))[-1]
    away = scan.rename(tmp_path / scan.name)
    try:
        said = refused(capsys, "generate", "--run", folder / "run", "--subject", "sub-0001", "--subject", "sub-0004",
                       "--at", "1", "--draws", "10", "--out", tmp_path / "fu")  # fmt: skip
    finally:
        away.rename(scan)
    assert scan.name in said
    made = [path for path in (tmp_path / "fu").rglob("*") if path.is_file() and "sub-" in path.name]
    assert len(made) == 7 and all("sub-0004" in path.name and not path.name.startswith(".") for path in made)
    assert set(pd.read_csv(tmp_path / "fu" / "volumes.tsv", sep="\t")["subject"]) == {"sub-0004"}


def test_scans_on_the_template_and_a_longer_horizon_moves_more(folder: Path, tmp_path: Path) -> None:
    output = run("generate", "--run", folder / "run", "--subject", "0002", "--at", "1,6", "--draws", "10",
               "--set-covariate", "CDRSB=19@6", "--space", "template", "--out", tmp_path / "fu")  # fmt: skip
    assert "warning: CDRSB 19 is an extrapolation: in the cohort it lies between 0 and" in output
    grid = crow.ScanStore.open(folder / "run_store").info.grid
    sizes = []
    for session in ("ses-plus1y", "ses-plus6y"):
        name = f"sub-0002_{session}_space-MNI152NLin2009aSym_desc-change_T1w.nii.gz"
        image = nib.load(tmp_path / "fu" / "sub-0002" / session / "anat" / name)
        assert image.shape == grid.shape
        np.testing.assert_allclose(image.affine, grid.matrix, atol=1e-5)
        sizes.append(np.abs(image.get_fdata()).mean())
    assert sizes[1] > sizes[0]


def test_a_patient_outside_the_cohort_is_prepared_first(folder: Path, tmp_path: Path) -> None:
    scan = sorted((folder / "bids" / "sub-0003").glob("ses-*/anat/*_T1w.nii.gz"))[0]
    pd.DataFrame({"subject": ["new"], "age": [71.0], "scan": [scan]}).to_csv(tmp_path / "patient.csv", index=False)
    output = run("generate", "--run", folder / "run", "--cohort", tmp_path / "patient.csv", "--subject", "new",
               "--at", "2", "--draws", "10", "--out", tmp_path / "fu")  # fmt: skip
    assert "missing for these subjects" in output and "CDRSB" in output
    assert len(list((tmp_path / "fu" / "sub-new" / "ses-plus2y").rglob("*desc-synthetic_T1w.nii.gz"))) == 1
    assert crow.ScanStore.is_store(tmp_path / "fu_store")
    run("score", "--run", folder / "run", "--cohort", tmp_path / "fu_store", "--out", tmp_path / "scores.csv")
    assert pd.read_csv(tmp_path / "scores.csv")["log_prob"].isna().tolist() == [True]


def test_scores_and_maps_of_z(folder: Path, tmp_path: Path) -> None:
    output = run("score", "--run", folder / "run", "--cohort", folder / "run_store", "--out", tmp_path / "scores.csv",
               "--save-maps", tmp_path / "z", "--draws", "20", "--figure", tmp_path / "scores.png")  # fmt: skip
    scores = pd.read_csv(tmp_path / "scores.csv")
    first = ~scores["subject"].duplicated()
    assert scores.loc[first, "log_prob"].isna().all() and scores.loc[~first, "log_prob"].notna().all()
    assert "10 subjects, 20 visits" in output and len(list((tmp_path / "z").rglob("*zscore*.nii.gz"))) == 10
    path = sorted((tmp_path / "z" / "sub-0002").rglob("*.nii.gz"))[-1]
    z, last = nib.load(path), scan_of(folder, "sub-0002")
    assert z.shape == last.shape and z.get_data_dtype() == np.float32
    inside = np.asarray(z.dataobj)[np.asarray(z.dataobj) != 0]
    assert 0.5 < inside.std() < 2 and abs(inside.mean()) < 1.5  # coarse voxels: brightness is told less exactly


def test_in_python_a_run_of_scans_answers_as_on_the_command_line(folder: Path) -> None:
    model, store = crow.load(folder / "run"), crow.ScanStore.open(folder / "run_store")
    assert isinstance(model, ScanModel) and model.representation == "deformation"
    log_prob = model.log_prob(store)
    assert list(log_prob.columns) == ["subject", "session", "time", "log_prob"] and len(log_prob) == 20
    asked = pd.DataFrame({"subject": ["sub-0001"], "time": [9.0]})
    forecast = model.forecast(store, asked, draws=10)
    made = model.follow_up(store, forecast, 0)
    assert made.median.shape == scan_of(folder, "sub-0001").shape and made.folded == 0
    assert "deformation" in repr(model).lower() or "modes" in repr(model)


@pytest.mark.slow
def test_scans_and_regions_are_modelled_together(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run_store", tmp_path / "store")
    visits = pd.read_csv(tmp_path / "store" / "visits.csv")
    own = 3000 + 100 * visits.groupby("subject").ngroup()
    visits["Hippocampus"] = own - 60 * visits["time"] + np.random.default_rng(0).normal(0, 5, len(visits))
    visits.to_csv(tmp_path / "store" / "visits.csv", index=False)
    info = json.loads((tmp_path / "store" / "store.json").read_text())
    info["cohort_schema"]["regions"] = ["Hippocampus"]
    (tmp_path / "store" / "store.json").write_text(json.dumps(info))
    store = crow.ScanStore.open(tmp_path / "store")
    model = ScanModel(model={"members": 1}, training={"max_epochs": 0}, scans={"components": 2}).fit(store)
    last = store.cohort().visits.groupby("subject").last().iloc[[0, 5]].reset_index()
    asked = last[["subject"]].assign(time=last["time"] + 2)
    forecast = model.forecast(store, asked, draws=40)
    assert forecast.regions == ["mode_01", "mode_02", *NAMES, "Hippocampus"]
    median = forecast.summary["Hippocampus_median"].to_numpy()
    np.testing.assert_allclose(median, last["Hippocampus"].to_numpy(float) - 120, atol=40)
    assert model.follow_up(store, forecast, 0).median.shape == scan_of(folder, "sub-0001").shape


def test_the_run_holds_no_subject(folder: Path) -> None:
    for path in (folder / "run").rglob("*"):
        if path.is_file():
            assert b"sub-0001" not in path.read_bytes(), path


@pytest.mark.parametrize("name", ["two_years.gif", "two_years.nii.gz"])
@pytest.mark.slow
def test_follow_ups_of_a_subject_are_one_film(folder: Path, tmp_path: Path, name: str) -> None:
    run("generate", "--run", folder / "run", "--subject", "0003", "--at", "6m:24m", "--draws", "4",
        "--out", tmp_path / "fu", "--series", tmp_path / name)  # fmt: skip
    if name.endswith(".gif"):
        with Image.open(tmp_path / name) as film:
            assert film.n_frames == 5 and film.width > 2 * film.height * 0.8
        return
    film, last = nib.load(tmp_path / name), scan_of(folder, "sub-0003")
    assert film.shape == (*last.shape, 5) and film.header["pixdim"][4] == pytest.approx(0.5)
    np.testing.assert_allclose(film.affine, last.affine, atol=1e-5)
    np.testing.assert_allclose(film.get_fdata()[..., 0], last.get_fdata(), atol=1e-3)
    assert json.loads((tmp_path / "two_years.json").read_text())["YearsSinceLastScan"] == [0.0, 0.5, 1.0, 1.5, 2.0]
    made = nib.load(next((tmp_path / "fu").rglob("*ses-plus2y*_desc-synthetic_T1w.nii.gz")))
    np.testing.assert_allclose(film.get_fdata()[..., 4], made.get_fdata(), atol=0.51)


def test_options_that_cannot_be_combined(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ("generate", "--run", folder / "run")
    assert "run of scans writes scans" in refused(capsys, *ask, "--new-subjects", "3")
    assert "shows one subject, but 2" in refused(
        capsys, *ask, "--subject", "0001", "--subject", "0002", "--at", "1", "--series", tmp_path / "a.gif", "--out",
        tmp_path / "fu"
    )  # fmt: skip
    assert "no subject 77" in refused(capsys, *ask, "--subject", "77", "--at", "1", "--out", tmp_path / "fu")
    assert not (tmp_path / "fu").exists()
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "dataset_description.json").write_text('{"Name": "mine", "BIDSVersion": "1.8.0"}')
    assert "crow did not make" in refused(capsys, *ask, "--subject", "0001", "--at", "1", "--out", raw)


def test_a_store_that_changed_is_not_conditioned_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visits = folder / "run_store" / "visits.csv"
    whole = visits.read_text()
    visits.write_text(whole.replace("sub-0010", "sub-0011"))
    try:
        output = refused(
            capsys, "generate", "--run", folder / "run", "--subject", "1", "--at", "1", "--out", tmp_path / "x"
        )
    finally:
        visits.write_text(whole)
    assert "has changed since" in output and "--cohort" in output


def test_voxels_train_generate_and_score(folder: Path, tmp_path: Path) -> None:
    run("train", "--cohort", folder / "run_store", "--out", tmp_path / "run", *QUICK, "--set",
        "scans.representation=voxels", "--set", "scans.voxels.size=12", "--set", "scans.voxels.levels=1")  # fmt: skip
    model = crow.load(tmp_path / "run")
    assert isinstance(model, VoxelModel) and model.metrics["voxels"] > 100
    run("generate", "--run", tmp_path / "run", "--subject", "0002", "--at", "1", "--draws", "6",
        "--out", tmp_path / "fu")  # fmt: skip
    image = nib.load(next((tmp_path / "fu").rglob("*desc-synthetic_T1w.nii.gz")))
    assert image.shape == scan_of(folder, "sub-0002").shape
    run("score", "--run", tmp_path / "run", "--cohort", folder / "run_store", "--out", tmp_path / "scores.csv")
    assert pd.read_csv(tmp_path / "scores.csv")["log_prob"].notna().all()


@pytest.mark.slow
def test_pet_goes_through_a_subspace_with_an_exact_voxel_likelihood(tmp_path: Path) -> None:
    run("simulate", "--scans", "--modality", "pet", "--out", tmp_path / "bids", "--subjects", 10, "--visits", 2,
        "--resolution", 8)  # fmt: skip
    output = run("train", "--cohort", tmp_path / "bids", "--out", tmp_path / "run", *COARSE, *QUICK,
               "--set", "scans.components=2")  # fmt: skip
    assert "subspace of 20 pet scans" in output
    run("score", "--run", tmp_path / "run", "--cohort", tmp_path / "run_store", "--out", tmp_path / "scores.csv")
    scores = pd.read_csv(tmp_path / "scores.csv")
    np.testing.assert_allclose(scores["log_prob"], scores["coefficients"] + scores["residual"])
    run("generate", "--run", tmp_path / "run", "--subject", "0002", "--at", "1", "--draws", "10",
        "--out", tmp_path / "fu")  # fmt: skip
    image = nib.load(next((tmp_path / "fu").rglob("*desc-synthetic_pet.nii.gz")))
    real = nib.load(sorted((tmp_path / "bids" / "sub-0002").rglob("*_pet.nii.gz"))[-1])
    assert image.shape == real.shape and image.get_data_dtype() == real.get_data_dtype()
    assert np.corrcoef(image.get_fdata().ravel(), real.get_fdata().ravel())[0, 1] > 0.9


@pytest.mark.slow
def test_a_run_of_scans_is_evaluated_on_test_subjects_and_reported(folder: Path, tmp_path: Path) -> None:
    train = ("train", "--cohort", folder / "run_store", *QUICK)
    run(*train, "--out", tmp_path / "run", "--test", "0.3")
    output = run("evaluate", "--run", tmp_path / "run", "--draws", "20")
    assert "last scan" in output and "Change of structures" in output and "Skill over" in output
    made = tmp_path / "run_evaluation"
    metrics = json.loads((made / "metrics.json").read_text())["scans"]
    assert list(metrics["forecast"]) == ["crow", "last scan", "mean change"] and metrics["subjects"] == 3
    scans = pd.read_csv(made / "scans.csv")
    last = scans[scans["model"] == "last scan"]
    assert len(last) == 3 and metrics["forecast"]["last scan"]["MAE"] == pytest.approx(last["MAE"].mean(), rel=1e-6)
    assert (last["SSIM"].between(0.5, 1)).all() and np.isfinite(metrics["forecast"]["crow"]["NLL"])
    stem = pd.read_csv(made / "scan_pictures.csv")["stem"].iloc[0]
    assert all((made / f"{stem}_{kind}.png").is_file() for kind in ("last", "real", "synthetic", "change_real"))
    run("report", "--run", tmp_path / "run", "--draws", "20")
    page = (tmp_path / "run_report.html").read_text()
    assert 'type="range"' in page and "http://" not in page.replace("http://www.w3.org", "")


def test_a_run_without_a_test_set_cannot_be_evaluated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "evaluate", "--run", folder / "run")
    assert "Train with --test 0.2, or cross-validate with --folds 5" in message
    assert not (folder / "run_evaluation").exists()


def test_explore_shows_structures_and_the_scans_of_generate(folder: Path) -> None:
    explorer = open_run(folder / "run", folder / "run_store", draws=20, subject="0002")
    assert explorer.source.subject == "sub-0002" == known_subjects(explorer.cohort, None, ["0002"], "")[0]
    model, store = crow.load(folder / "run"), crow.ScanStore.open(folder / "run_store")
    visit = model.cohort(store).visits.query("subject == 'sub-0002'").tail(1)[["subject", "time"]]
    forecast = model.forecast(store, visit.assign(time=visit["time"] + 2), draws=20)
    expected = model.follow_up(store, forecast, 0, "template")
    np.testing.assert_allclose(explorer._follow_up("sub-0002", Course(), 2.0)[0], expected.median, rtol=1e-4, atol=0.1)
    shown = explorer.subject(Whose(subject="sub-0002"), 2)["observed"]
    last = expected.volumes.set_index("structure")["last"]
    assert [shown["values"][name][-1] for name in last.index] == pytest.approx(last.tolist(), rel=1e-5)
    assert shown["levels"]["ventricles"][0] == [None] * 7 and shown["levels"]["ventricles"][1][0] > 0
    start = explorer.start()
    assert start["regions"][2] == {
        "name": "hippocampus_left", "short": "hippocampus left", "unit": "mm³", "fan": "the volume without error",
    }  # fmt: skip
