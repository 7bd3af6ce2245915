"""The segmentation pipeline: raw and labels at a random place, moved by one map.

Labels reach beyond the network's output by a margin, so that the affinities at its border are known too. Affinities are
made from them on the device (`contraband.training.targets`), whichever side augments.
"""

from __future__ import annotations

from typing import Any

import gunpowder as gp
import numpy as np
import torch
from torch import Tensor

from contraband.samples.augment import Shape3
from contraband.samples.base import LABELS, PLACE, RAW, Drawing, Samples, chained, float_tensor, volume_branch
from contraband.samples.nodes import Augment, Normalise, Redraw, around, centred


class SegmentationSamples(Samples):
    """raw (C, Z, Y, X) float32 and labels (z, y, x) int64 around the same centre."""

    def __init__(self, drawing: Drawing, label_shape: Shape3, min_labelled: float = 0.0) -> None:
        """label_shape: extents of labels in a sample. min_labelled: share of them that has to be known."""
        super().__init__(drawing)
        self.label_shape = label_shape
        self.min_labelled = min_labelled

    def pipeline(self) -> Any:
        """Source, place, normalisation, augmentation."""
        nodes = [volume_branch(self.drawing.pairs, with_labels=True), gp.RandomLocation()]
        if self.min_labelled:
            nodes.append(Redraw(LABELS, self.min_labelled))
        nodes.append(Normalise(RAW, self.drawing.norm_factor))
        if self.drawing.in_loader:
            nodes.append(Augment(self.drawing.augmenter, RAW, LABELS))
        return chained(nodes)

    def request(self) -> gp.BatchRequest:
        """Raw and labels; the network's output must lie inside the volume."""
        request = gp.BatchRequest()
        request[RAW] = gp.ArraySpec(roi=centred(self.drawing.raw_shape))
        request[LABELS] = gp.ArraySpec(roi=self.label_roi())
        request[PLACE] = gp.ArraySpec(roi=centred(self.drawing.output_shape))
        return request

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
