"""The same random numbers in every test, whatever ran before it, and no processes but those that a test asks for."""

import os

import pytest
import torch

os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")  # a pool imports everything again; tests of one say how many


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
