"""One small cohort and the run trained on it, shared by the tests of bad input."""

from pathlib import Path

import pytest
import torch

from crow.cli.main import main
from crow.simulate import simulate_adni

QUICK = ["--set", "model.members=1", "--set", "training.max_epochs=1", "--set", "training.steps_per_epoch=2"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cohort.csv and run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    simulate_adni(20, 4, seed=1).table.to_csv(folder / "cohort.csv", index=False)
    words = ["train", "--cohort", str(folder / "cohort.csv"), "--out", str(folder / "run"), *QUICK]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code in (0, None)
    return folder
