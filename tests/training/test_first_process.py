"""Which process of a training writes."""

import os

import pytest

from crow.processes import is_first


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, True),  # of another program
        ({"MASTER_ADDR": "a"}, True),
        ({"MASTER_ADDR": "a", "LOCAL_RANK": "1"}, False),
        ({"MASTER_ADDR": "a", "NODE_RANK": "1"}, False),  # the second computer, before its processes are started
        ({"MASTER_ADDR": "a", "NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "0"}, True),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "2"}, False),
    ],
    ids=str,
)
def test_only_the_first_process_writes(
    environment: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MASTER_ADDR", "LOCAL_RANK", "NODE_RANK", "RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setitem(os.environ, name, value)
    assert is_first() is first
