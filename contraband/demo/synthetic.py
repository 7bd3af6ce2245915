"""A made-up volume that looks like electron microscopy of nerve tissue, with the truth about it."""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from contraband.demo.noise import smooth, uniform

CYTOPLASM = 0.68
MEMBRANE = 0.2
OUTLINE = 0.22
MATRIX = 0.36


def em_like(
    shape: Sequence[int], seed: int, cell_voxels: float = 22.0, membrane_voxels: float = 4.0, noise: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """(Z, Y, X) uint8 image and uint32 labels, the same bytes for the same arguments.

    Winding neurites about `cell_voxels` thick are separated by dark membranes of `membrane_voxels`. Mitochondria,
    vesicles, uneven staining and faint membranes make grey values alone a poor guide. Labels begin at 1, leave
    no voxel out, and each is one connected piece. noise: deviation of the grain, white being 1.
    """
    labels = neurites(shape, seed, cell_voxels)
    depth = depth_in_cell(labels)
    image = cytoplasm(labels, seed)
    add_mitochondria(image, labels, depth, seed, cell_voxels)
    add_vesicles(image, depth, seed, cell_voxels)
    wall = membrane(depth, seed, membrane_voxels)
    image += wall * (MEMBRANE - image)
    image = ndimage.gaussian_filter(image, 0.9)
    image *= 1 + 0.06 * smooth(seed + 40, (0, 0, 0), shape, 6 * cell_voxels)
    grain = ndimage.gaussian_filter(gaussian(seed + 41, shape), 0.6) / 0.42
    image += noise * grain
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), labels


def neurites(shape: Sequence[int], seed: int, cell_voxels: float) -> np.ndarray:
    """(Z, Y, X) uint32 from 1 on: every voxel belongs to the nearest of many winding, branchless threads."""
    points, radius, thread = threads(shape, seed, cell_voxels)
    place = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij"), -1)
    for axis in range(3):
        for octave, (bump, shift) in enumerate(((1.2, 0.16), (0.4, 0.05))):
            field = smooth(seed + 10 + 3 * octave + axis, (0, 0, 0), shape, bump * cell_voxels)
            place[..., axis] += shift * cell_voxels * field
    # A power diagram: thick threads win against thin ones. A fourth axis makes it a search for the nearest point.
    lift = np.sqrt(radius.max() ** 2 - radius**2)
    tree = cKDTree(np.column_stack([points, lift]))
    flat = place.reshape(-1, 3)
    owner = np.empty(len(flat), np.uint32)
    for begin in range(0, len(flat), 1 << 20):
        piece = flat[begin : begin + (1 << 20)]
        nearest = tree.query(np.column_stack([piece, np.zeros(len(piece), np.float32)]))[1]
        owner[begin : begin + len(piece)] = thread[nearest]
    return whole_pieces(owner.reshape(tuple(shape)), int(cell_voxels**3 / 8))


