"""Patches: boxes cut out of volumes around chosen voxels, and their inverse."""

import numpy as np
import pytest
from pydantic import ValidationError

from crow.errors import ConfigError
from crow.representation.patches import MAX_PATCHES, PATCHES_PER_SCAN, corners, cut, paste, side
from crow.run.cross_sectional_config import SegmentConfig


@pytest.mark.parametrize("corner", [(0, 0, 0), (-2, 1, 5), (3, -1, 2)])
def test_boxes_round_trip(corner: tuple[int, int, int]) -> None:
    volume = 1 + np.arange(2 * 5 * 6 * 7, dtype=np.float32).reshape(2, 5, 6, 7)
    box = cut(volume, np.array(corner), (4, 4, 4))
    back = paste(box, np.array(corner), volume.shape[1:])
    np.testing.assert_array_equal(back, np.where(back > 0, volume, 0))
    i, j, k = (max(0, -c) for c in corner)
    assert box[1, i, j, k] == volume[1, corner[0] + i, corner[1] + j, corner[2] + k]
    assert (back > 0).sum() == (box > 0).sum()


def test_patches_contain_the_chosen_voxels() -> None:
    where = np.zeros((20, 21, 22), bool)
    where[9, 10, 11:15] = True
    found = corners(where, 8, 10, np.random.default_rng(0), (1, 1, 3))
    assert found.shape == (PATCHES_PER_SCAN, 3)
    assert (found[:, 0] == 5).all() and (found[:, 1] == 6).all() and set(found[:, 2]) <= {6, 9}
    assert len(corners(where, 8, MAX_PATCHES // 2, np.random.default_rng(0))) == 2
    np.testing.assert_array_equal(found, corners(where, 8, 10, np.random.default_rng(0), (1, 1, 3)))


def test_invalid_patch_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"divisible by 4 .*Choose 8"):
        side(SegmentConfig.model_validate({"images": {"size": 10}}))
    with pytest.raises(ValidationError):
        SegmentConfig.model_validate({"images": {"slice": "axial"}})
