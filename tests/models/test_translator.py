"""A translator learns pairs of scans, or regions from regions, and what it draws follows the source and varies."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from paired_stores import SHAPE, SUBJECTS, make_store, paired_stores
from small_cohorts import in_memory

import crow
from crow import ScanStore
from crow.cohort import Cohort
from crow.errors import CohortError, RunError
from crow.models.translator import Translator

QUICK = {"training": {"max_epochs": 2, "steps_per_epoch": 10, "batch_size": 16}, "pretrain_epochs": 1}
SMALL = {**QUICK, "flow": {"levels": 1, "depth": 2, "hidden": 8}, "images": {"size": None}}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScanStore, ScanStore]:
    return paired_stores(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module", params=["volume", "slice"])
def run(
    request: pytest.FixtureRequest, stores: tuple[ScanStore, ScanStore], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Translator, Path]:
    torch.set_num_threads(1)
    images = {"size": None, **({"slice": "axial", "position": 16.0} if request.param == "slice" else {})}
    out = tmp_path_factory.mktemp("runs") / "run"
    return Translator(**{**SMALL, "images": images}).fit(*stores, out=out), out


def table(subjects: int = 40) -> Cohort:
    """Two regions A and B of invented people, Sum: theirs and a sign that nothing tells, Twice: of A, with noise."""
    rng = np.random.default_rng(0)
    a, b, noise = rng.normal(size=(3, subjects))
    rows = pd.DataFrame({"subject": [f"s{k:03d}" for k in range(subjects)], "age": 70.0, "A": a + 5, "B": b})
    rows["Sum"] = a + b + 3 * np.where(rng.random(subjects) < 0.5, -1, 1)
    rows["Twice"] = 2 * a + 0.3 * noise
    return in_memory(rows, ["A", "B", "Sum", "Twice"], {})


def test_scans_come_back_as_the_run_that_was_kept(
    run: tuple[Translator, Path], stores: tuple[ScanStore, ScanStore]
) -> None:
    model, out = run
    target, source = stores
    again = crow.load(out)
    assert isinstance(again, Translator)
    found = again.log_prob(target, source)
    assert len(found) == 2 * SUBJECTS - 1  # one visit has no T1w scan
    assert found["log_prob"].equals(model.log_prob(target, source)["log_prob"])
    drawn = again.sample(source.subset(np.arange(3)), 4, seed=1)
    assert drawn.shape[:2] == (4, 3) and drawn.ndim == 5
    assert np.array_equal(drawn, model.sample(source.subset(np.arange(3)), 4, seed=1))
    assert not np.array_equal(drawn, model.sample(source.subset(np.arange(3)), 4, seed=2))
    inside = drawn[:, :, model.inputs.box.mask] if drawn.shape[-1] > 1 else drawn[:, :, 1:-1, 1:-1]
    assert (inside.std(0) > 0).all() and 0.2 < inside.mean() < 1.8


def test_one_visit_at_a_time(run: tuple[Translator, Path], stores: tuple[ScanStore, ScanStore]) -> None:
    model, _ = run
    source = stores[1].subset(np.arange(2))
    first, second = model.translate(source, 5)
    assert (first.visit["subject"], first.visit["session"]) == ("s00", "1") and second.visit["session"] == "2"
    assert np.array_equal(first.median, np.median(first.samples, 0)) and first.sd.shape == first.median.shape
    assert np.array_equal(model.sample(source, 5)[:, 1], second.samples)


def test_a_run_goes_on_where_it_was(stores: tuple[ScanStore, ScanStore], tmp_path: Path) -> None:
    whole = Translator(**SMALL).fit(*stores, out=tmp_path / "whole")
    part = Translator(**SMALL)

    def leave(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    part.save = leave  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        part.fit(*stores, out=tmp_path / "part")
    resumed = Translator(**SMALL).fit(*stores, out=tmp_path / "part", resume=True)
    for one, other in zip(whole.fitted().parameters(), resumed.fitted().parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("held", [True, False])
def test_h_is_held_or_tuned(held: bool) -> None:
    """Where training helps: a sign that no regression tells."""
    training = {"max_epochs": 5, "steps_per_epoch": 20, "learning_rate": 4e-3}
    model = Translator(training=training, pretrain_epochs=1, freeze_conditioning=held).fit(table(200), ["A,B"])
    trunk = model.fitted().h.trunk.state_dict()
    assert model.trunk is not None and model.metrics["epoch"] > 0
    assert all(torch.equal(trunk[name], model.trunk[name]) for name in trunk) == held


@pytest.mark.parametrize("held", [True, False])
def test_h_of_scans_is_held_or_free(stores: tuple[ScanStore, ScanStore], held: bool) -> None:
    trunk = Translator(**SMALL, freeze_conditioning=held).fit(*stores).fitted().flow.h.trunk
    assert all(parameter.requires_grad != held for parameter in trunk.parameters())


def test_regions_follow_and_both_signs_are_drawn() -> None:
    cohort = table(200)
    model = Translator(
        training={"max_epochs": 20, "steps_per_epoch": 20, "learning_rate": 4e-3, "patience": 20}, pretrain_epochs=5,
        flow={"depth": 4, "hidden": 32},
    )  # fmt: skip
    model.fit(cohort, ["A,B"])
    drawn = model.sample(cohort, 50)
    plain = (cohort.visits["A"] - 5 + cohort.visits["B"]).to_numpy()
    assert np.corrcoef(drawn[..., 1].mean(0), 2 * cohort.visits["A"])[0, 1] > 0.95
    assert np.corrcoef(drawn[..., 0].mean(0), plain)[0, 1] > 0.7
    above = (drawn[..., 0] > plain).mean(0)
    assert 0.3 < above.mean() < 0.7 and ((above > 0.1) & (above < 0.9)).mean() > 0.8
    assert abs(drawn[..., 0].std() / cohort.visits["Sum"].std() - 1) < 0.2
    assert len(model.log_prob(cohort)) == len(cohort)


def test_regions_come_back_as_the_run_that_was_kept(tmp_path: Path) -> None:
    cohort = table()
    model = Translator(**QUICK).fit(cohort, ["Sum"], ["B", "A"], out=tmp_path / "run")
    again = crow.load(tmp_path / "run")
    assert again.inputs.table.regions == ["A", "B"] and again.given.table.regions == ["Sum"]
    assert again.log_prob(cohort).equals(model.log_prob(cohort))
    assert np.array_equal(again.sample(cohort, 2), model.sample(cohort, 2))


def test_refuses_regions_that_are_both_or_too_few() -> None:
    with pytest.raises(CohortError, match="Sum: both source and target"):
        Translator(**QUICK).fit(table(), ["Sum"], ["*"])
    with pytest.raises(CohortError, match="1 source and 1 target regions"):
        Translator(**QUICK).fit(table(), ["Sum"], ["A"])


def test_refuses_stores_that_do_not_pair(stores: tuple[ScanStore, ScanStore], tmp_path: Path) -> None:
    target, source = stores
    images = np.random.default_rng(0).normal(1, 0.1, (6, *SHAPE))
    coarse = make_store(tmp_path / "coarse", "T1w", images, mm=5.0)
    with pytest.raises(CohortError, match=r"pet scans have 8 x 10 x 9 voxels of 4 x 4 x 4 mm.*voxels of 5 x 5 x 5 mm"):
        Translator(**SMALL).fit(target, coarse)
    others = make_store(tmp_path / "others", "T1w", images, names="p")
    with pytest.raises(CohortError, match=r"in both stores\. The first has s00 1, s00 2.*the second p00 1"):
        Translator(**SMALL).fit(target, others)
    few = make_store(tmp_path / "few", "T1w", images)
    with pytest.raises(CohortError, match="3 subjects have both scans"):
        Translator(**SMALL).fit(target, few)
    twice = make_store(tmp_path / "twice", "T1w", images, session="M00")
    with pytest.raises(CohortError, match="subject s00 has session 'M00' more than once"):
        Translator(**SMALL).fit(target, twice)
    with pytest.raises(CohortError, match=r"scans of modality pet; the run was trained on T1w"):
        Translator(**SMALL).fit(target, source).sample(target)


def test_a_translator_that_is_not_fitted_says_so() -> None:
    with pytest.raises(RunError, match="not fitted yet"):
        Translator().sample(table())
