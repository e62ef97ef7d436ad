"""Words that a caller from Python chooses among are checked."""

from pathlib import Path

import pandas as pd
import pytest

from crow.cohort import read_cohort
from crow.cohort.covariate_paths import future_visits
from crow.errors import ConfigError


def test_an_unknown_rule_for_future_covariates(tmp_path: Path) -> None:
    table = tmp_path / "cohort.csv"
    rows = [{"subject": f"S{s}", "age": 70 + v, "CTX_a": 1.0 + s + 0.1 * v} for s in range(12) for v in range(2)]
    pd.DataFrame(rows).to_csv(table, index=False)
    asked = pd.DataFrame({"subject": ["S0"], "time": [3.0]})
    with pytest.raises(ConfigError, match=r"future lin: not known\. Choose one of carry, linear\."):
        future_visits(read_cohort(table), asked, "lin")  # type: ignore[arg-type]
