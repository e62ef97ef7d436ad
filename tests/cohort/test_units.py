"""Units of regions: from a mapping, a JSON file beside the table, the kind of table, or the name."""

from pathlib import Path

import pytest
import yaml
from commands import done

from crow.cohort import read_cohort
from crow.cohort.units import region_units, written
from crow.errors import ConfigError
from crow.simulate import simulate_adni, simulate_wide


def test_units_come_from_the_user_the_description_the_layout_and_the_name() -> None:
    found = region_units(
        ["Ventricles", "Hippocampus", "lh_cuneus_thickness", "WM_mm3", "MMSE"], "adnimerge",
        {"Hippocampus": "cc", "MMSE": "points scored in the test"}, {"WM_mm3": "voxels"},
    )  # fmt: skip
    assert found == {
        "Ventricles": "mm³", "Hippocampus": "cm³", "lh_cuneus_thickness": "mm", "WM_mm3": "voxels"
    }  # fmt: skip


@pytest.mark.parametrize(("text", "unit"), [("mm^3", "mm³"), ("ML", "cm³"), ("Millimeters", "mm"), ("SUVR", "SUVR")])
def test_a_unit_has_one_spelling(text: str, unit: str) -> None:
    assert written(text) == unit


def test_a_cohort_knows_the_units_of_its_layout_and_of_the_file_beside_it(tmp_path: Path) -> None:
    simulate_adni(12, 3, seed=0).table.to_csv(tmp_path / "a.csv", index=False)
    assert read_cohort(tmp_path / "a.csv").schema.units["Hippocampus"] == "mm³"
    table = simulate_wide(12, 3, 3, 0).table
    table.to_csv(tmp_path / "b.csv", index=False)
    regions = read_cohort(tmp_path / "b.csv").regions
    (tmp_path / "b.json").write_text(f'{{"{regions[0]}": {{"Units": "mL"}}}}')
    assert read_cohort(tmp_path / "b.csv").schema.units == {regions[0]: "cm³"}


def test_a_mapping_sets_the_unit_of_a_region_and_refuses_a_wrong_unit_of_an_age(tmp_path: Path) -> None:
    simulate_adni(12, 3, seed=0).table.to_csv(tmp_path / "a.csv", index=False)
    done(["check", tmp_path / "a.csv", "--write", tmp_path / "m.yaml"])
    mapping = yaml.safe_load((tmp_path / "m.yaml").read_text())
    assert mapping["columns"]["Hippocampus"]["unit"] == "mm³"
    mapping["columns"]["Hippocampus"]["unit"] = "SUVR"
    (tmp_path / "m.yaml").write_text(yaml.dump(mapping))
    assert read_cohort(tmp_path / "a.csv", mapping=tmp_path / "m.yaml").schema.units["Hippocampus"] == "SUVR"
    mapping["columns"]["AGE"]["unit"] = "mm3"
    (tmp_path / "m.yaml").write_text(yaml.dump(mapping))
    with pytest.raises(ConfigError, match="AGE: unit mm3; of an age it is one of years"):
        read_cohort(tmp_path / "a.csv", mapping=tmp_path / "m.yaml")
