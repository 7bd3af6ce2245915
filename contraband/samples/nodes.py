"""Gunpowder nodes of our own: one map for all keys of a sample, two views, and seeded drawing again.

`DeformAugment` moves raw against labels and points, and `Reject` repeats a seeded request for ever; hence these.
"""

from __future__ import annotations

from collections.abc import Sequence

import gunpowder as gp
import numpy as np
import torch

from contraband.samples.augment import Augmenter, move, to_relative, to_voxels

ATTEMPTS = 50
"""Samples drawn before one with too few labels is accepted after all."""

CPU = torch.device("cpu")


class Normalise(gp.BatchFilter):
    """Raw times a factor, as float32 with a channel axis."""

    def __init__(self, raw: gp.ArrayKey, factor: float) -> None:
        self.raw = raw
        self.factor = np.float32(factor)

    def setup(self) -> None:
        """Raw becomes float32."""
        spec = self.spec[self.raw].copy()
        spec.dtype = np.dtype(np.float32)
        self.updates(self.raw, spec)

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Ask for the same region, of whatever type."""
        dependencies = gp.BatchRequest()
        dependencies[self.raw] = request[self.raw].copy()
        dependencies[self.raw].dtype = None
        return dependencies

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Multiply."""
        array = batch[self.raw]
        data = array.data.astype(np.float32) * self.factor
        return _batch({self.raw: (data if data.ndim == 4 else data[None], array.spec)})


class Augment(gp.BatchFilter):
    """Move raw, labels and points of one sample by one random map, then change intensities."""

    def __init__(
        self,
        augmenter: Augmenter,
        raw: gp.ArrayKey,
        labels: gp.ArrayKey | None = None,
        points: gp.GraphKey | None = None,
    ) -> None:
        self.augmenter = augmenter
        self.raw = raw
        self.labels = labels
        self.points = points

    def setup(self) -> None:
        """The keys keep their specs."""
        for key in (self.raw, self.labels, self.points):
            if key is not None:
                self.updates(key, self.spec[key])

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Ask for the extents the map may reach, around the same centre."""
        self.seed = request.random_seed
        dependencies = gp.BatchRequest()
        for key in (self.raw, self.labels, self.points):
            if key is not None and key in request:
                dependencies[key] = request[key].copy()
                dependencies[key].roi = around(request[key].roi, self.augmenter.source_shape)
        return dependencies

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Apply the map drawn from the seed of the request."""
        geometry = self.augmenter.draw([self.seed], CPU)
        result = gp.Batch()
        source = torch.from_numpy(np.ascontiguousarray(batch[self.raw].data))[None]
        moved = self.augmenter.raw(source, geometry, [self.seed])[0].numpy()
        result[self.raw] = gp.Array(moved, _moved_spec(batch[self.raw].spec, request[self.raw].roi))
        if self.labels is not None and self.labels in request:
            roi = request[self.labels].roi
            labels = torch.from_numpy(np.ascontiguousarray(batch[self.labels].data))[None, None]
            data = move(labels, geometry, tuple(roi.shape))[0, 0].numpy()
            result[self.labels] = gp.Array(data, _moved_spec(batch[self.labels].spec, roi))
        if self.points is not None and self.points in request:
            roi, graph = request[self.points].roi, batch[self.points]
            nodes = list(graph.nodes)
            located = torch.tensor(np.array([node.location for node in nodes]).reshape(1, -1, 3)) - torch.tensor(
                tuple(graph.spec.roi.begin)
            )
            relative = to_relative(located, graph.spec.roi.shape)
            voxels, inside = to_voxels(geometry.to_output(relative), roi.shape)
            places = voxels[0].numpy() + np.array(roi.begin)
            kept = [
                gp.Node(id=node.id, location=place.astype(np.float32))
                for node, place, keep in zip(nodes, places, inside[0].tolist(), strict=True)
                if keep
            ]
            result[self.points] = gp.Graph(kept, [], gp.GraphSpec(roi=roi, directed=False))
        return result


class Redraw(gp.BatchFilter):
    """Draw a sample again, with another seed, while too few of its voxels are labelled."""

    def __init__(self, labels: gp.ArrayKey, min_labelled: float, least: int = 1) -> None:
        """least: the least number that counts as labelled."""
        self.labels = labels
        self.min_labelled = min_labelled
        self.least = least

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """The first good sample, or the last of many."""
        for attempt in range(ATTEMPTS):
            again = request.copy()
            again._random_seed = sub_seed(request.random_seed, attempt)
            batch = self.get_upstream_provider().request_batch(again)
            if (batch[self.labels].data >= self.least).mean() >= self.min_labelled:
                break
        return batch


def sub_seed(*numbers: int) -> int:
    """A 32-bit seed that depends on all numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def centred(shape: Sequence[int]) -> gp.Roi:
    """A region of these extents around the origin."""
    return gp.Roi(tuple(-(n // 2) for n in shape), tuple(shape))


def around(roi: gp.Roi, shape: Sequence[int]) -> gp.Roi:
    """A region with the same centre; the extents differ by even numbers."""
    begin = tuple(b - (n - old) // 2 for b, n, old in zip(roi.begin, shape, roi.shape, strict=True))
    return gp.Roi(begin, tuple(shape))


def _moved_spec(spec: gp.ArraySpec, roi: gp.Roi) -> gp.ArraySpec:
    spec = spec.copy()
    spec.roi = roi.copy()
    return spec


def _batch(arrays: dict[gp.ArrayKey, tuple[np.ndarray, gp.ArraySpec]]) -> gp.Batch:
    batch = gp.Batch()
    for key, (data, spec) in arrays.items():
        spec = spec.copy()
        spec.dtype = data.dtype
        batch[key] = gp.Array(data, spec)
    return batch
