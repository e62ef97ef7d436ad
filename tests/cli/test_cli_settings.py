"""`crow settings`: every setting with its default and meaning, and YAML to start from."""

from pathlib import Path

import pytest
from commands import refused, run

from crow.run.config import Config, load_config
from crow.run.cross_sectional_config import ARCHITECTURES, load_any
from crow.run.describe import commands_with_settings, describe, settings_of


@pytest.mark.parametrize("command", commands_with_settings())
def test_prints_every_setting(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    lines = run("settings", command).splitlines()
    for kind in settings_of(command):
        for setting in describe(kind):
            row = f"{setting.key} {setting.default} {setting.meaning}"
            assert any(" ".join(line.split()) == row for line in lines), row


def test_without_a_command_prints_those_of_all() -> None:
    printed = run("settings")
    assert "crow train (presets: default, published)" in printed
    assert all(f"architecture: {name}" in printed or f"--architecture {name} " in printed or f" {name} " in printed
               for name in ARCHITECTURES)  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_yaml_reads_back_as_the_defaults(name: str, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(run("settings", ARCHITECTURES[name].model, "--architecture", name, "--yaml"))
    assert load_any(path) == ARCHITECTURES[name].model_validate({})
    path.write_text(run("settings", "train", "--yaml"))
    assert load_config(path) == Config()


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean translate?" in refused(capsys, "settings", "translat")
    assert "Choose one of train, " in refused(capsys, "settings", "zzz")
    assert "Did you mean infocnf?" in refused(capsys, "settings", "classify", "--architecture", "infocn")
    assert "--yaml prints one file" in refused(capsys, "settings", "classify", "--yaml")
