"""Affinities as a network would predict them of given cells; volumes of any size: `blockwise.kernels.synthetic`."""

from __future__ import annotations

import numpy as np

from contraband.demo.noise import smooth, uniform
from contraband.demo.synthetic import depth_in_cell


def affinities_from_labels(labels: np.ndarray, seed: int) -> np.ndarray:
    """(3, Z, Y, X) uint8: affinities of the given cells, with thick, soft and in places faint membranes."""
    depth = depth_in_cell(np.pad(labels, [(1, 0)] * 3, mode="edge"))
    begin, shape = (-1, -1, -1), depth.shape
    faint = smooth(seed + 60, begin, shape, 8.0)
    strength = np.clip(1.05 + 0.2 * faint, 0.15, 1.0)
    wall = strength / (1 + np.exp(np.clip((depth - 2.0) / 0.6, -30, 30)))
    wall = wall + np.float32(0.03) * smooth(seed + 61, begin, shape, 4.0)
    here = wall[1:, 1:, 1:]
    levels = np.empty((3, *here.shape), np.uint8)
    before = (wall[:-1, 1:, 1:], wall[1:, :-1, 1:], wall[1:, 1:, :-1])
    for channel, other in enumerate(before):
        grain = uniform(seed + 62 + channel, (0, 0, 0), here.shape) - np.float32(0.5)
        together = 1 - np.maximum(here, other) + np.float32(0.06) * grain
        levels[channel] = np.rint(np.clip(together, 0, 1) * 255)
    return levels


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
