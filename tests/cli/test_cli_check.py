"""`crow check` reports in words and in JSON; its exit code tells whether the cohort can be used."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulated_tables import adnimerge, dated, plain, save, wide
from typer.testing import CliRunner

from crow.cli.main import app
from crow.cohort import read_cohort
from crow.errors import CrowError

DLBS = Path(__file__).parents[3] / "shared" / "data" / "dlbs" / "participants.tsv"
run = CliRunner().invoke


def words(done: Any) -> str:
    """What was printed, without line breaks."""
    return " ".join(done.output.split())


def test_words(tmp_path: Path) -> None:
    table = adnimerge()
    table.loc[3, "Hippocampus"] = ""
    done = run(app, ["check", str(save(table, tmp_path / "ADNIMERGE.csv")), "--all"])
    assert done.exit_code == 0
    assert "12 subjects, 48 visits" in done.output
    for word in ("Hippocampus", "6 regions", "PTGENDER", "6 covariates", "age at baseline", "usable"):
        assert word in words(done)
    assert "region" not in words(done).split("usable")[1]


def test_the_kinds_of_values_are_printed(tmp_path: Path) -> None:
    path = str(save(adnimerge(), tmp_path / "ADNIMERGE.csv"))
    assert "2 regions, positive: Ventricles, Hippocampus" in words(
        run(app, ["check", path, "--regions", "Ventricles,Hippocampus"])
    )
    found = words(run(app, ["check", path, "--regions", "MMSE,Hippocampus"]))
    assert "2 regions: MMSE (integer, 0 to 30), Hippocampus (positive)" in found


def test_findings_come_first_and_fit_a_screen_without_a_broken_word(tmp_path: Path) -> None:
    table = plain(subjects=40).assign(
        site=[f"S{k % 40}" for k in range(120)], dropout="no", agedeath=99, notes_x=[f"n{k}" for k in range(120)]
    )
    table["an_extraordinarily_long_name_of_a_region_that_no_terminal_likes_volume"] = table["Hippocampus"]
    table.loc[5, ["Hippocampus", "Ventricles"]] = ["-3000.5", "9e12"]
    table.loc[7, ["Hippocampus", "sex"]] = ["not done", "X"]
    table.loc[9, "age"] = "89+"
    table.loc[table.index % 3 == 2, "Ventricles"] = ""
    path = str(save(table, tmp_path / "t.csv"))
    done = run(app, ["check", path])
    lines = done.output.splitlines()
    assert done.exit_code == 0
    assert len(lines) <= 24
    assert lines[0].startswith("warning")
    assert lines[-1] == "usable"
    known = {"also", "prints", "warnings", "notes"} | set(
        words(run(app, ["check", path, "--all", "--columns"])).split()
    )
    assert {word for word in words(done).split() if word.isidentifier()} <= known
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in lines)


def test_a_table_with_every_kind_of_error_fits_a_screen_and_every_correction_is_logged(tmp_path: Path) -> None:
    """Findings that have no room are named by their codes, warnings apart from notes."""
    truth = dated(subjects=20)
    rng = np.random.default_rng(0)
    names = [f"region_{number}" for number in range(30)]
    regions = {name: (truth["Hippocampus"] * rng.uniform(0.5, 2) + rng.normal(0, 20, 60)).round(1) for name in names}
    table = truth.assign(**regions, note="x", scanner=["ABC"[row % 3] for row in range(60)]).astype(object)
    for number, name in enumerate(names):
        table.loc[2 * number, name] = [0, -999, table.loc[2 * number, name] * 10][number % 3]
    table = table.assign(**{f"death_{number}": (truth["subject"] < "S05").astype(int) for number in range(12)})
    table.loc[3, "region_2"], table.loc[9, "Hippocampus"] = "not done", "3,512.5"
    table.loc[5, "sex"] = "F" if table.loc[5, "sex"] == "M" else "M"
    table["date"] = truth["date"].dt.strftime("%Y-%m-%d")
    table.loc[12, "date"] = "2090-01-01"
    path, out = save(pd.concat([table, table.iloc[[7]]]), tmp_path / "t.csv"), tmp_path / "clean.csv"
    done = run(app, ["check", str(path)])
    assert len(done.output.splitlines()) <= 24
    assert "also warnings" in words(done) and "notes missing-code" in words(done)
    assert all(
        f"\n{name}" in f"\n{done.output}" for name in ("warning 1 row (line 14): age and date", "warning death_0")
    )
    assert run(app, ["check", str(path), "--fix", "--out", str(out)]).exit_code == 0
    log = pd.read_csv(tmp_path / "clean.log.csv").query("severity == 'fixed'")
    assert log["finding"].value_counts().to_dict() == {"unit-factor": 10, "not-positive": 10, "contradiction": 1}
    clean = pd.read_csv(out)
    for row in log.itertuples():
        old, new = row.what.split(" -> ")
        line = int(row.lines)
        cells = clean.loc[clean["subject"] == table.loc[line - 2, "subject"], row.column]
        assert str(table.loc[line - 2, row.column]).startswith(old.removesuffix(".0"))
        assert cells.isna().any() if new == "nan" else new in set(cells.astype(str))


def test_the_table_of_columns_is_printed_on_request(tmp_path: Path) -> None:
    path = str(save(plain(), tmp_path / "t.csv"))
    assert "numbers that change" not in words(run(app, ["check", path]))
    assert "numbers that change" in words(run(app, ["check", path, "--columns"]))


def test_a_mapping_is_written_edited_and_read(tmp_path: Path) -> None:
    path, mapping = str(save(plain(), tmp_path / "t.csv")), tmp_path / "mapping.yaml"
    assert run(app, ["check", path, "--write", str(mapping)]).exit_code == 0
    text = mapping.read_text()
    assert "role: region" in text and "reason: " in text and "examples: [S00, S01, S02]" in text
    mapping.write_text(text.replace("  Ventricles:\n    role: region", "  Ventricles:\n    role: left out"))
    done = run(app, ["check", path, "--mapping", str(mapping), "--json"])
    roles = {column["name"]: column["role"] for column in json.loads(done.stdout)["columns"]}
    assert (roles["Hippocampus"], roles["Ventricles"]) == ("region", "left out")
    mapping.write_text("columns: {subject: {role: patient}}")
    refused = run(app, ["check", path, "--mapping", str(mapping)])
    assert isinstance(refused.exception, CrowError)
    assert "mapping.yaml, columns subject role" in str(refused.exception)


def test_a_run_keeps_the_mapping_without_values(trained: Path) -> None:
    text = (trained / "run" / "mapping.yaml").read_text()
    table = pd.read_csv(trained / "cohort.csv")
    assert "role: region" in text and "examples" not in text
    assert not any(str(subject) in text.split() for subject in table.iloc[:, 0])
    again = read_cohort(trained / "cohort.csv", mapping=trained / "run" / "mapping.yaml")
    assert again.visits.equals(read_cohort(trained / "cohort.csv").visits)


def test_fix_corrects_what_is_safe_and_logs_every_cell(tmp_path: Path) -> None:
    table = plain(subjects=20).assign(ICV=[f"{1450000 + 1000 * (k // 3) + k % 3}" for k in range(60)])
    table.loc[table.index % 3 == 2, "ICV"] = [f"{1450 + k}" for k in range(20)]
    table.loc[3, "sex"] = "M"
    table.loc[6, "Hippocampus"] = "0"
    path, clean = str(save(table, tmp_path / "t.csv")), tmp_path / "clean.csv"
    done = run(app, ["check", path, "--fix", "--out", str(clean)])
    assert done.exit_code == 0
    log = pd.read_csv(tmp_path / "clean.log.csv")
    fixed = log[log["severity"] == "fixed"]
    assert fixed["finding"].value_counts().to_dict() == {"unit-factor": 20, "contradiction": 1, "not-positive": 1}
    one = fixed[fixed["finding"] == "contradiction"].iloc[0]
    assert (one["column"], one["lines"], one["what"]) == ("sex", "5", "M -> F")
    visits = pd.read_csv(clean)
    assert visits["ICV"].between(1_440_000, 1_480_000).all()
    assert visits.groupby("subject")["sex"].nunique().eq(1).all()
    assert "--fix would" in words(run(app, ["check", path, "--all"]))


@pytest.mark.parametrize("device", ["pipe", "/dev/zero"])
def test_a_pipe_and_a_device_are_refused_at_once(tmp_path: Path, device: str) -> None:
    path = tmp_path / "pipe" if device == "pipe" else Path(device)
    if device == "pipe":
        os.mkfifo(path)
    done = run(app, ["check", str(path)])
    assert done.exit_code == 2
    assert "a pipe or a device, and not a file" in words(done)


def test_json(tmp_path: Path) -> None:
    done = run(app, ["check", str(save(adnimerge(), tmp_path / "t.csv")), "--json"])
    found = json.loads(done.stdout)
    assert (found["subjects"], found["visits"], found["usable"]) == (12, 48, True)
    assert found["visits_per_subject"] == {"4": 12}
    assert found["gaps"]["least"] > 0.4
    roles = {column["name"]: column["role"] for column in found["columns"]}
    assert (roles["RID"], roles["EXAMDATE"], roles["Fusiform"], roles["PTID"]) == (
        "subject",
        "time",
        "region",
        "left out",
    )
    assert "baseline-age" in {finding["code"] for finding in found["findings"]}


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_an_unusable_cohort_leaves_with_2(tmp_path: Path, extra: list[str]) -> None:
    few = save(plain(subjects=4), tmp_path / "few.csv")
    done = run(app, ["check", str(few), "--out", str(tmp_path / "clean.csv"), *extra])
    assert done.exit_code == 2
    assert "4 subjects are too few" in words(done)
    assert not (tmp_path / "clean.csv").exists()


def test_what_cannot_be_read_says_which_flag_to_add_and_does_as_told(tmp_path: Path) -> None:
    table = wide().drop(columns=["MRIW1toW2", "MRIW2toW3", "MRIW1toW3"])
    for wave in (1, 2, 3):
        table[f"AgeCog_W{wave}"] = table[f"AgeMRI_W{wave}"] + 2 * ((table.index + wave) % 2)
    path = str(save(table, tmp_path / "t.csv"))
    refused = run(app, ["check", path, "--json"])
    assert refused.exit_code == 2
    assert "--time AgeMRI" in json.loads(refused.stdout)["error"]
    assert run(app, ["check", path]).exit_code == 2
    assert run(app, ["check", path, "--time", "AgeMRI"]).exit_code == 0


def test_yaml_holds_the_same_keys_and_flags_go_first(tmp_path: Path) -> None:
    path = str(save(plain(), tmp_path / "t.csv"))
    (tmp_path / "c.yaml").write_text("cohort:\n  regions: [Hippocampus]\n  exclude: sex\n")
    roles = json.loads(run(app, ["check", path, "--config", str(tmp_path / "c.yaml"), "--json"]).stdout)["columns"]
    assert [column["name"] for column in roles if column["role"] == "region"] == ["Hippocampus"]
    arguments = ["check", path, "--config", str(tmp_path / "c.yaml"), "--regions", "Ventricles", "--json"]
    roles = json.loads(run(app, arguments).stdout)["columns"]
    assert [column["name"] for column in roles if column["role"] == "region"] == ["Ventricles"]


def test_the_clean_table_reads_as_the_same_visits_and_has_a_log(tmp_path: Path) -> None:
    table = adnimerge()
    table.loc[3, "Hippocampus"] = "-4"
    dirty, clean = save(table, tmp_path / "t.csv"), tmp_path / "clean.csv"
    assert run(app, ["check", str(dirty), "--out", str(clean)]).exit_code == 0
    before, after = read_cohort(dirty), read_cohort(clean)
    assert after.regions == before.regions
    assert set(after.covariates) == set(before.covariates)
    pd.testing.assert_frame_equal(after.visits[list(before.visits)], before.visits, check_dtype=False)
    log = pd.read_csv(tmp_path / "clean.log.csv")
    assert log.loc[log["finding"] == "missing-values", "lines"].tolist() == [5]
    again = run(app, ["check", str(dirty), "--out", str(clean)])
    assert "exists already" in str(again.exception)
    assert run(app, ["check", str(dirty), "--out", str(clean), "--overwrite"]).exit_code == 0


@pytest.mark.skipif(not DLBS.exists(), reason="the public table is not here")
def test_dlbs_as_it_is_and_with_the_flag_that_check_offers() -> None:
    alone = json.loads(run(app, ["check", str(DLBS), "--json"]).stdout)
    assert alone["usable"] and alone["time"] == {"column": "AgeCog", "kind": "age"}
    offer = next(finding["message"] for finding in alone["findings"] if finding["code"] == "several-times")
    flag = offer.split("choose another with ")[1].rstrip(".").split()
    done = run(app, ["check", str(DLBS), *flag, "--missing", "impute", "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["subjects"] == 464
    assert found["visits"] > 900


def test_a_folder_of_scans(tmp_path: Path) -> None:
    rows = [(f"sub-{k:02d}", session, f"{60 + k + year}") for k in range(10) for session, year in (("x", 0), ("w", 2))]
    for subject, session, _ in rows:
        anat = tmp_path / "tree" / subject / f"ses-{session}" / "anat"
        anat.mkdir(parents=True)
        (anat / f"{subject}_ses-{session}_FLAIR.nii.gz").touch()
    refused = run(app, ["check", str(tmp_path / "tree")])
    assert refused.exit_code == 2
    assert "--ages TABLE" in words(refused)
    ages = save(pd.DataFrame(rows, columns=["participant_id", "session_id", "age"]), tmp_path / "ages.csv")
    arguments = ["check", str(tmp_path / "tree"), "--ages", str(ages), "--suffix", "FLAIR"]
    done = run(app, arguments)
    assert done.exit_code == 0
    assert "BIDS tree, 20 scans, FLAIR" in words(done)
    told = json.loads(run(app, [*arguments, "--json"]).stdout)
    assert (told["scans"], told["modality"]) == (20, "FLAIR")
    scan = next(column for column in told["columns"] if column["name"] == "scan")
    assert (scan["role"], scan["kind"]) == ("scan", "FLAIR")


def test_a_table_of_scans_under_a_root(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    table = plain().assign(t1=[f"{k}.nii" for k in range(36)])
    for name in table["t1"][1:]:
        (tmp_path / "scans" / name).touch()
    arguments = ["check", str(save(table, tmp_path / "t.csv")), "--scan", "t1", "--json"]
    assert "--scan-root" in json.loads(run(app, arguments).stdout)["error"]
    told = json.loads(run(app, [*arguments, "--scan-root", str(tmp_path / "scans")]).stdout)
    assert told["scans"] == 35
    assert "missing-scan" in {finding["code"] for finding in told["findings"]}
