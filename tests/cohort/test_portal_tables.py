"""Downloads of portals and programs are read as what they are, from names and values."""

from pathlib import Path

import pandas as pd
import portal_tables as portal
import pytest
from simulated_tables import save

from crow.cohort import Cohort, Finding, read_cohort
from crow.cohort.writing import table_text, to_table
from crow.errors import CohortError


def found(cohort: Cohort, code: str) -> Finding:
    return next(finding for finding in cohort.findings if finding.code == code)


def codes(cohort: Cohort) -> set[str]:
    return {finding.code for finding in cohort.findings}


@pytest.mark.parametrize(
    ("style", "subject"),
    [
        ("{field}-{instance}.0", "eid"), ("f.{field}.{instance}.0", "f.eid"), ("p{field}_i{instance}", "eid"),
        ("participant.p{field}_i{instance}", "participant.eid"), ("x{field}_{instance}_0", "eid"),
        ("measure_f{field}_{instance}_0", "eid"),
    ],
)  # fmt: skip
def test_uk_biobank_has_instances_as_visits(tmp_path: Path, style: str, subject: str) -> None:
    table = portal.ukb(style, subject)
    cohort = read_cohort(save(table, tmp_path / "ukb.csv"))
    back = [s for s in range(portal.SUBJECTS) if s % 4 != 3]
    assert (len(cohort.subjects), len(cohort)) == (portal.SUBJECTS, portal.SUBJECTS + len(back))
    assert cohort.regions == ["hippocampus_left_25019", "grey_matter_normalised_25005"]
    assert list(cohort.covariates) == ["sex_31"]
    assert (cohort.schema.layout, cohort.schema.time, cohort.schema.time_kind) == ("ukb", "date_53", "date")
    first = cohort.visits[cohort.visits["subject"] == "1000000"]
    assert first["session"].tolist() == ["2", "3"]
    assert first["time"].iloc[1] == pytest.approx(800 / 365.25)
    assert first["age"].tolist() == pytest.approx([55, 55 + 800 / 365.25])
    assert "no measure was taken at instance 0" in found(cohort, "instance").message


def test_uk_biobank_by_titles_of_fields(tmp_path: Path) -> None:
    titles = {
        "21003": "Age when attended assessment centre", "53": "Date of attending assessment centre",
        "25019": "Volume of hippocampus (left)", "25005": "Volume of grey matter",
    }  # fmt: skip
    fields = [name.split("-") for name in portal.ukb().columns[2:]]
    names = [f"{titles[field]} | Instance {place[0]}" for field, place in fields]
    table = portal.ukb().set_axis(["Participant ID", "Sex", *names], axis=1)
    cohort = read_cohort(save(table, tmp_path / "ukb.csv"))
    assert cohort.regions == ["Volume of hippocampus (left)", "Volume of grey matter"]
    assert cohort.schema.time == "Date of attending assessment centre"
    assert len(cohort) == 2 * portal.SUBJECTS - 3


@pytest.mark.parametrize("described", [True, False])
def test_the_data_archive_has_ages_in_months_and_a_row_of_descriptions(tmp_path: Path, described: bool) -> None:
    table = portal.nda()
    rows = pd.concat([pd.DataFrame([portal.NDA_DESCRIPTIONS]), table]) if described else table
    cohort = read_cohort(save(rows, tmp_path / "smrip10201.txt", sep="\t", quoting=1))
    assert (cohort.schema.subject, cohort.schema.time) == ("src_subject_id", "interview_date")
    assert cohort.schema.session == "eventname"
    assert cohort.visits["age"].between(8.9, 15.1).all()
    one = table[table["src_subject_id"] == "NDAR_INV0000"]
    assert cohort.visits["age"].iloc[:3].tolist() == pytest.approx(one["interview_age"].astype(float) / 12)
    assert "subjectkey" not in cohort.covariates
    assert ("second-header" in codes(cohort)) == described
    if described:
        assert found(cohort, "second-header").rows == (2,)


