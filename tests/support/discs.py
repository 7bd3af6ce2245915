"""Made-up nuclei for studies: bright discs on a dark ground, in images of 64 x 64."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def discs(count: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Raw (count, 64, 64) uint8 and true objects uint16: up to five discs of radius 5 to 8 that do not overlap."""
    random = np.random.default_rng(seed)
    raw = random.normal(40, 12, (count, 64, 64))
    labels = np.zeros(raw.shape, np.uint16)
    y, x = np.mgrid[:64, :64]
    for image, truth in zip(raw, labels, strict=True):
        for number in range(1, 6):
            centre = random.uniform(8, 56, 2)
            radius = random.uniform(5, 8)
            inside = np.hypot(y - centre[0], x - centre[1]) < radius
            if not truth[inside].any():
                truth[inside] = number
                image[inside] += random.uniform(50, 120)
    return raw.clip(0, 255).astype(np.uint8), labels


def stored_discs(path: Path, count: int = 8, seed: int = 0) -> Path:
    """The same as an .npz file."""
    raw, labels = discs(count, seed)
    np.savez(path, raw=raw, labels=labels)
    return path
