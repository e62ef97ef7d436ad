"""The simulated AV45 cohort is read as TADPOLE, and its group effects match the closed form."""

from pathlib import Path

import numpy as np
import pytest

from crow.cohort.reader import read_cohort
from crow.errors import ConfigError
from crow.evaluation.groups import cohens_d
from crow.simulate import simulate_av45, true_effects
from crow.simulate.av45 import Uptake, burden

HEALTHY, DECLINE = [0.0, 0.0, 0.0], [0.0, 5.0, 10.0]
YEARS = [0.0, 2.0, 4.0]


def test_the_table_is_read_as_tadpole_with_82_regions(tmp_path: Path) -> None:
    simulation = simulate_av45(30, seed=2)
    simulation.table.to_csv(tmp_path / "av45.csv", index=False)
    cohort = read_cohort(tmp_path / "av45.csv")
    assert cohort.regions == list(simulation.parameters["regions"]) and len(cohort.regions) == 82
    assert len(cohort.visits) == 90 and cohort.visits[cohort.regions].notna().all(axis=None)
    assert {"DX", "PTGENDER", "CDRSB"} <= set(cohort.covariates)
    # As in TADPOLE, AGE is the age at baseline; the reader always warns about it.
    assert [each.code for each in cohort.findings if each.severity == "warning"] == ["baseline-age"]
    gaps = cohort.visits.groupby("subject")["time"].diff().dropna()
    assert gaps.between(1, 3).all() and gaps.std() > 0.05


def test_true_effects_match_a_large_sample() -> None:
    simulation, rng = simulate_av45(5, seed=1), np.random.default_rng(0)
    model = Uptake.of(simulation.parameters)
    first, second = (model.draw(rng, path, 10_000, YEARS) for path in (HEALTHY, DECLINE))
    true = true_effects(simulation.parameters, HEALTHY, DECLINE).pivot(index="region", columns="at", values="d")
    true = true.loc[list(model.names)]
    for visit in range(3):
        drawn = cohens_d(first[:, visit], second[:, visit])
        np.testing.assert_allclose(drawn, true[str(visit + 1)], atol=0.06)
        for before in range(visit):
            drawn = cohens_d(*(each[:, visit] - each[:, before] for each in (first, second)))
            np.testing.assert_allclose(drawn, true[f"{visit + 1}-{before + 1}"], atol=0.06)
    assert (true["1"] == 0).all()
    assert 0.5 < true["3"].abs().median() < 1.2 and (true["3"] < -0.1).any() and (true["3"].abs() < 0.15).any()


def test_the_table_has_the_true_effects_correlations_and_noise() -> None:
    simulation = simulate_av45(3000, seed=3)
    model, table = Uptake.of(simulation.parameters), simulation.table
    values, true = (each[list(model.names)].to_numpy() for each in (table, simulation.truth))
    np.testing.assert_allclose((values - true).std(0), model.noise, rtol=0.06)
    age = table["AGE"] + table["Years_bl"]
    design = np.column_stack([np.ones(len(table)), age - 73, burden(table["CDRSB"].to_numpy())])
    found = np.linalg.lstsq(design, values, rcond=None)[0]
    np.testing.assert_allclose(found[2], model.effect, atol=0.03)
    first = table["VISCODE"].eq("bl").to_numpy()
    rest = (values - design @ np.stack([model.level, model.ageing, model.effect]))[first]
    shared = model.reference * np.outer(model.noise, model.noise)
    expected = model.loadings @ model.loadings.T + shared
    np.fill_diagonal(expected, (model.loadings**2).sum(1) + model.spread**2 + model.noise**2)
    unit = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(np.cov(rest.T) / unit, expected / unit, atol=0.12)


def test_regions_depend_on_the_seed_only() -> None:
    few, more, other = simulate_av45(6, seed=4), simulate_av45(9, seed=4), simulate_av45(6, seed=5)
    assert few.parameters["regions"] == more.parameters["regions"] != other.parameters["regions"]
    assert few.table.equals(simulate_av45(6, seed=4).table)


def test_paths_of_different_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match="Paths of 3 and 2 visits"):
        true_effects(simulate_av45(5).parameters, HEALTHY, [0.0, 5.0])
