"""The contrastive pipeline: raw at a random place, seen twice, with points that pair the two views."""

from __future__ import annotations

from typing import Any

import gunpowder as gp
import torch
from torch import Tensor

from contraband.samples.augment import Augmenter, Shape3
from contraband.samples.base import PLACE, RAW, Drawing, Samples, chained, float_tensor, volume_branch
from contraband.samples.nodes import CPU, Normalise, around, centred
from contraband.samples.views import two_views

VIEW_KEYS = ("raw_0", "raw_1", "points_0", "points_1", "valid", "places")


class TwoViews(gp.BatchFilter):
    """Branch into two views: provides raw and points of both as arrays without a region."""

    def __init__(self, augmenter: Augmenter, output_shape: Shape3, count: int) -> None:
        self.augmenter = augmenter
        self.output_shape = output_shape
        self.count = count
        self.keys = {name: gp.ArrayKey(name.upper()) for name in VIEW_KEYS}

    def setup(self) -> None:
        """Announce the arrays."""
        for key in self.keys.values():
            self.provides(key, gp.ArraySpec(nonspatial=True))

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Ask for raw around the place of the sample."""
        self.seed = request.random_seed
        dependencies = gp.BatchRequest()
        dependencies[RAW] = gp.ArraySpec(roi=around(request[PLACE].roi, self.augmenter.source_shape))
        return dependencies

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Make the views."""
        source = float_tensor(batch[RAW])[None]
        views = two_views(self.augmenter, source, [self.seed], self.output_shape, self.count)
        result = gp.Batch()
        for name, key in self.keys.items():
            if key in request:
                result[key] = gp.Array(views[name][0].to(CPU).numpy(), gp.ArraySpec(nonspatial=True))
        return result


class ContrastiveSamples(Samples):
    """Two views (raw_0, raw_1, points_0, points_1, valid, places), or raw for views to be made on the device."""

    def __init__(self, drawing: Drawing, count: int) -> None:
        """count: points that pair the two views."""
        super().__init__(drawing)
        self.count = count

    def pipeline(self) -> Any:
        """Source, place, normalisation, views."""
        nodes = [
            volume_branch(self.drawing.pairs, with_labels=False),
            gp.RandomLocation(),
            Normalise(RAW, self.drawing.norm_factor),
        ]
        if self.drawing.in_loader:
            nodes.append(TwoViews(self.drawing.augmenter, self.drawing.output_shape, self.count))
        return chained(nodes)

    def request(self) -> gp.BatchRequest:
        """The views, or raw; the output must lie inside the volume."""
        request = gp.BatchRequest()
        request[PLACE] = gp.ArraySpec(roi=centred(self.drawing.output_shape))
        if self.drawing.in_loader:
            for name in VIEW_KEYS:
                request[gp.ArrayKey(name.upper())] = gp.ArraySpec(nonspatial=True)
        else:
            request[RAW] = gp.ArraySpec(roi=centred(self.drawing.raw_shape))
        return request

    def tensors(self, batch: gp.Batch) -> dict[str, Tensor]:
        """Views by name, or raw."""
        if not self.drawing.in_loader:
            return {"raw": float_tensor(batch[RAW])}
        return {name: torch.from_numpy(batch[gp.ArrayKey(name.upper())].data) for name in VIEW_KEYS}
