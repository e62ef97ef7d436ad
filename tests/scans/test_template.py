import numpy as np

from crow.scans.template import STRUCTURES, load_template


def test_tissues_and_structures_on_a_coarse_grid():
    template = load_template(8.0)
    assert template.grid.shape == template.t1.shape == template.structures.shape == template.mask.shape
    assert np.allclose(template.grid.spacing, 8)
    assert np.array_equal(template.structures > 0, template.mask)
    assert not template.t1[~template.mask].any()
    assert set(np.unique(template.structures)) == {0, *STRUCTURES}
    brain = template.mask.sum() * template.grid.voxel_volume
    assert 1.6e6 < brain < 2.2e6
    assert np.median(template.t1[template.wm > 0.9]) > np.median(template.t1[template.gm > 0.9]) > 0.5


def test_structures_have_plausible_sides_and_volumes():
    template = load_template(3.0)
    x = template.grid.points()[0]
    sizes = {"hippocampus": (3500, 5500), "ventricles": (15_000, 35_000), "cortex": (350_000, 500_000)}
    for name, (minimum, maximum) in sizes.items():
        for side in ("_left", "_right") if name != "ventricles" else ("",):
            where = template.structure(name + side)
            assert minimum < where.sum() * template.grid.voxel_volume < maximum
            if side:
                assert (x[where] <= 0).all() if side == "_left" else (x[where] >= 0).all()


def test_the_template_is_cached_and_read_only():
    template = load_template(8.0)
    assert load_template(8.0) is template
    assert not template.t1.flags.writeable
