"""A mapping holds every column and reads the table in the same way; one edited line changes the reading."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from simulated_tables import adnimerge, oasis2, plain, save, tadpole, wide

from crow.cohort import read_cohort
from crow.cohort.mapping import read_mapping
from crow.errors import CohortError, ConfigError

TABLES = {"plain": plain, "adnimerge": adnimerge, "tadpole": tadpole, "oasis2": oasis2, "wide": wide}


def written(folder: Path, table: pd.DataFrame, **changes: dict[str, object]) -> tuple[Path, Path]:
    """A table and its mapping, with some columns changed."""
    path, mapping = save(table, folder / "t.csv"), folder / "mapping.yaml"
    found = read_cohort(path, strict=False).mapping
    assert found is not None
    content = yaml.safe_load(found.text(str(path), examples=True))
    for name, change in changes.items():
        content["columns"][name] |= change
    mapping.write_text(yaml.safe_dump(content, sort_keys=False))
    return path, mapping


@pytest.mark.parametrize("name", TABLES)
def test_a_mapping_reads_the_same_visits(tmp_path: Path, name: str) -> None:
    path, mapping = written(tmp_path, TABLES[name]())
    cohort, again = read_cohort(path), read_cohort(path, mapping=mapping)
    pd.testing.assert_frame_equal(again.visits, cohort.visits)
    assert again.schema == cohort.schema
    assert cohort.mapping is not None
    named = {cohort.schema.subject, cohort.schema.time, *cohort.covariates, *cohort.regions, *cohort.left_out}
    assert named <= set(cohort.mapping.columns)


def test_every_column_has_its_role_kind_codes_reason_and_examples(tmp_path: Path) -> None:
    table = plain()
    table.loc[4, "Hippocampus"] = "-999"
    _, mapping = written(tmp_path, table.assign(note="x"))
    columns = yaml.safe_load(mapping.read_text())["columns"]
    assert list(columns) == list(table.assign(note="x"))
    assert columns["Hippocampus"]["missing"] == [-999.0]
    assert (columns["Hippocampus"]["role"], columns["Hippocampus"]["kind"]) == ("region", "positive")
    assert (columns["age"]["role"], columns["age"]["kind"], columns["age"]["unit"]) == ("time", "age", "years")
    assert columns["note"] == {"role": "left out", "reason": "the same in every row", "examples": ["x"]}
    assert all(column["reason"] and column["examples"] for column in columns.values())


def test_a_mapping_for_a_run_has_no_value_of_the_table(tmp_path: Path) -> None:
    mapping = read_cohort(save(plain(), tmp_path / "t.csv")).mapping
    assert mapping is not None
    text = mapping.text()
    assert "examples" not in text and "S00" not in text


def test_one_line_changes_the_role_the_kind_and_the_codes(tmp_path: Path) -> None:
    table = plain()
    table.loc[3, "Ventricles"] = "777"
    path, mapping = written(
        tmp_path, table, Ventricles={"role": "covariate", "missing": []}, education={"kind": "categorical"}
    )
    cohort = read_cohort(path, mapping=mapping)
    assert cohort.regions == ["Hippocampus"]
    assert cohort.schema.covariates == {"sex": "categorical", "education": "categorical", "Ventricles": "numeric"}
    assert 777 in cohort.visits["Ventricles"].tolist()
    path, mapping = written(tmp_path, table, Ventricles={"missing": [777]}, sex={"role": "left out"})
    cohort = read_cohort(path, mapping=mapping, missing="impute")
    assert cohort.visits["Ventricles"].isna().sum() == 1
    assert cohort.left_out["sex"] == "excluded by a mapping"


def test_the_unit_of_an_age_and_the_marks_of_a_column(tmp_path: Path) -> None:
    table = plain()
    table["Ventricles"] = [f"{float(value) / 1000:.3f}" for value in table["Ventricles"]]
    path, mapping = written(tmp_path, table, age={"unit": "months"}, Ventricles={"decimal": ",", "thousands": "."})
    cohort = read_cohort(path, mapping=mapping)
    assert cohort.visits["age"].max() == pytest.approx(table["age"].astype(float).max() / 12)
    assert cohort.visits["Ventricles"].min() > 1000


def test_a_flag_overrides_the_mapping(tmp_path: Path) -> None:
    path, mapping = written(tmp_path, plain())
    assert read_cohort(path, mapping=mapping, regions=["Ventricles"]).regions == ["Ventricles"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: {subject: {role: patient}}", "columns subject role"),
        ("columns: {a: {role: subject}, b: {role: subject}}", "a, b have the role subject"),
        ("columns: {a: {role: region}}", "no column has the role subject"),
        ("columns: {s: {role: subject}, a: {role: time, kind: seconds}}", "column a: kind seconds"),
        ("columns: [", "not valid YAML"),
        ("a: 1", "mapping.yaml"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mapping.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_mapping(tmp_path / "mapping.yaml")
    with pytest.raises(ConfigError, match="No such file"):
        read_mapping(tmp_path / "none.yaml")


def test_a_column_that_the_table_lacks_is_named(tmp_path: Path) -> None:
    path, mapping = written(tmp_path, plain())
    table = plain().rename(columns={"Ventricles": "Ventricle"})
    with pytest.raises(CohortError, match=r"Ventricles.*Did you mean Ventricle\?"):
        read_cohort(save(table, path), mapping=mapping)
