"""Simulated scans: determinism, change, noise, scanners, and their true volumes."""

import numpy as np
import pytest
import torch

from crow.errors import ConfigError
from crow.scans.deform import exponential, jacobian
from crow.scans.template import STRUCTURES, load_template
from crow.simulate import ScanSimulation, simulate_scans
from crow.simulate.atrophy import PARTS, Course, change_fields

FIRST, LAST = "ses-M000", "ses-M036"
LABELS = {name: label for label, name in STRUCTURES.items()}


@pytest.fixture(scope="module")
def brains() -> ScanSimulation:
    torch.set_num_threads(1)
    return simulate_scans(12, 4, resolution=4, seed=3)


def demented(simulation: ScanSimulation) -> str:
    return str(simulation.subjects.index[simulation.subjects["group"] == "AD"][0])


def test_a_scan_depends_on_the_seed_only(brains: ScanSimulation) -> None:
    again = simulate_scans(12, 4, resolution=4, seed=3)
    again.render("sub-0005", FIRST)
    for noise in (False, True):
        first = brains.render("sub-0002", LAST, noise=noise)
        assert np.array_equal(first, again.render("sub-0002", LAST, noise=noise))
    assert not np.array_equal(first, brains.render("sub-0002", FIRST, noise=True))
    assert not np.array_equal(first, simulate_scans(12, 4, resolution=4, seed=4).render("sub-0002", LAST, noise=True))


def test_visits_are_about_yearly_and_irregular(brains: ScanSimulation) -> None:
    assert (brains.visits.groupby("subject").size() == 4).all()
    gaps = brains.visits.groupby("subject")["years"].diff().dropna()
    assert gaps.min() > 0.3 and gaps.max() < 1.7 and gaps.std() > 0.05
    first = brains.visits.groupby("subject")["age"].transform("first")
    assert np.allclose(brains.visits["age"] - first, brains.visits["years"], atol=1e-3)


def test_no_deformation_folds_even_with_severe_atrophy(brains: ScanSimulation) -> None:
    change = change_fields()
    usual = Course.draw(np.random.default_rng(0)).midpoint
    worst = change.velocity(Course(np.full(len(PARTS), 1.5), usual).log_volumes(8.0, 90.0))
    for velocity in (worst, -worst):
        assert jacobian(exponential(velocity, change.grid), change.grid).min() > 0
    for subject in brains.subjects.index[:5]:
        anatomy = brains.subject(subject).anatomy
        for displacement in (anatomy.to, anatomy.back):
            assert jacobian(displacement, anatomy.grid).min() > 0.1


def test_label_volumes_follow_the_true_volumes() -> None:
    brains = simulate_scans(12, 4, resolution=2, seed=3)
    subject = demented(brains)
    truth = brains.truth(subject)
    first, last = brains.labels(subject, FIRST), brains.labels(subject, LAST, like=FIRST)
    for name, sign in {"ventricles": 1, "hippocampus_left": -1, "hippocampus_right": -1, "cortex_left": -1}.items():
        true = np.log(truth[f"{name}_mm3"])
        assert (sign * true.diff().dropna() > 0).all()
        counts = [int((labels == LABELS[name]).sum()) for labels in (first, last)]
        assert abs(np.log(counts[0] * 8) - true.iloc[0]) < 0.06
        assert abs(np.log(counts[1] / counts[0]) - (true.iloc[-1] - true.iloc[0])) < 0.05
        assert 0.01 < abs(true.iloc[-1] - true.iloc[0]) / truth["years"].iloc[-1] < 0.12


def test_the_head_position_of_another_visit_isolates_change(brains: ScanSimulation) -> None:
    subject = demented(brains)
    first, last = brains.render(subject, FIRST), brains.render(subject, LAST)
    there = brains.render(subject, FIRST, like=LAST)
    brain = brains.labels(subject, LAST) > 0
    assert np.abs(there - last)[brain].mean() < 0.5 * np.abs(first - last)[brain].mean()
    assert np.array_equal(brains.render(subject, LAST, like=LAST), last)


