"""The contrastive data pipeline as the original has it, from gunpowder's own nodes: two branches, one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import gunpowder as gp
import numpy as np
from scipy.ndimage import gaussian_filter

RAW = (gp.ArrayKey("RAW_FIRST"), gp.ArrayKey("RAW_SECOND"))
POINTS = (gp.GraphKey("POINTS_FIRST"), gp.GraphKey("POINTS_SECOND"))
PLACES = (gp.ArrayKey("PLACES_FIRST"), gp.ArrayKey("PLACES_SECOND"))


@dataclass(frozen=True)
class Chain:
    """Where raw lies, and how large a pair is; extents in voxels, (z, y, x), z is 1."""

    container: str
    dataset: str
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    density: float
    """Points a voxel."""

    def pipeline(self) -> Any:
        """Read, normalise, place points, augment, for either view; then one random place, and the pairs of points."""
        scatter = Scatter(self.density)
        branches = [self._branch(raw, points, scatter) for raw, points in zip(RAW, POINTS, strict=True)]
        with_places = [gp.MergeProvider(), *(gp.Crop(raw, self._extent()) for raw in RAW), gp.RandomLocation(), Pairs()]
        return reduce(add, [tuple(branches), *with_places])

    def request(self) -> gp.BatchRequest:
        """Two views and their points."""
        border = (np.array(self.input_shape) - self.output_shape) // 2
        request = gp.BatchRequest()
        for raw, points, places in zip(RAW, POINTS, PLACES, strict=True):
            request[raw] = gp.ArraySpec(roi=gp.Roi((0, 0, 0), self.input_shape))
            request[points] = gp.GraphSpec(roi=gp.Roi(border, self.output_shape), directed=False)
            request[places] = gp.ArraySpec(nonspatial=True)
        return request

    def _branch(self, raw: gp.ArrayKey, points: gp.GraphKey, scatter: Scatter) -> Any:
        spec = gp.ArraySpec(voxel_size=(1, 1, 1), interpolatable=True)
        volume = gp.ZarrSource(self.container, {raw: self.dataset}, {raw: spec})
        nodes = [
            (volume + gp.Normalize(raw, 1 / 255) + gp.Pad(raw, None), PointSource(points, scatter)),
            gp.MergeProvider(),
            gp.ElasticAugment([1, 10, 10], [0.0, 0.1, 0.1], [0, math.pi / 2]),
            Blur(raw, (0, 1, 1)),
            gp.SimpleAugment(mirror_only=[1, 2], transpose_only=[1, 2]),
            gp.NoiseAugment(raw, var=1e-6),
        ]
        return reduce(add, nodes)

    def _extent(self) -> gp.Roi:
        import zarr

        return gp.Roi((0, 0, 0), zarr.open_array(self.container, path=self.dataset, mode="r").shape)


class Scatter:
    """Random points of a region; every second call gives those of the first again, as far as they lie inside."""

    def __init__(self, density: float) -> None:
        self.density = density
        self.calls = 0
        self.points = np.zeros((0, 3))

    def inside(self, roi: gp.Roi) -> dict[int, np.ndarray]:
        """Points by number."""
        self.calls += 1
        if self.calls % 2:
            count = round(self.density * np.prod(roi.shape))
            self.points = np.random.default_rng().random((count, 3)) * roi.shape + roi.begin
        return {row: point for row, point in enumerate(self.points) if roi.contains(point)}


class PointSource(gp.BatchProvider):
    """The points of a `Scatter` as a graph, anywhere."""

    def __init__(self, key: gp.GraphKey, scatter: Scatter) -> None:
        self.key = key
        self.scatter = scatter

    def setup(self) -> None:
        self.provides(self.key, gp.GraphSpec(roi=gp.Roi((None,) * 3, (None,) * 3), directed=False))

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        roi = request[self.key].roi
        nodes = [gp.Node(id=row, location=point) for row, point in self.scatter.inside(roi).items()]
        batch = gp.Batch()
        batch[self.key] = gp.Graph(nodes, [], gp.GraphSpec(roi=roi, directed=False))
        return batch


class Blur(gp.BatchFilter):
    """Gaussian blur, with context of three widths."""

    def __init__(self, key: gp.ArrayKey, sigma: Sequence[float]) -> None:
        self.key = key
        self.sigma = sigma

    def setup(self) -> None:
        self.enable_autoskip()
        self.updates(self.key, self.spec[self.key])

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        reach = gp.Coordinate(math.ceil(3 * sigma) for sigma in self.sigma)
        dependencies = gp.BatchRequest()
        dependencies[self.key] = request[self.key].copy()
        dependencies[self.key].roi = request[self.key].roi.grow(reach, reach)
        return dependencies

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> None:
        array = batch[self.key]
        array.data = gaussian_filter(array.data, self.sigma)
        batch[self.key] = array.crop(request[self.key].roi)


class Pairs(gp.BatchFilter):
    """Points that are in both views, as positions (1, P, 2) from the corner of the output; raw as (1, 1, Y, X)."""

    def setup(self) -> None:
        for key in PLACES:
            self.provides(key, gp.ArraySpec(nonspatial=True))

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> None:
        found = [{node.id: node.location for node in batch[key].nodes} for key in POINTS]
        rois = [request[key].roi for key in POINTS]
        shared = [
            row
            for row in sorted(found[0].keys() & found[1].keys())
            if all(roi.contains(places[row]) for roi, places in zip(rois, found, strict=True))
        ]
        for key, roi, places in zip(PLACES, rois, found, strict=True):
            rows = [places[row] - np.array(roi.begin) for row in shared]
            positions = np.array(rows, np.float32).reshape(1, -1, 3)[..., 1:]
            batch[key] = gp.Array(positions, self.spec[key].copy())
        for key in RAW:
            batch[key].data = batch[key].data.astype(np.float32)[None]
