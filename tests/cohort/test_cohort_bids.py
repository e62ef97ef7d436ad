"""BIDS trees, raw and derived: which file is a visit's scan, and when the visit was."""

from pathlib import Path

import pandas as pd
import pytest

from crow.cohort import Cohort, Finding, Schema, read_cohort
from crow.cohort.bids_files import parse
from crow.cohort.writing import table_text, to_table
from crow.errors import CohortError

SYNTHETIC = Path(__file__).parents[3] / "shared" / "data" / "bids_synthetic"
DLBS = Path(__file__).parents[3] / "shared" / "data" / "dlbs" / "participants.tsv"
LABELS = [f"sub-{k:02d}" for k in range(12)]
SESSIONS = ["ses-b", "ses-a"]
FMRIPREP = "{subject}/{session}/anat/{subject}_{session}_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz"
CLINICA = "subjects/{subject}/{session}/t1_linear/{subject}_{session}_T1w_space-MNI152NLin2009cSym_res-1x1x1_T1w.nii.gz"
CAT12 = "{subject}/{session}/anat/{subject}_{session}_space-MNI152NLin2009cAsym_T1w.nii.gz"


def make_tree(
    tree: Path, pattern: str = "{subject}/{session}/anat/{subject}_{session}_T1w.nii.gz", sessions: list[str] = SESSIONS
) -> Path:
    for subject in LABELS:
        for session in sessions:
            touch(tree / pattern.format(subject=subject, session=session))
    return tree


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write(path: Path, columns: dict[str, list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False)


def participants(tree: Path, **columns: list[str]) -> None:
    sex = {"sex": ["M" if k % 2 else "F" for k in range(12)]}
    write(tree / "participants.tsv", {"participant_id": LABELS, **sex, **columns})


def sessions(tree: Path, *names: str, subjects: list[str] = LABELS) -> None:
    """``age`` (60 + k at ses-b, 1.5 more at ses-a) or ``acq_time`` (1.5 years apart, shifted), and ``mmse``."""
    for k, subject in enumerate(subjects):
        columns = {
            "age": [f"{60 + k:.1f}", f"{61.5 + k:.1f}"],
            "acq_time": [f"18{20 + k}-01-01T10:00:00", f"18{21 + k}-07-02T10:00:00"],
            "mmse": [str(30 - k % 3), str(28 - k % 3)],
        }
        write(tree / subject / f"{subject}_sessions.tsv", {"session_id": SESSIONS, **{n: columns[n] for n in names}})


def found(cohort: Cohort, code: str) -> Finding:
    return next(finding for finding in cohort.findings if finding.code == code)


def refusal(tree: Path, **flags: object) -> str:
    with pytest.raises(CohortError) as refused:
        read_cohort(tree, **flags)  # type: ignore[arg-type]
    return str(refused.value)


def test_a_raw_tree_with_ages(tmp_path: Path) -> None:
    make_tree(tmp_path)
    participants(tmp_path, age=["70"] * 12)
    sessions(tmp_path, "age", "mmse")
    touch(tmp_path / "derivatives/other/sub-00/ses-c/anat/sub-00_ses-c_T1w.nii.gz")
    cohort = read_cohort(tmp_path)
    assert (len(cohort), cohort.has_scans, cohort.modality, cohort.regions) == (24, True, "T1w", [])
    assert cohort.schema.layout == "bids"
    assert cohort.schema.covariates == {"mmse": "numeric", "sex": "categorical"}
    first = cohort.visits.iloc[:2]
    assert first["session"].tolist() == SESSIONS
    assert first["time"].tolist() == [0, 1.5]
    assert first["age"].tolist() == [60, 61.5]
    assert first["sex"].tolist() == ["F", "F"]
    assert first["scan"].iloc[1] == str(tmp_path / "sub-00/ses-a/anat/sub-00_ses-a_T1w.nii.gz")


def test_shifted_dates_and_an_age_at_baseline(tmp_path: Path) -> None:
    make_tree(tmp_path)
    participants(tmp_path, age=[str(60 + k) for k in range(12)])
    sessions(tmp_path, "acq_time")
    cohort = read_cohort(tmp_path)
    assert cohort.schema.time_kind == "date"
    assert cohort.visits["time"].iloc[1] == pytest.approx(1.5, abs=0.01)
    assert cohort.visits["age"].iloc[:2].tolist() == pytest.approx([60, 61.5], abs=0.01)


@pytest.mark.parametrize("folder", ["{subject}/{session}/{subject}_{session}", "{subject}/{subject}"])
def test_times_from_scans_tsv(tmp_path: Path, folder: str) -> None:
    make_tree(tmp_path)
    for subject in LABELS:
        rows = {
            session: [(f"func/{subject}_{session}_task-rest_bold.nii.gz", f"{2011 + k}-03-04T09:00:00"),
                      (f"anat/{subject}_{session}_T1w.nii.gz", f"{2011 + k}-03-05T09:00:00")]
            for k, session in enumerate(SESSIONS)
        }  # fmt: skip
        for session in SESSIONS:
            path = tmp_path / f"{folder.format(subject=subject, session=session)}_scans.tsv"
            told = rows[session] if "{session}" in folder else [row for group in rows.values() for row in group]
            write(path, {"filename": [name for name, _ in told], "acq_time": [time for _, time in told]})
    cohort = read_cohort(tmp_path)
    assert cohort.start["sub-00"] == pd.Timestamp(2011, 3, 5, 9)
    assert cohort.visits["time"].iloc[1] == pytest.approx(366 / 365.25)


def test_times_from_wide_participants(tmp_path: Path) -> None:
    make_tree(tmp_path, sessions=["ses-wave1", "ses-wave2"])
    waves = {f"Age_W{w}": [f"{60 + k + 1.25 * w:.2f}" for k in range(12)] for w in (1, 2, 3)}
    participants(tmp_path, **waves, **{f"MMSE_W{w}": [str(30 - k % (2 + w)) for k in range(12)] for w in (1, 2, 3)})
    cohort = read_cohort(tmp_path)
    assert len(cohort) == 24
    assert cohort.visits["time"].iloc[1] == pytest.approx(1.25)
    assert list(cohort.schema.covariates) == ["MMSE", "sex"]
    assert cohort.schema.fixed == ["sex"]
    named_otherwise = make_tree(tmp_path / "other", sessions=["ses-one", "ses-two"])
    participants(named_otherwise, **waves)
    assert "time of the visits cannot be known" in refusal(named_otherwise)


def test_times_from_long_participants(tmp_path: Path) -> None:
    make_tree(tmp_path)
    rows = [(subject, session, f"{60 + 1.5 * k}") for subject in LABELS for k, session in enumerate(("b", "a"))]
    keys = ("participant_id", "session_id", "age")
    write(tmp_path / "participants.tsv", {name: [row[k] for row in rows] for k, name in enumerate(keys)})
    assert read_cohort(tmp_path).visits["time"].iloc[1] == 1.5


def test_a_table_of_ages_comes_first(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    sessions(tree, "age", "mmse")
    rows = [(subject[4:], session, f"{50 + 2 * k},5") for subject in LABELS for k, session in enumerate(("b", "a"))]
    ages = tmp_path / "ages.csv"
    pd.DataFrame(rows, columns=["subject", "session", "age"]).to_csv(ages, sep=";", index=False)
    cohort = read_cohort(tree, ages=ages)
    assert cohort.visits["age"].iloc[:2].tolist() == [50.5, 52.5]
    assert cohort.covariates == ["mmse"]
    pd.DataFrame([("X1", "b", "50")], columns=["subject", "session", "age"]).to_csv(ages, index=False)
    assert "none of its subjects (sub-X1)" in refusal(tree, ages=ages)


def test_a_time_that_cannot_be_known_says_what_would_tell_it(tmp_path: Path) -> None:
    make_tree(tmp_path, sessions=["ses-M000", "ses-M012"])
    participants(tmp_path, age=["70"] * 12)
    refused = refusal(tmp_path)
    for word in ("time of the visits cannot be known", "sub-00/sub-00_sessions.tsv", "age", "acq_time", "--ages TABLE"):
        assert word in refused
    cohort = read_cohort(tmp_path, time="session_id")
    assert cohort.visits["time"].iloc[1] == 1


def test_dates_shifted_visit_by_visit_are_no_time(tmp_path: Path) -> None:
    make_tree(tmp_path)
    for subject in LABELS:
        path = tmp_path / subject / f"{subject}_sessions.tsv"
        write(path, {"session_id": SESSIONS, "acq_time": ["1880-01-10T05:17:54", "1802-06-04T22:54:25"]})
    assert "the acq_time of sub-00 lies more than 40 years apart" in refusal(tmp_path)


def test_one_session_needs_no_time_and_one_of_two_does(tmp_path: Path) -> None:
    make_tree(tmp_path)
    participants(tmp_path)
    sessions(tmp_path, "acq_time", subjects=LABELS[:-2])
    touch(tmp_path / "sub-99/anat/sub-99_T1w.nii.gz")
    cohort = read_cohort(tmp_path)
    assert len(cohort) == 21
    assert cohort.visits.iloc[-1][["subject", "session", "time"]].tolist() == ["sub-99", "", 0]
    assert found(cohort, "no-time").message.startswith("4 visits (sub-10 ses-a, sub-10 ses-b, sub-11 ses-a,")


@pytest.mark.parametrize("with_schema", [False, True])
def test_a_tree_of_one_session_is_read_for_a_forecast(tmp_path: Path, with_schema: bool) -> None:
    tree = make_tree(tmp_path / "tree")
    participants(tree)
    sessions(tree, "acq_time")
    schema = Schema.model_validate(read_cohort(tree).schema.model_dump()) if with_schema else None
    touch(tmp_path / "one/sub-7/ses-x/anat/sub-7_ses-x_T1w.nii.gz")
    write(tmp_path / "one/participants.tsv", {"participant_id": ["sub-7"], "sex": ["M"]})
    cohort = read_cohort(tmp_path / "one", schema=schema, strict=False)
    assert cohort.visits["time"].tolist() == [0]
    assert cohort.visits["session"].tolist() == ["ses-x"]
    assert cohort.covariates == (["sex"] if with_schema else [])


@pytest.mark.parametrize("pattern", [FMRIPREP, CLINICA, CAT12])
def test_derivatives_with_the_tables_of_their_raw_tree(tmp_path: Path, pattern: str) -> None:
    participants(tmp_path)
    sessions(tmp_path, "age")
    tree = make_tree(tmp_path / "derivatives" / "made", pattern)
    cohort = read_cohort(tree)
    assert (len(cohort), cohort.covariates) == (24, ["sex"])
    assert cohort.schema.bids is not None
    assert cohort.schema.bids.space is not None
    assert cohort.schema.bids.space.startswith("MNI152NLin2009c")


def test_several_spaces_are_chosen_by_flag(tmp_path: Path) -> None:
    tree = make_tree(make_tree(tmp_path, FMRIPREP), FMRIPREP.replace("_space-MNI152NLin2009cAsym", ""))
    sessions(tree, "age")
    refused = refusal(tree)
    assert "space: MNI152NLin2009cAsym (24) and native (24); choose with --space" in refused
    assert "MNI" in read_cohort(tree, space="MNI152NLin2009cAsym").visits["scan"].iloc[0]
    native = read_cohort(tree, space="native", desc="preproc")
    assert "MNI" not in native.visits["scan"].iloc[0]
    assert "There are preproc (24)" in refusal(tree, space="native", desc="brain")
    again = read_cohort(tree, schema=Schema.model_validate(native.schema.model_dump()))
    pd.testing.assert_frame_equal(again.visits, native.visits)


def test_several_kinds_are_chosen_by_flag(tmp_path: Path) -> None:
    tree = make_tree(make_tree(tmp_path), "{subject}/{session}/pet/{subject}_{session}_trc-FDG_pet.nii.gz")
    sessions(tree, "age")
    assert "T1w (24) and pet (24); choose with --suffix" in refusal(tree)
    assert read_cohort(tree, suffix="pet").modality == "pet"
    assert "no file has the suffix FLAIR" in refusal(tree, suffix="FLAIR")
    touch(tree / "sub-00/ses-a/pet/sub-00_ses-a_trc-AV45_pet.nii.gz")
    assert "AV45 (1) and FDG (24)" in refusal(tree, suffix="pet")


def test_the_first_run_is_taken_with_a_warning(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    sessions(tree, "age")
    (tree / "sub-03/ses-a/anat/sub-03_ses-a_T1w.nii.gz").unlink()
    for run in ("01", "02"):
        touch(tree / f"sub-03/ses-a/anat/sub-03_ses-a_run-{run}_T1w.nii.gz")
    cohort = read_cohort(tree)
    assert len(cohort) == 24
    assert "sub-03_ses-a_run-01_T1w.nii.gz, not sub-03_ses-a_run-02" in found(cohort, "several-files").message


def test_a_scan_that_is_only_a_broken_link_is_dropped_by_name(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    sessions(tree, "age")
    path = tree / "sub-03/ses-a/anat/sub-03_ses-a_T1w.nii.gz"
    path.unlink()
    path.symlink_to(tmp_path / ".git" / "annex" / "gone")
    cohort = read_cohort(tree)
    assert len(cohort) == 23
    assert "1 visit (sub-03 ses-a)" in found(cohort, "missing-scan").message


def test_bad_cells_are_named_by_visit(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    sessions(tree, "age")
    path = tree / "sub-03/sub-03_sessions.tsv"
    path.write_text(path.read_text().replace("63.0", "abc"))
    assert "sub-03 ses-b, column age: found 'abc'" in refusal(tree)


def test_flags_of_the_other_kind_and_folders_that_are_no_tree_are_refused(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "derivatives" / "made")
    assert "derivatives/made" in refusal(tmp_path)
    assert "--scan was given, but the path is a folder" in refusal(tree, scan="scan")
    (tmp_path / "t.csv").write_text("subject,age\n")
    assert "--suffix was given, but the path is no folder" in refusal(tmp_path / "t.csv", suffix="T1w")
    regions = Schema(layout="plain", subject="subject", time="age", time_kind="age", regions=["A"])
    assert "trained on regions without scans" in refusal(tree, schema=regions)


def test_visits_of_a_tree_are_read_back_from_a_table_of_them(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    participants(tree)
    sessions(tree, "age", "mmse")
    cohort = read_cohort(tree)
    table = tmp_path / "t.csv"
    table.write_text(table_text(to_table(cohort.visits, cohort.schema, cohort.start), cohort.schema), encoding="utf-8")
    pd.testing.assert_frame_equal(read_cohort(table, schema=cohort.schema).visits, cohort.visits)
    assert (read_cohort(table).modality, len(read_cohort(table))) == ("T1w", 24)


def test_names_are_read_as_entities() -> None:
    file = parse(Path("sub-01_ses-M000_T1w_space-X_desc-Crop_T1w.nii.gz"))
    assert file is not None
    assert (file.visit, file.suffix, file.entities["desc"]) == (("sub-01", "ses-M000"), "T1w", "Crop")
    assert parse(Path("sub-01_T1w.json")) is None
    assert parse(Path("sub-01_ses-01.nii")) is None


@pytest.mark.skipif(not SYNTHETIC.exists(), reason="the public tree is not here")
def test_the_public_tree_tells_no_time(tmp_path: Path) -> None:
    assert "time of the visits cannot be known" in refusal(SYNTHETIC)
    ages = tmp_path / "ages.tsv"
    rows = [(f"sub-0{k}", f"ses-0{v}", str(20 + k + 2 * v)) for k in range(1, 6) for v in (1, 2)]
    pd.DataFrame(rows, columns=["participant_id", "session_id", "age"]).to_csv(ages, sep="\t", index=False)
    cohort = read_cohort(SYNTHETIC, ages=ages, strict=False)
    assert (len(cohort), cohort.covariates) == (10, ["systolic_blood_pressure", "sex"])
    assert (cohort.visits.groupby("subject")["time"].max() == 2).all()


@pytest.mark.skipif(not DLBS.exists(), reason="the public table is not here")
def test_dlbs_ages_at_the_sessions_of_an_invented_tree(tmp_path: Path) -> None:
    for label in pd.read_csv(DLBS, sep="\t")["participant_id"][:30]:
        for wave in (1, 2, 3):
            touch(tmp_path / f"{label}/ses-wave{wave}/anat/{label}_ses-wave{wave}_T1w.nii.gz")
    (tmp_path / "participants.tsv").write_bytes(DLBS.read_bytes())
    cohort = read_cohort(tmp_path, time="AgeMRI")
    assert cohort.schema.time == "AgeMRI"
    assert "Sex" in cohort.covariates
    assert "MMSE" in cohort.covariates


def test_ages_in_years_against_labels_in_months_are_asked_about(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", sessions=["ses-12mo", "ses-24mo"])
    rows = [(subject, session, str(12 * (k + 1) + n % 2)) for n, subject in enumerate(LABELS)
            for k, session in enumerate(("ses-12mo", "ses-24mo"))]  # fmt: skip
    subject, session, age = map(list, zip(*rows, strict=True))
    write(tree / "participants.tsv", {"participant_id": subject, "session": session, "age": age})
    assert "--age-unit months" in refusal(tree)
    assert read_cohort(tree, age_unit="months").visits["age"].max() == pytest.approx(25 / 12)


def test_ages_of_a_tree_with_units_in_their_cells(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    sessions(tree, "acq_time")
    participants(tree, age=[f"{60 + k:03d}Y" for k in range(12)])
    assert read_cohort(tree).visits["age"].between(60, 73).all()


def test_two_scans_at_a_bounded_age_are_reported_as_that(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    for k, subject in enumerate(LABELS):
        cells = ["89+", "89+"] if k == 3 else [f"{60 + k}", f"{62 + k}"]
        write(tree / subject / f"{subject}_sessions.tsv", {"session_id": SESSIONS, "age": cells})
    cohort = read_cohort(tree)
    assert len(cohort) == 23 and len(found(cohort, "bounded-time").rows) == 1
