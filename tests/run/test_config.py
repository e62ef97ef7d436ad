from pathlib import Path

import pytest
import yaml

from crow.errors import ConfigError
from crow.run.config import Config, dump_config, load_config
from crow.run.cross_sectional_config import load_any

PRESETS = Path(__file__).parents[2] / "configs"


def test_the_default_preset_writes_out_every_default() -> None:
    assert yaml.safe_load((PRESETS / "default.yaml").read_text()) == Config().model_dump()
    assert load_config(PRESETS / "default.yaml") == load_config() == Config()


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_are_complete_and_valid(preset: Path) -> None:
    assert load_any(preset).model_dump() == yaml.safe_load(preset.read_text())


def test_resolved_settings_read_back_the_same(tmp_path: Path) -> None:
    config = load_config(None, ["training.learning_rate=1e-4", "seed=7", "cohort.time=Jährlich"])
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


def test_pairs_win_over_the_file(tmp_path: Path) -> None:
    path = _write(tmp_path, "training:\n  max_epochs: 7\n  patience: 3\n")
    config = load_config(path, ["training.max_epochs=9", "cohort.subject=RID", "training.threads=2"])
    assert (config.training.max_epochs, config.training.patience, config.training.threads) == (9, 3, 2)
    assert config.cohort == {"subject": "RID"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training:\n  max_epoch: 5\n",
            r"line 2: there is no setting training\.max_epoch\. Did you mean training\.max_",
        ),
        ("max_epochs: 5\n", r"line 1: there is no setting max_epochs\. Did you mean training\.max_epochs"),
        ("seed: 1\ntrainin: {}\n", r"line 2: there is no setting trainin\. Did you mean training"),
        ("zzz: 1\n", r"no setting zzz\. Known are seed, cohort, model, training, scans, split"),
        (
            "training:\n  batch_size: many\n",
            r"line 2: training\.batch_size cannot be 'many': should be a valid",
        ),
        ("training:\n  max_epochs: true\n", r"line 2: training\.max_epochs cannot be True"),
        ("training:\n\n  patience: 0\n", r"line 3: training\.patience cannot be 0: should be greater than or equal"),
        ("training:\n  learning_rate: .inf\n", r"line 2: training\.learning_rate cannot be inf"),
        ("model: {objective: magic}\n", r"line 1: model\.objective cannot be 'magic': should be 'likelihood' or 'inn'"),
        ("training: 5\n", r"line 1: training cannot be 5"),
        ("seed: 1\nseed: 2\n", r"line 2: seed is set twice"),
        ("seed: [1\n", r"line \d: not valid YAML"),
        ("- seed\n", r"'key: value' lines; found list"),
        ("training: {max_epochs: 0, patience: -1}\nspeed: 1\n", r"patience cannot be -1.*\n.*line 2: .*speed.*seed"),
    ],
)
def test_mistakes_name_file_line_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("training.max_epochs", r"--set training\.max_epochs: write it as key=value"),
        ("training.epochs=5", r"--set training\.epochs=5: there is no setting training\.epochs"),
        ("seed.more=5", r"--set seed\.more=5: seed cannot be"),
        ("training.max_epochs=-1", r"--set training\.max_epochs=-1: training\.max_epochs cannot be -1"),
        ("seed=[1", r"not valid YAML"),
    ],
)
def test_a_wrong_pair_is_named(pair: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [pair])


def test_a_pair_below_a_value_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seed is a value, not a group"):
        load_config(_write(tmp_path, "seed: 3\n"), ["seed.more=5"])


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read.*No such file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match=r"binary\.yaml: cannot be read.*not a text file"):
        load_config(tmp_path / "binary.yaml")


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_config(_write(tmp_path, "# nothing yet\n")) == Config()


def _write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path
