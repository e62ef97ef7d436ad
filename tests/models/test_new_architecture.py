"""A new flow is one new file (here: this one) and one line in a registry; everything else follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from model_cases import table
from torch import Tensor, nn

import crow
from crow.bijections.priors import ConditionalPrior
from crow.data.examples import Examples
from crow.run.cross_sectional_config import ARCHITECTURES, CrossSectionalConfig


class GaussianConfig(CrossSectionalConfig):
    """A normal distribution whose mean and sd are linear in the attributes."""

    model: ClassVar[str] = "synthesize"
    builder: ClassVar[str] = f"{__name__}:build_gaussian"
    architecture: Literal["gaussian"] = "gaussian"


class Gaussian(nn.Module):
    def __init__(self, values: int, context: int) -> None:
        super().__init__()
        self.prior = ConditionalPrior(values, context, lambda inputs, outputs: nn.Linear(inputs, outputs))

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        return self.prior.log_prob(x, context)

    def sample(self, context: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.stack([self.prior.sample((len(context),), context, generator) for _ in range(n)])

    def loss(self, batch: Examples) -> Tensor:
        assert batch.context is not None
        return -self.log_prob(batch.x, batch.context).mean() / batch.x.shape[1]


def build_gaussian(
    config: CrossSectionalConfig, shape: tuple[int, ...], greys: int | None, channels: Sequence[int]
) -> Gaussian:
    return Gaussian(shape[0], sum(channels))


def test_a_registered_flow_is_trained_saved_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "gaussian", GaussianConfig)
    cohort = table()
    cohort.visits["A"] += 10.0 * (cohort.visits["sex"] == "F")
    training = {"max_epochs": 30, "learning_rate": 0.05, "patience": 30}
    model = crow.Synthesizer(architecture="gaussian", training=training).fit(cohort, ["sex"], tmp_path / "run")
    assert isinstance(model.flow, Gaussian) and model.config.architecture == "gaussian"
    loaded = crow.load(tmp_path / "run")
    women, men = (loaded.sample(f"sex={sex}", 400, seed=1)[1]["A"].mean() for sex in "FM")
    assert women - men > 5.0, "it learned the difference of 10"
    np.testing.assert_array_equal(loaded.log_prob(cohort)["log_prob"], model.log_prob(cohort)["log_prob"])


def test_an_unregistered_flow_is_unknown() -> None:
    with pytest.raises(crow.errors.ConfigError, match=r"no architecture 'gaussian'\. Known are cglow, caglow"):
        crow.Synthesizer(architecture="gaussian")