def test_ages_in_months_are_a_time_of_their_own(tmp_path: Path) -> None:
    cohort = read_cohort(save(portal.nda(dates=False), tmp_path / "t.csv"))
    assert cohort.schema.time == "interview_age"
    assert cohort.visits["age"].max() < 16
    assert cohort.visits["time"].max() < 5
    again = read_cohort(_write(cohort, tmp_path / "again.csv"), schema=cohort.schema)
    assert again.visits["age"].tolist() == pytest.approx(cohort.visits["age"].tolist(), abs=1e-5)
    assert found(cohort, "age-unit").severity == "warning"


def test_abcd_sessions_are_years_and_half_years(tmp_path: Path) -> None:
    cohort = read_cohort(save(portal.abcd("AM"), tmp_path / "t.tsv", sep="\t"))
    assert cohort.visits["time"].iloc[:3].tolist() == [0, 2.5, 4]
    assert "02M" in found(cohort, "visit-codes").message
    named = read_cohort(save(portal.abcd("M", named=True), tmp_path / "n.tsv", sep="\t"))
    assert named.visits["time"].iloc[:3].tolist() == [0, 2, 4]


def test_labels_that_may_be_months_or_abcd_are_asked_about(tmp_path: Path) -> None:
    path = save(portal.abcd("M"), tmp_path / "t.tsv", sep="\t")
    with pytest.raises(
        CohortError, match=r"months, or years and half years as in ABCD.*--time-kind visit.*another --cohort"
    ):
        read_cohort(path)
    months = read_cohort(path, time_kind="visit")
    assert months.visits["time"].iloc[:3].tolist() == pytest.approx([0, 2 / 12, 4 / 12])


@pytest.mark.parametrize("measure", ["Measure:volume", "lh.aparc.thickness", "rh.aparc.a2009s.area"])
def test_freesurfer_directories_are_subject_and_session(tmp_path: Path, measure: str) -> None:
    path = save(portal.asegstats(measure, mixed=True), tmp_path / "stats.tsv", sep="\t")
    with pytest.raises(CohortError, match="another --cohort"):
        read_cohort(path)
    cohort = read_cohort([path, save(portal.ages(), tmp_path / "ages.csv")])
    assert (len(cohort.subjects), len(cohort)) == (portal.SUBJECTS, 3 * portal.SUBJECTS)
    assert cohort.visits["subject"].iloc[0] == "sub-01"
    assert cohort.visits["session"].iloc[:3].tolist() == ["ses-1", "ses-2", "ses-3"]
    assert cohort.visits["time"].iloc[:3].tolist() == pytest.approx([0, 1.3, 2.6])
    assert cohort.regions == ["Left-Hippocampus", "Left-Caudate"]
    assert set(cohort.covariates) <= {"sex", "EstimatedTotalIntraCranialVol"}
    left_out = found(cohort, "cross-sectional")
    assert len(left_out.rows) == 4 * portal.SUBJECTS
    assert cohort.visits["Left-Hippocampus"].mean() < 3800


@pytest.mark.parametrize("style", ["OAS2_{s:04d}_MR{v}", "{s:03d}_tp{v}", "P{s:02d}-visit-{v}"])
def test_cross_sectional_directories_are_taken_apart_too(tmp_path: Path, style: str) -> None:
    table = portal.asegstats(style=style)
    table["Measure:volume"] = table["Measure:volume"].str.replace(r"\.long\..*", "", regex=True)
    table["age"] = [f"{60 + 1.1 * k:.1f}" for k in range(len(table))]
    cohort = read_cohort(save(table, tmp_path / "stats.tsv", sep="\t"))
    assert (len(cohort.subjects), len(cohort)) == (portal.SUBJECTS, 3 * portal.SUBJECTS)
    assert style.format(s=1, v=2) in [
        f"{row.subject}{style[style.index('}') + 1]}{row.session}" for row in cohort.visits.itertuples()
    ]


def test_labels_of_subject_and_session_in_a_plain_table(tmp_path: Path) -> None:
    table = portal.ages(style="sub{s}").assign(volume=[f"{3000 + k * 1.5:.1f}" for k in range(45)])
    table.insert(0, "ID", table.pop("participant_id") + "_v" + table.pop("session_id").str[-1])
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert (len(cohort.subjects), len(cohort)) == (15, 45)
    assert found(cohort, "label").column == "ID"


