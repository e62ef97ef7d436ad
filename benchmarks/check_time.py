"""How long `crow check` takes for a large table, and how much memory: python benchmarks/check_time.py

Writes a simulated table of --rows visits (five per subject) and --columns columns to a temporary folder: subject,
date, age, sex, site, a family, notes, and regions with 3 % missing values, a few outliers and one column in another
unit. Then runs `crow check` on it in a process of its own and prints its time, its processor time and its peak memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

VISITS = 5
GIB = 2**30


def simulate(rows: int, columns: int, seed: int = 0) -> pd.DataFrame:
    """A long table; the last ``columns - 7`` columns are regions."""
    rng = np.random.default_rng(seed)
    subjects = rows // VISITS
    subject = np.repeat(np.arange(subjects), VISITS)
    years = np.tile(np.arange(VISITS) * 1.1, subjects) + rng.uniform(0, 0.2, len(subject))
    age = np.repeat(rng.uniform(55, 80, subjects), VISITS) + years
    start = pd.Timestamp(2010, 1, 1) + pd.to_timedelta(np.repeat(rng.integers(0, 1500, subjects), VISITS), unit="D")
    table = {
        "subject": np.char.add("S", subject.astype(str)),
        "scan_date": (start + pd.to_timedelta((years * 365.25).round(), unit="D")).strftime("%Y-%m-%d"),
        "age": age.round(2),
        "sex": np.array(["F", "M"])[subject % 2],
        "site": np.char.add("site", (subject % 9).astype(str)),
        "family_id": np.char.add("F", (subject // 2).astype(str)),
        "notes": np.where(rng.random(len(subject)) < 0.05, "moved", ""),
    }
    for k in range(columns - len(table)):
        level = np.repeat(rng.normal(3000 + 50 * k, 300, subjects), VISITS)
        values = (level - 30 * years + rng.normal(0, 20, len(subject))).round(2)
        values[rng.random(len(subject)) < 0.03] = np.nan
        values[rng.integers(0, len(subject), 2)] *= 30
        if k == 3:
            values[subject % 9 == 4] /= 1000
        table[f"region_{k:03d}_volume"] = values
    return pd.DataFrame(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.csv"
        simulate(arguments.rows, arguments.columns).to_csv(path, index=False)
        size = path.stat().st_size / 2**20
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", "from crow.cli.main import main; main()", "check", str(path)], check=False
        )
        seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak, busy = used.ru_maxrss * 1024 / GIB, used.ru_utime + used.ru_stime
    table = f"{arguments.rows:,} rows x {arguments.columns} columns ({size:.0f} MiB)"
    print(f"{table}: {seconds:.1f} s ({busy:.1f} s of the processor), {peak:.2f} GiB, exit status {done.returncode}")


if __name__ == "__main__":
    main()
