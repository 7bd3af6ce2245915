"""Simulated people who label: each says where to click next, and answers truly what is there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from funlib.geometry import Roi
from scipy import ndimage

from blockwise.grid import Voxels, as_voxels
from contraband.label.session import LabelSession

Clicker = Callable[[LabelSession, np.ndarray, np.random.Generator], Voxels]
"""The next voxel, of a session on an image whose true classes (z, y, x) are known."""


def mends(session: LabelSession, classes: np.ndarray, random: np.random.Generator) -> Voxels:
    """The middle of the largest region of a section, chosen by chance, that is predicted wrongly."""
    z = int(random.integers(len(classes)))
    section = session.predict(Roi((z, 0, 0), (1, *classes.shape[1:])))[:, 0].argmax(axis=0)
    wrong = section != classes[z]
    regions, count = ndimage.label(wrong)
    if not count:
        return spreads(session, classes, random)
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    inner = ndimage.distance_transform_edt(np.pad(regions == largest, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(inner)), inner.shape)
    return (z, int(y), int(x))


def spreads(session: LabelSession, classes: np.ndarray, random: np.random.Generator) -> Voxels:
    """A voxel of the true class that has the fewest labels, anywhere: what no real person can be told."""
    known = np.unique(classes)
    counts = np.bincount([point.label for point in session.points], minlength=3)[known]
    flat = np.flatnonzero(classes == known[int(np.argmin(counts))])
    return as_voxels(np.unravel_index(int(random.choice(flat)), classes.shape))


def follows(session: LabelSession, classes: np.ndarray, random: np.random.Generator) -> Voxels:
    """Where `n` jumps to."""
    return session.propose()[0]


CLICKERS: dict[str, Clicker] = {"mends": mends, "spreads": spreads, "follows n": follows}


def let_label(session: LabelSession, classes: np.ndarray, clicker: Clicker, clicks: int, seed: int = 0) -> None:
    """Click until there are so many points; the first two are of two classes, as nothing is predicted before."""
    random = np.random.default_rng([seed, len(session.points)])
    while len(session.points) < clicks:
        voxel = clicker(session, classes, random) if session.is_ready else spreads(session, classes, random)
        session.click(voxel, int(classes[voxel]))
