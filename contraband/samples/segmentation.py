"""The segmentation pipeline: raw and labels at a random place, moved by one map.

Labels reach beyond the network's output by a margin, so that the affinities at its border are known too. Affinities are
made from them on the device (`contraband.training.targets`), whichever side augments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gunpowder as gp
import numpy as np
import torch
from torch import Tensor

from contraband.samples.augment import Shape3
from contraband.samples.base import LABELS, PLACE, RAW, Drawing, Samples, chained, float_tensor, volume_branch
from contraband.samples.nodes import Augment, Normalise, Redraw, around, centred
from contraband.samples.points import Points
from contraband.samples.sources import PointSource, ZarrVolume

NEAR = gp.GraphKey("NEAR")


class SegmentationSamples(Samples):
    """raw (C, Z, Y, X) float32 and labels (z, y, x) int64 around the same centre."""

    def __init__(
        self,
        drawing: Drawing,
        label_shape: Shape3,
        min_labelled: float = 0.0,
        about: Sequence[Points] | None = None,
        counts_background: bool = False,
    ) -> None:
        """label_shape: extents of labels in a sample. min_labelled: share of them that has to be known.

        about: points of each volume, one of which lies in the middle half of every sample; None: samples lie anywhere.
        counts_background: whether background counts as known in `min_labelled`.
        """
        super().__init__(drawing)
        self.label_shape = label_shape
        self.min_labelled = min_labelled
        self.about = about
        self.counts_background = counts_background

    def learn_from(self, labels: Sequence[ZarrVolume], about: Sequence[Points]) -> None:
        """In all samples that are yet to come, have other labels of the same volumes."""
        pairs = [replace(pair, labels=one) for pair, one in zip(self.drawing.pairs, labels, strict=True)]
        self.drawing = replace(self.drawing, pairs=pairs)
        self.about = None if self.about is None else about
        self._pipeline = None

    def pipeline(self) -> Any:
        """Source, place, normalisation, augmentation."""
        nodes = self._placed()
        if self.min_labelled:
            nodes.append(Redraw(LABELS, self.min_labelled, 0 if self.counts_background else 1))
        nodes.append(Normalise(RAW, self.drawing.norm_factor))
        if self.drawing.in_loader:
            nodes.append(Augment(self.drawing.augmenter, RAW, LABELS))
        return chained(nodes)

    def _placed(self) -> list[Any]:
        """Volumes and the place of a sample in one of them."""
        if self.about is None:
            return [volume_branch(self.drawing.pairs, with_labels=True), gp.RandomLocation()]
        branches = [
            chained(
                [
                    (volume_branch([pair], with_labels=True), PointSource(points, (NEAR,))),
                    gp.MergeProvider(),
                    gp.RandomLocation(ensure_nonempty=NEAR),
                ]
            )
            for pair, points in zip(self.drawing.pairs, self.about, strict=True)
        ]
        if len(branches) == 1:
            return [branches[0]]
        return [tuple(branches), gp.RandomProvider(probabilities=[float(len(points)) for points in self.about])]

    def request(self) -> gp.BatchRequest:
        """Raw and labels; the network's output must lie inside the volume, or a labelled point in its middle."""
        request = gp.BatchRequest()
        request[RAW] = gp.ArraySpec(roi=centred(self.drawing.raw_shape))
        request[LABELS] = gp.ArraySpec(roi=self.label_roi())
        if self.about is None:
            request[PLACE] = gp.ArraySpec(roi=centred(self.drawing.output_shape))
        else:
            request[NEAR] = gp.GraphSpec(roi=centred(self.middle()), directed=False)
        return request

    def middle(self) -> tuple[int, ...]:
        """Extents of the middle half of the output, as seen by the largest zoom: from there nothing is turned away."""
        zoom = max(1.0, self.drawing.augmenter.zoom_interval[1])
        output = self.drawing.output_shape
        halves = (n // 4 * 2 if axis == 0 else int(n // 4 / zoom) * 2 for axis, n in enumerate(output))
        return tuple(max(half, 1) for half in halves)

    def label_roi(self) -> gp.Roi:
        """The region of labels the loader asks for."""
        roi = centred(self.label_shape)
        return roi if self.drawing.in_loader else around(roi, self.label_source_shape())

    def label_source_shape(self) -> Shape3:
        """Labels needed to be moved later: as much beyond their output as raw reaches beyond its own."""
        augmenter = self.drawing.augmenter
        extra = zip(self.label_shape, augmenter.source_shape, augmenter.output_shape, strict=True)
        return tuple(label + source - output for label, source, output in extra)  # type: ignore[return-value]

    def tensors(self, batch: gp.Batch) -> dict[str, Tensor]:
        """Raw and labels."""
        labels = torch.from_numpy(np.ascontiguousarray(batch[LABELS].data, dtype=np.int64))
        return {"raw": float_tensor(batch[RAW]), "labels": labels}
