"""The schema-based validator of BIDS, if it is installed (`pip install bids-validator-deno`); it needs no network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

NAME = "bids-validator-deno"


def found() -> str | None:
    """The program, beside this Python or on the path."""
    beside = Path(sys.executable).with_name(NAME)
    return str(beside) if beside.is_file() else shutil.which(NAME)


def errors(dataset: Path) -> list[tuple[str, str, str]]:
    """Code, file and message of each error of a dataset."""
    program = found()
    assert program is not None
    done = subprocess.run([program, "--json", str(dataset)], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [
        (f"{one['code']} {one.get('subCode', '')}".strip(), one.get("location", ""), one.get("issueMessage") or "")
        for one in issues
        if one["severity"] == "error"
    ]
