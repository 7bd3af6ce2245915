"""A made-up stack of nuclei as a microscope gives it: 16 bit, sections thicker than voxels are wide, many touching."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

THICKNESS = 4
"""A section is as thick as so many voxels are wide."""


def nuclei(shape: tuple[int, int, int], radius: float = 10.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Raw (z, y, x) uint16 and true objects uint16: ellipsoids of unlike brightness, as many as fit, with noise.

    Two that touch are flattened where they meet, and nothing dark lies between them.
    """
    random = np.random.default_rng(seed)
    scale = np.array([1 / THICKNESS, 1, 1])
    placed: list[tuple[np.ndarray, float]] = []
    for _ in range(2000):
        centre = random.uniform(0.6 * radius * scale, np.array(shape) - 0.6 * radius * scale)
        size = radius * random.uniform(0.85, 1.15)
        if all(np.linalg.norm((centre - other) / scale) > 0.85 * (size + far) for other, far in placed):
            placed.append((centre, size))
    labels = np.zeros(shape, np.uint16)
    nearest = np.full(shape, np.inf, np.float32)
    grid = np.ogrid[tuple(slice(0, size) for size in shape)]
    for number, (centre, size) in enumerate(placed, 1):
        axes = zip(grid, centre, size * scale, strict=True)
        far = sum(((place - middle) / half) ** 2 for place, middle, half in axes)
        inside = (far < 1) & (far < nearest)
        nearest[inside] = far[inside]
        labels[inside] = number
    level = random.uniform(900, 1500, len(placed) + 1)
    level[0] = 300
    image = ndimage.gaussian_filter(level[labels], (0.4, 1, 1))
    noisy = random.poisson(image) + random.normal(0, 60, shape)
    return noisy.clip(0, 65535).astype(np.uint16), labels
