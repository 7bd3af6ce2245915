"""Affinities as a network would predict them, made up for an endless volume, to measure speed at any size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from contraband.demo.noise import smooth, uniform
from contraband.demo.synthetic import depth_in_cell

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
COARSE = 2
"""The cells are found on every second voxel of each axis and interpolated; eight times faster."""


def em_like_affinities(
    shape: Sequence[int], seed: int, begin: Sequence[int] = (0, 0, 0), cell_voxels: float = 24.0
) -> tuple[np.ndarray, np.ndarray]:
    """(3, Z, Y, X) uint8 affinities to the voxel before on each axis, and (Z, Y, X) uint64 labels, 0 nowhere.

    They are the region [begin, begin + shape) of one endless volume, so pieces made one by one fit together to the
    last bit. Labels name their cell by its place; a cell is not everywhere in one piece.
    """
    first = [low - 1 for low in begin]
    depth, labels = _cells(seed, first, [count + 1 for count in shape], cell_voxels)
    affinities = _affinities(depth, seed, first)
    return affinities, labels[1:, 1:, 1:]


def affinities_from_labels(labels: np.ndarray, seed: int) -> np.ndarray:
    """(3, Z, Y, X) uint8: affinities of the given cells, with thick, soft and in places faint membranes."""
    padded = np.pad(labels, [(1, 0)] * 3, mode="edge")
    return _affinities(depth_in_cell(padded), seed, (-1, -1, -1))


def thin_affinities(
    labels: np.ndarray, seed: int, inside: float = 0.95, across: float = 0.15, grain: float = 0.35
) -> np.ndarray:
    """(3, Z, Y, X) uint8: affinities of the given cells, low only where a step leads into another cell.

    No voxel is membrane: the membrane has no thickness. grain: each affinity is off by up to half of this.
    """
    levels = np.empty((3, *labels.shape), np.uint8)
    for axis in range(3):
        before = np.concatenate([labels.take([0], axis), labels.take(np.arange(labels.shape[axis] - 1), axis)], axis)
        off = np.float32(grain) * (uniform(seed + 70 + axis, (0, 0, 0), labels.shape) - np.float32(0.5))
        levels[axis] = np.rint(np.clip(np.where(labels == before, inside, across) + off, 0, 1) * 255)
    return levels


def _affinities(depth: np.ndarray, seed: int, begin: Sequence[int]) -> np.ndarray:
    """Affinities from the depth in the cell; both arrays begin at `begin`, and the result one voxel later."""
    shape = depth.shape
    faint = smooth(seed + 60, begin, shape, 8.0)
    strength = np.clip(1.05 + 0.2 * faint, 0.15, 1.0)
    wall = strength / (1 + np.exp(np.clip((depth - 2.0) / 0.6, -30, 30)))
    wall = wall + np.float32(0.03) * smooth(seed + 61, begin, shape, 4.0)
    here = wall[1:, 1:, 1:]
    levels = np.empty((3, *here.shape), np.uint8)
    before = (wall[:-1, 1:, 1:], wall[1:, :-1, 1:], wall[1:, 1:, :-1])
    for channel, other in enumerate(before):
        grain = uniform(seed + 62 + channel, [low + 1 for low in begin], here.shape) - np.float32(0.5)
        together = 1 - np.maximum(here, other) + np.float32(0.06) * grain
        levels[channel] = np.rint(np.clip(together, 0, 1) * 255)
    return levels


def _cells(seed: int, begin: Sequence[int], shape: Sequence[int], cell_voxels: float) -> tuple[np.ndarray, np.ndarray]:
    """(Z, Y, X) float32 distance to the nearest other cell, in voxels, and uint64 numbers of the cells."""
    low = [at // COARSE for at in begin]
    size = [(at + count - 1) // COARSE + 2 - start for at, count, start in zip(begin, shape, low, strict=True)]
    place = np.moveaxis(COARSE * (np.indices(size) + np.reshape(low, (3, 1, 1, 1))), 0, -1).astype(np.float32)
    for axis in range(3):
        bend = smooth(seed + 50 + axis, low, size, cell_voxels / COARSE)
        place[..., axis] += np.float32(0.25 * cell_voxels) * bend
    place[..., 0] *= 0.6  # cells are longer along the first axis
    sites, number = _sites(place, seed, cell_voxels)
    flat = place.reshape(-1, 3)
    gap, nearest = cKDTree(sites).query(flat, k=2)
    between = np.linalg.norm(sites[nearest[:, 0]] - sites[nearest[:, 1]], axis=1)
    depth = ((gap[:, 1] ** 2 - gap[:, 0] ** 2) / (2 * between)).astype(np.float32).reshape(size)
    labels = number[nearest[:, 0]].reshape(size)
    for axis, (at, count, start) in enumerate(zip(begin, shape, low, strict=True)):
        wanted = np.arange(at, at + count) - COARSE * start
        left, part = wanted // COARSE, (wanted % COARSE / COARSE).astype(np.float32)
        labels = labels.take((wanted + COARSE // 2) // COARSE, axis)
        weight = part.reshape([-1 if i == axis else 1 for i in range(3)])
        depth = depth.take(left, axis) * (1 - weight) + depth.take(left + 1, axis) * weight
    return depth, labels


def _sites(place: np.ndarray, seed: int, cell_voxels: float) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) centres of all cells that can be nearest or second to the places, and their uint64 numbers."""
    corner = [int(low) - 2 for low in np.floor(place.min((0, 1, 2)) / cell_voxels)]
    end = [int(high) + 3 for high in np.floor(place.max((0, 1, 2)) / cell_voxels)]
    counts = [high - low for low, high in zip(corner, end, strict=True)]
    index = np.moveaxis(np.indices(counts), 0, -1) + corner
    jitter = np.stack([uniform(seed + 53 + axis, corner, counts) for axis in range(3)], -1)
    centres = (index + jitter) * cell_voxels
    z, y, x = (index[..., axis] + (1 << 20) for axis in range(3))
    number = ((z << 42) | (y << 21) | x).astype(np.uint64)
    return centres.reshape(-1, 3), number.ravel()