@pytest.mark.parametrize("labels", [False, True])
def test_redcap_carries_enrolment_and_drops_repeats(tmp_path: Path, labels: bool) -> None:
    cohort = read_cohort(save(portal.redcap(labels), tmp_path / "redcap.csv"))
    assert (len(cohort.subjects), len(cohort)) == (portal.SUBJECTS, 3 * portal.SUBJECTS)
    assert cohort.regions == ["hippocampus", "ventricles"]
    one = cohort.visits[cohort.visits["subject"] == "1"]
    assert one["sex"].tolist() == ["M"] * 3
    assert one["age"].tolist() == pytest.approx((61 + one["time"]).tolist())
    assert len(found(cohort, "repeat-rows").rows) == 2 * portal.SUBJECTS
    assert found(cohort, "enrolment").rows[0] == 2


def test_redcap_without_events_has_repeats_as_visits(tmp_path: Path) -> None:
    cohort = read_cohort(save(portal.redcap_repeats(), tmp_path / "redcap.csv"))
    assert (len(cohort.subjects), len(cohort)) == (portal.SUBJECTS, 3 * portal.SUBJECTS)
    assert (cohort.regions, cohort.covariates) == (["hippocampus", "ventricles"], ["sex"])
    assert cohort.visits["age"].between(60, 80).all()
    assert len(found(cohort, "repeat-rows").rows) == portal.SUBJECTS


def test_nacc_has_split_dates_and_codes_for_missing(tmp_path: Path) -> None:
    cohort = read_cohort(save(portal.nacc(), tmp_path / "nacc.csv"), missing="impute")
    assert cohort.schema.time_kind == "date"
    assert cohort.start["NACC100000"] == pd.Timestamp(2008, 1, 1)
    assert {"HIPPOVOL", "CSFVOL"} <= set(cohort.regions)
    assert cohort.visits["HIPPOVOL"].max() < 10
    assert cohort.visits["HIPPOVOL"].isna().sum() == 1
    assert cohort.visits["NACCMMSE"].max() <= 30
    assert cohort.visits["NACCICV"].max() < 1500 if "NACCICV" in cohort.visits else True


def test_ppmi_codes_and_months(tmp_path: Path) -> None:
    cohort = read_cohort(save(portal.ppmi(), tmp_path / "ppmi.csv"))
    assert cohort.regions == ["CAUDATE_R", "PUTAMEN_L"]
    assert cohort.visits["time"].iloc[:4].tolist() == pytest.approx([0, 1, 2, 4], abs=0.01)
    codes_only = read_cohort(save(portal.ppmi().drop(columns=["INFODT", "AGE_AT_VISIT"]), tmp_path / "c.csv"))
    assert codes_only.visits["time"].iloc[:4].tolist() == [0, 1, 2, 4]


def test_adni_freesurfer_table(tmp_path: Path) -> None:
    cohort = read_cohort(save(portal.ucsffsx(), tmp_path / "UCSFFSX.csv"))
    assert cohort.schema.layout == "adni"
    assert cohort.regions == ["ST29SV", "ST88SV", "ST24TA", "ST24CV"]
    assert list(cohort.covariates) == ["ST10CV"]
    assert cohort.left_out["ST24SA"] == "an area or a deviation, not a volume"
    assert cohort.visits["time"].iloc[1] == pytest.approx(1.0, abs=0.01)


def test_adni_tables_since_october_2024(tmp_path: Path) -> None:
    cohort = read_cohort(save(portal.berkeley(), tmp_path / "UCBERKELEY_AMY_6MM.csv"))
    assert (cohort.schema.subject, cohort.schema.time) == ("subject_id", "image_date")
    assert cohort.regions == ["CTX_LH_PRECUNEUS_SUVR", "CTX_RH_PRECUNEUS_SUVR"]
    assert len(cohort) == 3 * portal.SUBJECTS


