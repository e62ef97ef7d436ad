from pathlib import Path

import pytest

from crow.errors import ConfigError
from crow.run.config import Config, Settings, dump_config, group_of, load_config, load_settings
from crow.run.cross_sectional_config import ARCHITECTURES, CINNConfig, load_any
from crow.run.describe import (
    Kind,
    commands_with_settings,
    default_header,
    describe,
    presets_of,
    rewritten,
    settings_of,
)  # fmt: skip
from crow.run.presets import preset_names, preset_path
from crow.yaml_file import read_yaml

KINDS = [kind for command in commands_with_settings() for kind in settings_of(command)]


def groups(kind: type[Settings]) -> list[type[Settings]]:
    """A class of settings and the groups inside it."""
    inside = [group for field in kind.model_fields.values() if (group := group_of(field.annotation)) is not None]
    return [kind, *(one for group in inside for one in groups(group))]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_has_a_description(kind: Kind) -> None:
    for group in groups(kind):
        for name, field in group.model_fields.items():
            assert (field.description or "").endswith("."), f"{group.__name__}.{name}"


def test_every_architecture_belongs_to_a_command() -> None:
    assert {kind for kind in KINDS if kind is not Config} == set(ARCHITECTURES.values())
    assert KINDS[0] is Config


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_complete_and_explain_every_setting(name: str) -> None:
    """Each is what `make presets` writes: every setting, with the description of its field."""
    assert preset_path(name).read_text(encoding="utf-8") == rewritten(preset_path(name))


@pytest.mark.parametrize("name", [name for name in preset_names() if name != "published"])
def test_presets_but_the_published_are_the_defaults(name: str) -> None:
    preset = load_any(preset_path(name))
    assert preset == type(preset)()
    assert preset_path(name).read_text(encoding="utf-8").startswith(default_header(type(preset)))


def test_a_preset_is_found_by_name_and_a_file_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config("published").model.objective == "inn"
    assert load_config("default") == load_config() == Config()
    assert load_config("published", ["model.blocks=4"]).model.blocks == 4
    monkeypatch.chdir(tmp_path)
    (tmp_path / "published").write_text("seed: 7\n")
    assert load_config("published") == Config(seed=7)
    assert preset_path("published.yaml") == Path("published.yaml")
    assert presets_of(Config) == ["default", "published"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("publishd", r"publishd: .*no such .*preset\. Did you mean published"), ("zzz", "presets are caglow,")],
)
def test_an_unknown_preset_is_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(name)


def test_settings_are_described_with_their_defaults() -> None:
    rows = {row.key: row for row in describe(Config)}
    assert rows["training.learning_rate"].default == "0.003"
    assert rows["training.max_epochs"].default == "null"
    assert rows["scans.voxels.memory"].default == "plain"
    assert rows["model.members"].meaning == Config().model.__class__.model_fields["members"].description
    assert len(rows) == len(set(rows)) > 30


def test_a_frozen_network_has_to_be_trained_first() -> None:
    with pytest.raises(ConfigError, match="set them above 0"):
        load_settings(CINNConfig, None, ["freeze_conditioning=true", "pretrain_epochs=0"])


def test_resolved_settings_read_back_the_same(tmp_path: Path) -> None:
    config = load_config(None, ["training.learning_rate=1e-4", "seed=7", "cohort.time=Jährlich"])
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


def test_pairs_win_over_the_file(tmp_path: Path) -> None:
    path = _write(tmp_path, "training:\n  max_epochs: 7\n  patience: 3\n")
    config = load_config(path, ["training.max_epochs=9", "cohort.subject=RID", "training.threads=2"])
    assert (config.training.max_epochs, config.training.patience, config.training.threads) == (9, 3, 2)
    assert config.cohort == {"subject": "RID"}


@pytest.mark.parametrize("base", ["*base", "[*base, *other]"])
def test_a_merge_may_be_overridden(tmp_path: Path, base: str) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text(
        "a: &base {max_epochs: 5, patience: 3}\nb: &other {patience: 7}\n"
        f"training:\n  <<: {base}\n  max_epochs: 9\n"
    )
    values, places = read_yaml(path)
    assert values["training"] == {"max_epochs": 9, "patience": 3}
    assert places["training", "max_epochs"] == f"{path}, line 5"
    assert places["training", "patience"] == f"{path}, line 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training:\n  max_epoch: 5\n",
            r"line 2: there is no setting training\.max_epoch\. Did you mean training\.max_",
        ),
        ("max_epochs: 5\n", r"line 1: there is no setting max_epochs\. Did you mean training\.max_epochs"),
        ("seed: 1\ntrainin: {}\n", r"line 2: there is no setting trainin\. Did you mean training"),
        ("zzz: 1\n", r"no setting zzz\. The settings are seed, cohort, model, training, scans, split"),
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


@pytest.mark.parametrize(("old", "new"), [("float32", "32-true"), ("bfloat16", "bf16-mixed")])
def test_the_precision_of_voxels_in_earlier_files_is_that_of_training(tmp_path: Path, old: str, new: str) -> None:
    (tmp_path / "c.yaml").write_text(f"training: {{threads: 1}}\nscans: {{voxels: {{size: 8, precision: {old}}}}}\n")
    config = load_config(tmp_path / "c.yaml")
    assert (config.training.precision, config.training.threads, config.scans.voxels.size) == (new, 1, 8)
    with pytest.raises(ConfigError, match=r"there is no setting scans\.voxels\.precision\. Did you mean"):
        load_config(tmp_path / "c.yaml", ["scans.voxels.precision=float16"])


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_config(_write(tmp_path, "# nothing yet\n")) == Config()


def _write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path
