"""Affinities of an image without labels, through the same interface as a network's.

Each number is a sum over a fixed neighbourhood in one order, so that a voxel has the same whatever tile it lies in;
only additions, products, quotients and roots are used between, which every processor rounds alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blockwise.grid import Voxels, as_voxels
from blockwise.stages.affinity import NEAREST
from contraband.models.averaging.base import as_uint8
from contraband.models.classes import affinities_of
from contraband.quick.classical_settings import Classical
from contraband.quick.curvature import largest_curvature_2d, largest_curvature_3d
from contraband.quick.filters import blur
from contraband.quick.gaussian import gaussian, shrunk

Values = NDArray[np.float32]

SCALES = {"nuclei": 0.4, "cells": 0.25, "membranes": 0.6}
"""The Gaussian under which an object is one hill, or a membrane one valley, in radii: of nuclei wide enough that their
shape counts and not their texture, of cells narrow enough to keep what is long."""

BEND = 0.05
"""How much the brightness of an object may curve up, in squares of the scale, before a voxel is rather between two: in
the middle of large objects it is level, up to noise."""
BEND_SPAN = 0.2
"""How much more or less makes half of certain."""

AROUND = 6.0
"""Voxels along y and x of the Gaussian within which a membrane has to stand out."""
LEAST_SPREAD = 0.01
"""Standard deviation around a voxel, as part of the range of raw, below which all is taken for noise."""
DARKNESS = 1 / 3
"""How much darker than its surroundings counts beside how sharp a valley is, both in standard deviations."""
MIDDLE = 0.5
"""Where boundary and inside are equally likely."""


class ClassicalPredictor:
    """What the rules say of an image. Its tiles may have any shape."""

    kind = "affinities"
    in_channels = 1
    percentiles = None
    norm_factor = None

    def __init__(self, rules: Classical) -> None:
        self._rules = rules
        self._sees_foreground = rules.kind != "membranes"
        scale = max(0.3, SCALES[rules.kind] * rules.radius)
        self._scale = np.float32(scale)
        self._hill = self._kernels(scale)
        self._wide = self._kernels(rules.smooth if self._sees_foreground else AROUND)
        self.offsets = [list(offset) for offset in NEAREST[3 - rules.dims :]]
        """The neighbours that affinities join a voxel with."""
        self.has_foreground = self._sees_foreground
        """Whether the last channel says how sure it is that a voxel is foreground."""
        self.channels = rules.dims + self.has_foreground
        flat = (0, 1, 1) if rules.dims == 2 else (1, 1, 1)
        self._step: Voxels = flat
        steps = 2 if self._sees_foreground else 1  # of membranes the wide Gaussian reaches farther than the curvature
        self.context: Voxels = as_voxels(
            len(near) + len(far) - 2 + steps * one for near, far, one in zip(self._hill, self._wide, flat, strict=True)
        )
        """Voxels needed around a tile: of both Gaussians, one for the curvature, one for the neighbour."""
        told = json.dumps([rules.model_dump(mode="json"), SCALES, BEND, BEND_SPAN, AROUND, DARKNESS, MIDDLE])
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()
        """sha256 over all that changes what is predicted."""

    def fit_output(self, shape: Sequence[int]) -> Voxels:
        """Any shape will do."""
        return as_voxels(shape)

    def __call__(self, raw: NDArray[np.generic]) -> Values:
        """Affinities in [0, 1], and a foreground after them, float32 (C, z, y, x).

        raw: (z, y, x) with the context on each side, stretched so that 0 and 1 are the levels of the rules.
        """
        values = np.ascontiguousarray(raw, np.float32)
        inside, foreground = self._objects(values) if self._sees_foreground else (self._between(values), None)
        found = [shrunk(one, self._step) for one in affinities_of(inside, self.offsets)]
        return np.stack(found if foreground is None else [*found, foreground])

    def quantised(self, raw: NDArray[np.generic]) -> NDArray[np.uint8]:
        """The same as uint8, 255 for 1, rounded to the nearest."""
        return as_uint8(self(raw))

    def _objects(self, raw: Values) -> tuple[Values, Values]:
        """How sure a voxel is of being inside of one object, with a neighbour more on each side; and the foreground."""
        clear = np.clip(blur(raw, self._wide), np.float32(0), np.float32(1))
        if self._rules.dark:
            clear = np.float32(1) - clear
        # Cut off at both ends an object is a plateau whatever its texture, and the Gaussian makes one hill of it.
        bend = self._curvature(blur(clear, self._hill))
        surplus = (np.float32(BEND) - bend) / np.float32(BEND_SPAN)
        inside = np.float32(0.5) + np.float32(0.5) * surplus / (np.float32(1) + np.abs(surplus))
        hull = as_voxels(len(kernel) - 1 + 2 * one for kernel, one in zip(self._hill, self._step, strict=True))
        return inside.astype(np.float32, copy=False), shrunk(clear, hull)

    def _between(self, raw: Values) -> Values:
        """How sure a voxel is of not being part of a membrane, with a neighbour more on each side."""
        smooth = blur(raw if self._rules.dark else np.float32(1) - raw, self._hill)
        mean = blur(smooth, self._wide)
        spread = np.sqrt(np.maximum(blur(smooth * smooth, self._wide) - mean * mean, np.float32(LEAST_SPREAD**2)))
        reach = as_voxels(len(kernel) - 1 for kernel in self._wide)
        bend = self._curvature(shrunk(smooth, as_voxels(a - b for a, b in zip(reach, self._step, strict=True))))
        darker = mean - shrunk(smooth, reach)
        evidence = (bend + np.float32(DARKNESS) * darker) / spread
        return np.clip(np.float32(0.5 + MIDDLE) - evidence, np.float32(0), np.float32(1))

    def _curvature(self, smooth: Values) -> Values:
        """The largest curvature in squares of the scale; a voxel less on each side."""
        compact = np.ascontiguousarray(smooth)
        if self._rules.dims == 2:
            found = largest_curvature_2d(compact)
        else:
            found = largest_curvature_3d(compact, np.float32(self._rules.z_scale))
        bend: Values = found * (self._scale * self._scale)
        return bend

    def _kernels(self, scale: float) -> list[Values]:
        """Half a kernel for each axis, its middle first."""
        along_z = gaussian(scale * self._rules.z_scale) if self._rules.dims == 3 else np.ones(1, np.float32)
        return [along_z, gaussian(scale), gaussian(scale)]
