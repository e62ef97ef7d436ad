"""Data-driven parcellation: connected regions whose voxels covary across scans."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crow.extras import extra
from crow.scans.atlas import Atlas
from crow.scans.deform import sample
from crow.scans.store import ScanStore

with extra("scans"):
    import nibabel as nib
    from nilearn.regions import Parcellations

COARSE = 4.0  # mm
MAX_SCANS = 100


def learn_parcels(store: ScanStore, rows: NDArray[np.int64], parcels: int) -> Atlas:
    """Divide the mask into ``parcels`` connected regions by Ward clustering (nilearn) of up to `MAX_SCANS` scans."""
    coarse = store.info.grid.coarser(COARSE)
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_SCANS)).astype(int)]
    points = coarse.points()

    def downsampled(volume: NDArray[Any]) -> NDArray[np.float32]:
        return sample(volume.astype(np.float32)[None], store.info.grid, points)[0].astype(np.float32)

    mask = nib.Nifti1Image((downsampled(store.mask) > 0.5).astype(np.uint8), coarse.matrix)
    intensity = store.array("intensity")
    scans = [nib.Nifti1Image(downsampled(np.asarray(intensity[int(row)])), coarse.matrix) for row in chosen]
    search = Parcellations(method="ward", n_parcels=parcels, mask=mask, standardize=False, smoothing_fwhm=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(scans)
    labels = np.asarray(search.labels_img_.dataobj, np.int32)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    matrix = np.linalg.inv(coarse.matrix) @ store.info.grid.matrix
    fine = ndimage.affine_transform(
        labels[tuple(nearest)],
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=store.info.grid.shape,
        order=0,
        mode="nearest",
    )
    found = [int(label) for label in np.unique(labels) if label > 0]
    return Atlas(np.where(store.mask, fine, 0).astype(np.int32), {label: f"parcel_{label:03d}" for label in found})
