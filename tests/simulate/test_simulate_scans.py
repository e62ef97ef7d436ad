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


def test_the_same_seed_gives_the_same_scan_whatever_was_drawn_before(brains: ScanSimulation) -> None:
    again = simulate_scans(12, 4, resolution=4, seed=3)
    again.render("sub-0005", FIRST)
    for noise in (False, True):
        first = brains.render("sub-0002", LAST, noise=noise)
        assert np.array_equal(first, again.render("sub-0002", LAST, noise=noise))
    assert not np.array_equal(first, brains.render("sub-0002", FIRST, noise=True))
    assert not np.array_equal(first, simulate_scans(12, 4, resolution=4, seed=4).render("sub-0002", LAST, noise=True))


def test_everyone_comes_about_yearly_at_irregular_times(brains: ScanSimulation) -> None:
    assert (brains.visits.groupby("subject").size() == 4).all()
    gaps = brains.visits.groupby("subject")["years"].diff().dropna()
    assert gaps.min() > 0.3 and gaps.max() < 1.7 and gaps.std() > 0.05
    first = brains.visits.groupby("subject")["age"].transform("first")
    assert np.allclose(brains.visits["age"] - first, brains.visits["years"], atol=1e-3)


def test_no_deformation_folds_even_of_a_brain_far_gone(brains: ScanSimulation) -> None:
    change = change_fields()
    usual = Course.draw(np.random.default_rng(0)).midpoint
    worst = change.velocity(Course(np.full(len(PARTS), 1.5), usual).log_volumes(8.0, 90.0))
    for velocity in (worst, -worst):
        assert jacobian(exponential(velocity, change.grid), change.grid).min() > 0
    for subject in brains.subjects.index[:5]:
        anatomy = brains.subject(subject).anatomy
        for displacement in (anatomy.to, anatomy.back):
            assert jacobian(displacement, anatomy.grid).min() > 0.1


def test_ventricles_grow_and_gray_matter_shrinks_in_labels_as_in_the_true_volumes() -> None:
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


def test_the_head_of_another_visit_shows_change_and_no_movement(brains: ScanSimulation) -> None:
    subject = demented(brains)
    first, last = brains.render(subject, FIRST), brains.render(subject, LAST)
    there = brains.render(subject, FIRST, like=LAST)
    brain = brains.labels(subject, LAST) > 0
    assert np.abs(there - last)[brain].mean() < 0.5 * np.abs(first - last)[brain].mean()
    assert np.array_equal(brains.render(subject, LAST, like=LAST), last)


def test_a_scan_looks_like_a_scan(brains: ScanSimulation) -> None:
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


def test_another_scanner_is_brighter_for_half_of_the_people_from_its_visit_on(brains: ScanSimulation) -> None:
    moved = simulate_scans(12, 4, resolution=8, seed=3, scanner_change=3)
    second = moved.visits["scanner"].eq(2).groupby(moved.visits["subject"])
    assert set(second.sum()) == {0, 2}
    assert not moved.visits.groupby("subject").head(2)["scanner"].eq(2).any()
    subject = second.sum().idxmax()
    same = simulate_scans(12, 4, resolution=8, seed=3)
    after, before = (each.render(subject, LAST, noise=True).mean() for each in (moved, same))
    assert after > 1.15 * before
    assert np.array_equal(moved.render(subject, LAST), same.render(subject, LAST))


def test_amyloid_rises_where_it_should_and_the_cerebellum_stays_at_one() -> None:
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


def test_pet_drawn_in_the_template_s_space_is_the_head_s_without_its_place() -> None:
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
    ("settings", "told"),
    [
        ({"modality": "FLAIR"}, "T1w, pet"),
        ({"resolution": 0.5}, "1 to 8"),
        ({"scanner_change": 5}, "2 to 4"),
        ({"scanner_change": 1}, "2 to 4"),
    ],
)
def test_values_out_of_range_are_refused(settings: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        simulate_scans(2, 4, **settings)


def test_a_visit_that_is_none_is_named(brains: ScanSimulation) -> None:
    with pytest.raises(ConfigError, match="sub-0001 ses-M099"):
        brains.render("sub-0001", "ses-M099")