def threads(shape: Sequence[int], seed: int, cell_voxels: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (N, 3) in voxels, the radius (N) and the number (N, from 1 on) of the thread each lies on."""
    rng = np.random.default_rng(seed)
    size = np.array(shape, np.float64)
    steps = 12
    stride = 0.8 * cell_voxels
    space = size + 2 * cell_voxels
    count = int(np.ceil(np.prod(space) / (steps * stride * cell_voxels**2)))
    start = rng.uniform(-cell_voxels, size + cell_voxels, (count, 3))
    heading = rng.normal(size=(count, 3))
    points = np.empty((count, steps, 3))
    for step in range(steps):
        points[:, step] = start
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        start = start + stride * heading
        heading += 0.35 * rng.normal(size=(count, 3))
    # Threads that leave at one side enter at the other, so that the density is even.
    points = np.mod(points + cell_voxels, space) - cell_voxels
    radius = cell_voxels * np.minimum(rng.lognormal(-0.7, 0.5, count), 1.0)
    return points.reshape(-1, 3), np.repeat(radius, steps), np.repeat(np.arange(1, count + 1), steps)


def whole_pieces(labels: np.ndarray, least_voxels: int) -> np.ndarray:
    """uint32 from 1 on: connected pieces of the labels; pieces below `least_voxels` go to their neighbour."""
    pieces = cc3d.connected_components(labels, connectivity=6)
    small = np.bincount(pieces.ravel()) < least_voxels
    crumbs = small[pieces]
    if crumbs.any() and not crumbs.all():
        nearest = ndimage.distance_transform_edt(crumbs, return_distances=False, return_indices=True)
        pieces = cc3d.connected_components(pieces[tuple(nearest)], connectivity=6)
    numbered: np.ndarray = pieces.astype(np.uint32)
    return numbered


def depth_in_cell(labels: np.ndarray) -> np.ndarray:
    """(Z, Y, X) float32: distance in voxels to the nearest face between two labels; 0.5 beside one."""
    edge = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        one, other = (np.moveaxis(edge, axis, 0)[half] for half in (slice(1, None), slice(None, -1)))
        ids = np.moveaxis(labels, axis, 0)
        differs = ids[1:] != ids[:-1]
        one |= differs
        other |= differs
    if not edge.any():
        return np.full(labels.shape, np.inf, np.float32)
    distance: np.ndarray = ndimage.distance_transform_edt(~edge).astype(np.float32) + np.float32(0.5)
    return distance


def membrane(depth: np.ndarray, seed: int, membrane_voxels: float) -> np.ndarray:
    """(Z, Y, X) float32 in [0, 1]: how much of a membrane a voxel is; faint in places."""
    width = membrane_voxels / 2 * (1 + 0.15 * smooth(seed + 20, (0, 0, 0), depth.shape, 12))
    strength = np.clip(0.95 + 0.18 * smooth(seed + 21, (0, 0, 0), depth.shape, 9), 0.5, 1)
    wall: np.ndarray = strength / (1 + np.exp(np.clip((depth - width) / 0.5, -30, 30)))
    return wall


def cytoplasm(labels: np.ndarray, seed: int) -> np.ndarray:
    """(Z, Y, X) float32: each cell in its own grey, mottled."""
    rng = np.random.default_rng(seed + 1)
    grey = CYTOPLASM + 0.06 * rng.standard_normal(int(labels.max()) + 1)
    mottle = smooth(seed + 30, (0, 0, 0), labels.shape, 3) + smooth(seed + 31, (0, 0, 0), labels.shape, 7)
    image: np.ndarray = grey.astype(np.float32)[labels] + np.float32(0.03) * mottle
    return image


def add_mitochondria(image: np.ndarray, labels: np.ndarray, depth: np.ndarray, seed: int, cell_voxels: float) -> None:
    """Darken sausages with an outline and inner folds, each inside one cell."""
    rng = np.random.default_rng(seed + 2)
    wide = np.flatnonzero(depth > 0.28 * cell_voxels)
    count = min(len(wide), int(np.ceil(labels.size / (1.8 * cell_voxels) ** 3)))
    for index in rng.choice(wide, count, replace=False) if count else ():
        centre = np.array(np.unravel_index(index, labels.shape))
        width = 0.33 * cell_voxels * rng.uniform(0.7, 1.2)
        half = 2.5 * width * rng.uniform(0.7, 1.3)
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        box = tuple(slice(max(0, int(c - half)), int(c + half) + 1) for c in centre)
        offset = np.argwhere(np.ones(labels[box].shape, bool)).reshape(*labels[box].shape, 3)
        offset = offset + [side.start for side in box] - centre
        along = offset @ direction
        across = np.sqrt(np.maximum((offset**2).sum(-1) - along**2, 0))
        reach = np.sqrt((along / half) ** 2 + (across / width) ** 2)
        inside = np.clip((1 - reach) * width, -3, 3)
        inside = np.minimum(inside, depth[box] - 3)
        fits = (inside > 0) & (labels[box] == labels.ravel()[index])
        folds = 0.10 * np.sin(along * 1.6 + 2 * np.sin(across * 0.7))
        grey = np.where(inside < 1.3, OUTLINE, MATRIX + folds)
        image[box] = np.where(fits, grey, image[box])


def add_vesicles(image: np.ndarray, depth: np.ndarray, seed: int, cell_voxels: float) -> None:
    """Sprinkle dark dots where a slow field says so, away from membranes."""
    shape = image.shape
    where = smooth(seed + 33, (0, 0, 0), shape, 1.5 * cell_voxels) > 0.9
    dots = ndimage.maximum_filter(uniform(seed + 34, (0, 0, 0), shape), 3) > 0.9985
    image[where & dots & (depth > 3.5)] -= 0.28


def gaussian(seed: int, shape: Sequence[int]) -> np.ndarray:
    """(Z, Y, X) float32: independent, mean 0, deviation 1."""
    return np.random.default_rng(seed).standard_normal(tuple(shape), np.float32)
