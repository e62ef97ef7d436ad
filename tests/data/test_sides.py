"""The counterpart of a structure on the other side of the brain."""

from crow.data.sides import other_side


def test_names_tell_the_side() -> None:
    assert other_side(["mode_01", "log_volume_cortex_right", "csf", "log_volume_cortex_left"]) == [0, 3, 2, 1]
    assert other_side(["left", "amygdala_left", "x_right"]) == [0, 1, 2]
