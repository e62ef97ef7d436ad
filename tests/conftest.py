"""The same random numbers in every test, whatever ran before it, and no processes but those that a test asks for."""

import os

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("crow", deadline=None, derandomize=True)
hypothesis.settings.register_profile("fuzz", deadline=None)
hypothesis.settings.load_profile(os.environ.get("CROW_FUZZ", "crow"))  # no timing; the same examples on every machine

LONGEST = (
    "test_readme.py", "test_cli_scans.py", "test_notebooks.py", "test_packaging.py", "test_cli_evaluate.py",
    "test_classifier.py",
)  # fmt: skip

os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")  # a pool imports everything again; tests of one say how many


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that both of `make test`'s processes end together."""
    place = {name: k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
