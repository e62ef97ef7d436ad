"""Random damage: whatever a table, a run or the header of a scan holds, reading ends with a result or a sentence.

`make fuzz` tries more examples, and new ones each time.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import crow
from crow.errors import CrowError
from crow.run.folder import FILES, FORMAT_VERSION, load_run
from crow.scans.nifti import open_scan, read_scan

RUN = Path(__file__).parents[1] / "data" / f"runs-v{FORMAT_VERSION}" / "regions"
EXAMPLES = 40 if "CROW_FUZZ" not in os.environ else 3000
SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
FUZZ = settings(max_examples=EXAMPLES, suppress_health_check=SLOW)

CELL = st.one_of(
    st.sampled_from(["", " ", "NA", "nan", "-4", "1e400", "-inf", "0x10", "1,5", "=1+1", "m06", "2020-02-30", "\x00"]),
    st.floats(allow_nan=False).map(repr), st.integers().map(str), st.text(max_size=8),
)  # fmt: skip
NAME = st.one_of(
    st.sampled_from(["subject", "RID", "age", "AGE", "VISCODE", "EXAMDATE", "mean", "log_prob", "DX", "", "scan"]),
    st.text(max_size=6),
)

HEADER = st.lists(NAME, min_size=1, max_size=6)


@FUZZ
@given(HEADER, st.lists(st.lists(CELL, max_size=7), max_size=8), st.sampled_from(",;\t|"))
def test_any_table_is_read_or_refused(header: list[str], rows: list[list[str]], separator: str) -> None:
    text = "\n".join(separator.join(row) for row in [header, *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        try:
            crow.read_cohort(path, strict=False)
        except CrowError as error:
            assert str(error)


@FUZZ
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused_as_a_table(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(content)
        try:
            crow.read_cohort(path, strict=False)
        except CrowError as error:
            assert str(error)


@pytest.mark.parametrize("name", FILES)
@FUZZ
@given(data=st.data())
def test_any_byte_of_a_run_may_change(name: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        shutil.copytree(RUN, run)
        content = bytearray((run / name).read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, max(len(content) - 1, 0)))
            content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        (run / name).write_bytes(content)
        try:
            load_run(run)
        except CrowError as error:
            assert str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@FUZZ
@given(st.sampled_from(["versions", "seed", "finished", "description", "format_version", "sha256", "git"]), JSON)
def test_any_value_in_the_model_file_is_refused_or_read(key: str, value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        shutil.copytree(RUN, run)
        content = json.loads((run / "model.json").read_text())
        content[key] = value
        (run / "model.json").write_text(json.dumps(content))
        try:
            crow.load(run)
        except CrowError as error:
            assert str(error)


@FUZZ
@given(st.lists(st.tuples(st.integers(0, 347), st.binary(min_size=1, max_size=8)), max_size=5), st.integers(0, 512))
def test_any_header_of_a_scan_is_read_or_refused(changes: list[tuple[int, bytes]], cut: int) -> None:
    image = nib.Nifti1Image(np.arange(125, dtype=np.int16).reshape(5, 5, 5), np.eye(4))
    content = bytearray(image.to_bytes())
    for place, new in changes:
        content[place : place + len(new)] = new
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.nii"
        path.write_bytes(bytes(content[: len(content) - cut]))
        try:
            read_scan(open_scan(path))
        except CrowError as error:
            assert str(error)
