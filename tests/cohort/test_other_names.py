"""Names in other languages and studies have their role, also if no list has them."""

from pathlib import Path

import pandas as pd
import pytest
from simulated_tables import assert_read, dated, save

from crow.cohort import Cohort, read_cohort
from crow.cohort.visit_codes import visit_months

NAMES = [
    ("Pat.-Nr.", "Untersuchungsdatum", "Lebensalter (Jahre)", "Geschl.", "Hippokampus", "%d.%m.%Y"),
    ("N\u00b0 patient", "Date de l'examen", "\u00c2ge", "Sexe", "Hippocampe", "%d/%m/%Y"),
    ("ID Paciente", "Fecha de la visita", "Edad", "Sexo", "Hipocampo", "%d/%m/%Y"),
    ("Codice soggetto", "Data esame", "Et\u00e0", "Sesso", "Ippocampo", "%d/%m/%Y"),
    ("Pati\u00ebntnummer", "Datum scan", "Leeftijd", "Geslacht", "Hippocampus", "%d-%m-%Y"),
    ("Sujeito", "Data do exame", "Idade", "G\u00eanero", "Hipocampo", "%d/%m/%Y"),
    ("SubjIDshort", "NP_SessionDate", "NP_Age", "BiologicalSex", "Hippocampus_FS6", "%Y-%m-%d"),
    ("CCID", "scan date", "age", "gender_code", "hippocampus", "%Y-%m-%d"),
    ("Med_ID", "Interview_Date", "Age", "ID_Gender", "FS_Hippocampus", "%m/%d/%Y"),
]


def codes(cohort: Cohort) -> set[str]:
    return {finding.code for finding in cohort.findings}


@pytest.mark.parametrize(("subject", "date", "age", "sex", "region", "writing"), NAMES)
def test_names_of_other_languages_and_studies(
    tmp_path: Path, subject: str, date: str, age: str, sex: str, region: str, writing: str
) -> None:
    truth = dated()
    table = truth.assign(date=truth["date"].dt.strftime(writing)).rename(
        columns={"subject": subject, "date": date, "age": age, "sex": sex, "Hippocampus": region}
    )
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert (cohort.schema.subject, cohort.schema.time, cohort.schema.age) == (subject, date, age)
    assert sex in cohort.covariates
    assert_read(cohort, truth)


@pytest.mark.parametrize(("birth", "date"), [("data di nascita", "data_esame"), ("geboortedatum", "datum_scan")])
def test_births_in_other_languages(birth: str, date: str) -> None:
    truth = dated()
    born = (
        (truth["date"] - pd.to_timedelta(truth["age"] * 365.25, unit="D")).groupby(truth["subject"]).transform("first")
    )
    table = truth.assign(**{birth: born.dt.strftime("%d/%m/%Y"), date: truth["date"].dt.strftime("%d/%m/%Y")})
    cohort = read_cohort(table.drop(columns=["date", "age"]))
    assert cohort.visits["age"].to_numpy() == pytest.approx(truth["age"].to_numpy(), abs=0.02)


@pytest.mark.parametrize(
    ("code", "months"),
    [
        ("12 mesi", 12), ("24 maanden", 24), ("2 anni", 24), ("1 jaar", 12), ("Ann\u00e9e 2", 24), ("inclusion", 0),
        ("basal", 0), ("nulmeting", 0), ("Ligne de base", 0), ("52 settimane", 52 * 7 * 12 / 365.25), ("T1", None),
    ],
)  # fmt: skip
def test_visit_codes_in_other_languages(code: str, months: float | None) -> None:
    assert visit_months(code) == pytest.approx(months)


def test_codes_of_adni_4_have_the_phase_first() -> None:
    assert [visit_months(code, "adni") for code in ("4_bl", "4_sc", "4_m12")] == [0, 0, 12]
    assert visit_months("4_m12x") is None


def test_a_subject_without_a_usual_name_is_found_by_its_values(tmp_path: Path) -> None:
    table = dated().rename(columns={"subject": "AIBL ID"})
    cohort = read_cohort(save(table, tmp_path / "t.csv"))
    assert cohort.schema.subject == "AIBL ID"
    assert "subject-found" in codes(cohort)


def test_a_year_of_birth_after_a_slash() -> None:
    truth = dated()
    year = truth["date"].dt.year - truth["age"].astype(int)
    table = truth.assign(PTDOB="/" + year.groupby(truth["subject"]).transform("first").astype(str)).drop(columns="age")
    table["date"] = truth["date"].dt.strftime("%Y-%m-%d")
    assert read_cohort(table).visits["age"].to_numpy() == pytest.approx(truth["age"].to_numpy(), abs=1.6)


def test_labels_without_a_time_are_named(tmp_path: Path) -> None:
    table = dated().drop(columns=["date", "age"])
    table["visit"] = [["m00", "m12", "R04"][row % 3] for row in range(len(table))]
    finding = next(f for f in read_cohort(save(table, tmp_path / "t.csv")).findings if f.code == "no-time")
    assert "no time in visit (R04); dropped" in finding.message


@pytest.mark.parametrize("name", ["Sterbealter", "Konversion", "mci_to_ad", "ADconv", "decede", "overleden"])
def test_outcomes_in_other_words_know_the_future(name: str) -> None:
    truth = dated()
    table = truth.assign(date=truth["date"].dt.strftime("%Y-%m-%d"), **{name: (truth["subject"] < "S05").astype(int)})
    cohort = read_cohort(table)
    assert name in cohort.left_out
    assert "future-column" in codes(cohort)


def test_the_value_at_the_next_visit_knows_the_future() -> None:
    truth = dated()
    table = truth.assign(date=truth["date"].dt.strftime("%Y-%m-%d"))
    table["next_volume"] = truth.groupby("subject")["Ventricles"].shift(-1)
    cohort = read_cohort(table)
    assert cohort.regions == ["Hippocampus", "Ventricles"]
    assert "next_volume" in cohort.left_out


def test_versions_of_the_software_are_batches_and_no_region() -> None:
    truth = dated()
    table = truth.assign(
        date=truth["date"].dt.strftime("%Y-%m-%d"), FS_version=[["5.3", "5.3", "6.0"][r % 3] for r in range(len(truth))]
    )
    cohort = read_cohort(table)
    assert cohort.schema.sites == ["FS_version"]
    assert "scanner-follows-time" in codes(cohort)