def test_intensities_are_those_of_t1w(brains: ScanSimulation) -> None:
    subject = demented(brains)
    labels, clean = brains.labels(subject, FIRST), brains.render(subject, FIRST)
    noisy = brains.render(subject, FIRST, noise=True) / brains.visit(subject, FIRST)["gain"]
    white = np.isin(labels, [LABELS["white_matter_left"], LABELS["white_matter_right"]])
    cortex = np.isin(labels, [LABELS["cortex_left"], LABELS["cortex_right"]])
    fluid = labels == LABELS["ventricles"]
    assert 700 < np.median(clean[white]) < 850
    assert np.median(clean[white]) > np.median(clean[cortex]) > np.median(clean[fluid])
    assert noisy.min() >= 0 and np.median(noisy[clean < 1]) < 50
    assert 0.9 < np.median(noisy[white] / clean[white]) < 1.1


def test_the_second_scanner_is_brighter_for_half_of_the_subjects(brains: ScanSimulation) -> None:
    changed = simulate_scans(12, 4, resolution=8, seed=3, scanner_change=3)
    second = changed.visits["scanner"].eq(2).groupby(changed.visits["subject"])
    assert set(second.sum()) == {0, 2}
    assert not changed.visits.groupby("subject").head(2)["scanner"].eq(2).any()
    subject = second.sum().idxmax()
    same = simulate_scans(12, 4, resolution=8, seed=3)
    after, before = (each.render(subject, LAST, noise=True).mean() for each in (changed, same))
    assert after > 1.15 * before
    assert np.array_equal(changed.render(subject, LAST), same.render(subject, LAST))


def test_amyloid_increases_in_the_cortex_and_the_cerebellum_stays_at_one() -> None:
    pet = simulate_scans(12, 4, resolution=4, modality="pet", seed=3)
    subject = pet.visits.loc[pet.visits["diagnosis"] == "MCI", "subject"].iloc[0]
    labels = pet.labels(subject, FIRST)
    first, last = (pet.render(subject, session, like=FIRST) for session in (FIRST, LAST))
    cerebellum, cortex = labels == LABELS["cerebellum"], labels == LABELS["cortex_left"]
    assert 0.85 < np.median(first[cerebellum]) < 1.05
    assert np.median(last[cortex]) > np.median(first[cortex])
    ratios = pet.truth(subject)[["precuneus_ratio", "frontal_ratio", "temporal_ratio"]]
    assert (ratios.diff().dropna() > 0).all(axis=None)
    noisy = pet.render(subject, FIRST, noise=True)
    assert 0.005 < (noisy / noisy[cerebellum].mean() - first / first[cerebellum].mean())[cortex].std() < 0.1


def test_pet_in_template_space() -> None:
    pet = simulate_scans(12, 4, resolution=6, modality="pet", seed=3)
    template = load_template(6.0)
    subject = pet.visits.loc[pet.visits["diagnosis"] == "MCI", "subject"].iloc[0]
    first, last = (pet.aligned(subject, session) for session in (FIRST, LAST))
    np.testing.assert_array_equal(pet.aligned(subject, FIRST), first)
    assert first.shape == template.grid.shape
    gain = pet.visit(subject, FIRST)["gain"]
    cerebellum, cortex = template.structure("cerebellum") & (template.gm > 0.5), template.structure("cortex")
    assert first[cerebellum].mean() / gain == pytest.approx(1, abs=0.1)
    assert first[cortex].mean() / first[cerebellum].mean() < last[cortex].mean() / last[cerebellum].mean()
    with pytest.raises(ConfigError, match="crow prepare"):
        simulate_scans(5, 2, resolution=6).aligned("sub-0001", FIRST)


@pytest.mark.parametrize(
    ("settings", "range_"),
    [
        ({"modality": "FLAIR"}, "T1w or pet"),
        ({"resolution": 0.5}, "1 to 8"),
        ({"scanner_change": 5}, "2 to 4"),
        ({"scanner_change": 1}, "2 to 4"),
    ],
)
def test_values_out_of_range_are_refused(settings: dict, range_: str) -> None:
    with pytest.raises(ConfigError, match=range_):
        simulate_scans(2, 4, **settings)


def test_an_unknown_visit_is_refused(brains: ScanSimulation) -> None:
    with pytest.raises(ConfigError, match="sub-0001 ses-M099"):
        brains.render("sub-0001", "ses-M099")
