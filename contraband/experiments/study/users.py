"""Simulated people who label: each says where to click next, and answers truly what is there.

They drive the session that the page of `contraband label` drives, through the same interface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from funlib.geometry import Roi
from numpy.typing import NDArray
from scipy import ndimage

from blockwise.grid import Voxels, as_voxels
from contraband.experiments.study.settings import UserName
from contraband.label.session import LabelSession

Classes = NDArray[np.integer[Any]]
"""(z, y, x): what a user sees to be there."""

User = Callable[[LabelSession, Classes, np.random.Generator], Voxels]
"""The next voxel, of a session on an image whose true classes are known."""


def mends(session: LabelSession, classes: Classes, random: np.random.Generator) -> Voxels:
    """The middle of the largest region of a section, chosen by chance, that is predicted wrongly."""
    z = int(random.integers(len(classes)))
    wrong = session.predict(section_box(session, z))[:, 0].argmax(axis=0) != classes[z]
    regions, count = ndimage.label(wrong)
    if not count:
        return spreads(session, classes, random)
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    inner = ndimage.distance_transform_edt(np.pad(regions == largest, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(inner)), inner.shape)
    return (z, int(y), int(x))


def spreads(session: LabelSession, classes: Classes, random: np.random.Generator) -> Voxels:
    """A voxel of the true class that has the fewest labels, anywhere: what no real person can be told."""
    known = np.unique(classes)
    counts = np.bincount([point.label for point in session.points], minlength=int(known[-1]) + 1)[known]
    flat = np.flatnonzero(classes == known[int(np.argmin(counts))])
    return as_voxels(int(at) for at in np.unravel_index(int(random.choice(flat)), classes.shape))


def follows(session: LabelSession, _classes: Classes, _random: np.random.Generator) -> Voxels:
    """Where `n` jumps to."""
    return session.propose()[0]


USERS: Mapping[UserName, User] = {"mends": mends, "spreads": spreads, "follows": follows}


def label_once(session: LabelSession, classes: Classes, user: User, random: np.random.Generator) -> None:
    """One click; the first ones are of two classes, as nothing is predicted before."""
    voxel = user(session, classes, random) if session.is_ready else spreads(session, classes, random)
    session.click(voxel, int(classes[voxel]))


def section_box(session: LabelSession, z: int) -> Roi:
    """A section of the image."""
    return Roi((z, 0, 0), (1, *session.shape[1:]))
