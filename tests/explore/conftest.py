"""One run and one server for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from served_page import Served, serving, train

from crow.explore.explorer import Explorer
from crow.explore.open_run import open_run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("explore")
    train(place)
    return place


@pytest.fixture(scope="session")
def explorer(folder: Path) -> Explorer:
    return open_run(folder / "run", folder / "cohort.csv", draws=40)


@pytest.fixture(scope="session")
def served(folder: Path) -> Iterator[Served]:
    with serving(folder) as found:
        yield found
