"""Normalised intensities do not depend on the scanner's gain."""

import numpy as np
import pytest

from crow.errors import ConfigError, ScanError
from crow.scans.intensity import check_modality, check_reference, scale_of
from crow.scans.template import load_template

TEMPLATE = load_template(4.0)


def test_white_matter_becomes_one() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, TEMPLATE.grid.shape).astype(np.float32)
    scan = 730 * (TEMPLATE.t1 + noise * TEMPLATE.mask)
    normal = scan / scale_of(scan, TEMPLATE, "T1w", None)
    assert np.median(normal[TEMPLATE.wm > 0.95]) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("modality", ["T1w", "FLAIR", "pet"])
def test_the_gain_does_not_matter(modality: str) -> None:
    scan = 1.2 * TEMPLATE.gm + TEMPLATE.wm
    reference = check_reference(None, modality)
    one, other = (scale_of(scan * gain, TEMPLATE, modality, reference) / gain for gain in (1.0, 3.5))
    assert one == pytest.approx(other, rel=1e-4)


def test_pet_is_a_ratio_to_cerebellar_grey_matter() -> None:
    scan = np.where(TEMPLATE.structure("cerebellum") & (TEMPLATE.gm > 0.5), np.float32(4), np.float32(9))
    assert scale_of(scan, TEMPLATE, "pet", check_reference(None, "pet")) == pytest.approx(4)
    assert scale_of(scan, TEMPLATE, "pet", check_reference("none", "pet")) == 1
    assert scale_of(scan, TEMPLATE, "CBF", check_reference(None, "CBF")) == 1


def test_scans_without_signal_are_refused() -> None:
    for modality, reference in (("T1w", None), ("pet", "cerebellum")):
        with pytest.raises(ScanError):
            scale_of(np.zeros(TEMPLATE.grid.shape, np.float32), TEMPLATE, modality, reference)


def test_modality_is_given_or_detected() -> None:
    assert check_modality("T2w", "T1w", []) == "T2w"
    assert check_modality(None, None, ["/a/sub-1_T1w.nii.gz"]) == "T1w"
    with pytest.raises(ConfigError, match=r"scan1\.nii: the modality is not in the file name. Add --modality"):
        check_modality(None, None, ["/a/scan1.nii"])
    with pytest.raises(ConfigError, match="--modality bold: not supported; choose from T1w"):
        check_modality(None, "bold", [])


def test_reference_is_a_structure_and_only_for_pet() -> None:
    with pytest.raises(ConfigError, match="no such structure"):
        check_reference("pons", "pet")
    with pytest.raises(ConfigError, match="only for PET"):
        check_reference("cerebellum", "T1w")
