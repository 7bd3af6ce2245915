"""An image with membranes between its cells, the class of each voxel, and points as a person might click them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from blockwise.grid import Voxels
from contraband.quick.file import Recipe, save_head
from contraband.quick.fitting import fit
from tests.support.volumes import cells

RECIPES = {
    2: Recipe(dims=2, gaussian={"scales": (1.0, 2.5)}, offsets=((0, -1, 0), (0, 0, -1))),
    3: Recipe(dims=3, gaussian={"scales": (1.0, 2.5)}),
}


def labelled_image(shape: Voxels, seed: int = 0, spacing: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw (uint8), classes (1 inside, 2 boundary) and the cells (from 1), all (z, y, x)."""
    labels = cells(shape, seed, spacing)[1]
    apart = np.zeros(shape, bool)
    for axis, size in enumerate(shape):
        if size > 1:
            apart |= labels != np.roll(labels, 1, axis)
            apart |= labels != np.roll(labels, -1, axis)
    dark = ndimage.gaussian_filter(apart.astype(np.float32), [0.7 if size > 1 else 0 for size in shape])
    noisy = 190 - 120 * dark + np.random.default_rng(seed).normal(0, 12, shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), np.where(apart, 2, 1), labels


def drawn(classes: np.ndarray, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(P, 3) voxels and (P,) classes, as many of each class."""
    random = np.random.default_rng(seed)
    places = [random.choice(np.argwhere(classes == one), each, replace=False) for one in np.unique(classes)]
    return np.concatenate(places), np.repeat(np.unique(classes), each)


def store_head(path: Path, dims: int, kind: str = "logistic", each: int = 20) -> Path:
    """The file of a head that learned from such an image."""
    raw, classes, _ = labelled_image((8, 60, 60))
    features = RECIPES[dims].gaussian.of(raw, dims)
    voxels, named = drawn(classes, each)
    save_head(path, fit(kind, features[(slice(None), *voxels.T)].T, named), RECIPES[dims])
    return path
