"""Segmentations without learning: what a trained network has to beat."""

from __future__ import annotations

import cc3d
import numpy as np
from scipy import ndimage

from contraband.quick.otsu import otsu_threshold


def baseline_otsu(raw: np.ndarray, sigma_voxels: float = 0.75, least_voxels: int = 100) -> np.ndarray:
    """(Z, Y, X) uint32: connected bright pieces, the dark rest given to the nearest of them; 0 nowhere.

    raw: (Z, Y, X), bright inside cells and dark between them. It is blurred by `sigma_voxels` and cut at Otsu's
    threshold; pieces hold together by faces, those below `least_voxels` count as dark. If there is no piece, all
    voxels are one.
    """
    blurred = ndimage.gaussian_filter(raw.astype(np.float32), [sigma_voxels if n > 1 else 0 for n in raw.shape])
    inside = blurred > otsu_threshold(blurred)
    pieces = cc3d.connected_components(inside, connectivity=6)
    pieces[(np.bincount(pieces.ravel()) < least_voxels)[pieces]] = 0
    if not pieces.any():
        return np.ones(raw.shape, np.uint32)
    nearest = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
    filled: np.ndarray = pieces[tuple(nearest)].astype(np.uint32)
    return filled