def test_oasis3_labels_alone_tell_subject_and_day(tmp_path: Path) -> None:
    scans, _ = portal.oasis3()
    table = scans.drop(columns=["OASISID", "days_to_visit"]).rename(columns={"MR_session": "MR ID"})
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.visits["subject"].iloc[0] == "OAS30000"
    assert cohort.visits["time"].iloc[:3].tolist() == pytest.approx([0, 400 / 365.25, 800 / 365.25])


def test_a_german_lab_table(tmp_path: Path) -> None:
    text = portal.german_lab().to_csv(sep=";", index=False)
    path = tmp_path / "labor.csv"
    path.write_bytes(text.encode("cp1252"))
    cohort = read_cohort(path)
    assert (cohort.schema.subject, cohort.schema.time) == ("Probanden-ID", "Untersuchungsdatum")
    assert cohort.schema.date_order == "dmy"
    assert cohort.regions == ["Hippocampus li", "Hippocampus re"]
    assert set(cohort.covariates) == {"Geschlecht", "Diagnose"}
    assert cohort.schema.age == "Alter"
    assert cohort.visits["time"].iloc[1] == pytest.approx(370 / 365.25)


def test_synthseg_names_files(tmp_path: Path) -> None:
    cohort = read_cohort(save(portal.synthseg(), tmp_path / "volumes.csv"))
    assert cohort.schema.layout == "synthseg"
    assert cohort.visits["subject"].iloc[0] == "sub-00"
    assert cohort.visits["time"].iloc[:3].tolist() == [0, 1, 2]
    assert cohort.regions == ["left cerebral white matter", "left lateral ventricle", "left hippocampus"]


def test_qdec_is_separated_by_blanks(tmp_path: Path) -> None:
    path = tmp_path / "long.qdec.table.dat"
    path.write_text("\n".join("   ".join(row) for row in [list(portal.qdec()), *portal.qdec().to_numpy().tolist()]))
    cohort = read_cohort(path)
    assert (cohort.schema.subject, cohort.schema.session, cohort.schema.time) == ("fsid-base", "fsid", "years")
    assert len(cohort) == 3 * portal.SUBJECTS


def _write(cohort: Cohort, path: Path) -> Path:
    path.write_text(table_text(to_table(cohort.visits, cohort.schema, cohort.start), cohort.schema), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "table",
    [portal.ukb, portal.nda, portal.abcd, portal.redcap, portal.ppmi, portal.ucsffsx, portal.berkeley, portal.nacc],
)
def test_what_is_written_in_a_layout_is_read_back(tmp_path: Path, table: object) -> None:
    cohort = read_cohort(save(table(), tmp_path / "t.csv"), missing="impute")  # type: ignore[operator]
    again = read_cohort(_write(cohort, tmp_path / "again.csv"), schema=cohort.schema)
    assert again.visits["time"].tolist() == pytest.approx(cohort.visits["time"].tolist(), abs=2e-3)
    for name in cohort.regions:
        assert again.visits[name].tolist() == pytest.approx(cohort.visits[name].tolist(), nan_ok=True)


def test_an_age_at_recruitment_is_none_at_the_scans(tmp_path: Path) -> None:
    table = portal.ukb().drop(columns=["21003-2.0", "21003-3.0"]).assign(**{"21022-0.0": "50"})
    cohort = read_cohort(save(table, tmp_path / "ukb.csv"))
    assert cohort.visits["age"].isna().all()
    assert len(cohort) == 2 * portal.SUBJECTS - 3


@pytest.mark.parametrize("name", ["HC_{s:02d}", "site{g}_{s:02d}", "{s}"])
def test_labels_of_groups_are_no_sessions(tmp_path: Path, name: str) -> None:
    ids = [name.format(s=s % 5 if "{g}" in name else s, g=s // 5) for s in range(40)]
    ages, volumes = [50 + 7 * s % 31 for s in range(40)], [3000 + 13 * s % 97 for s in range(40)]
    table = pd.DataFrame({"ID": ids, "age": ages, "Hippocampus": volumes})
    with pytest.raises(CohortError, match="one row only"):
        read_cohort(save(table, tmp_path / "t.csv"))
