"""From the tables of each portal to a forecast, without any flag for the columns."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import portal_tables as portal
import pytest
import simulated_tables as tables

from crow import CRow, read_cohort

Tables = Callable[[], list[pd.DataFrame]]
DOWNLOADS: dict[str, Tables] = {
    "ADNIMERGE": lambda: [tables.adnimerge()],
    "TADPOLE": lambda: [tables.tadpole()],
    "OASIS-2": lambda: [tables.oasis2()],
    "OASIS-3 with clinical visits": lambda: list(portal.oasis3()),
    "UK Biobank": lambda: [portal.ukb()],
    "UK Biobank, research platform": lambda: [portal.ukb("p{field}_i{instance}")],
    "ABCD before release 6": lambda: [portal.nda()],
    "ABCD": lambda: [portal.abcd(named=True)],
    "FreeSurfer with demographics": lambda: [portal.asegstats(), portal.ages()],
    "REDCap": lambda: [portal.redcap()],
    "REDCap, repeating instruments": lambda: [portal.redcap_repeats()],
    "German laboratory": lambda: [portal.german_lab()],
}
SEPARATORS = {"German laboratory": ";", "FreeSurfer with demographics": "\t", "ABCD before release 6": "\t"}
QUICK = {"training": {"max_epochs": 1, "steps_per_epoch": 2}, "model": {"members": 1, "blocks": 1}}


@pytest.mark.parametrize("download", DOWNLOADS)
def test_a_download_becomes_a_forecast(download: str, tmp_path: Path) -> None:
    paths = [
        tables.save(table, tmp_path / f"table{k}.csv", sep=SEPARATORS.get(download, ","))
        for k, table in enumerate(DOWNLOADS[download]())
    ]
    cohort = read_cohort(paths)
    assert cohort.mapping is not None
    (tmp_path / "mapping.yaml").write_text(cohort.mapping.text(examples=True))
    mapped = read_cohort(paths, mapping=tmp_path / "mapping.yaml")
    assert mapped.schema == cohort.schema
    pd.testing.assert_frame_equal(mapped.visits, cohort.visits)
    model = CRow(**QUICK).fit(cohort, tmp_path / "run")
    ahead = cohort.visits.groupby("subject", sort=False)[["time"]].max().add(1.5).reset_index().head(3)
    forecast = CRow.load(tmp_path / "run").forecast(cohort, ahead, draws=8)
    assert forecast.values.shape == (3, 8, len(cohort.regions)) and np.isfinite(forecast.values).all()
    assert forecast.regions == model.table.regions == cohort.regions
