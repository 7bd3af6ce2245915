"""The segmentation pipeline: raw and labels at a random place, moved by one map.

Labels reach beyond the network's output by a margin, so that the affinities at its border are known too. Affinities are
made from them on the device (`contraband.training.targets`), whichever side augments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gunpowder as gp
import numpy as np
import torch
from torch import Tensor

from contraband.samples.augment import Augmenter, Shape3
from contraband.samples.base import LABELS, PLACE, RAW, Pair, Samples, chained, float_tensor, volume_branch
from contraband.samples.nodes import Augment, Normalise, Redraw, around, centred


class SegmentationSamples(Samples):
    """raw (C, Z, Y, X) float32 and labels (z, y, x) int64 around the same centre."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        seed: int,
        augmenter: Augmenter,
        in_loader: bool,
        output_shape: Shape3,
        label_shape: Shape3,
        norm_factor: float,
        min_labelled: float = 0.0,
    ) -> None:
        super().__init__(seed, augmenter, in_loader)
        self.pairs = pairs
        self.output_shape = output_shape
        self.label_shape = label_shape
        self.norm_factor = norm_factor
        self.min_labelled = min_labelled

    def pipeline(self) -> Any:
        """Source, place, normalisation, augmentation."""
        nodes = [volume_branch(self.pairs, with_labels=True), gp.RandomLocation()]
        if self.min_labelled:
            nodes.append(Redraw(LABELS, self.min_labelled))
        nodes.append(Normalise(RAW, self.norm_factor))
        if self.in_loader:
            nodes.append(Augment(self.augmenter, RAW, LABELS))
        return chained(nodes)

    def request(self) -> gp.BatchRequest:
        """Raw and labels; the network's output must lie inside the volume."""
        request = gp.BatchRequest()
        request[RAW] = gp.ArraySpec(roi=centred(self.raw_shape))
        request[LABELS] = gp.ArraySpec(roi=self.label_roi())
        request[PLACE] = gp.ArraySpec(roi=centred(self.output_shape))
        return request

    def label_roi(self) -> gp.Roi:
        """The region of labels the loader asks for."""
        roi = centred(self.label_shape)
        return roi if self.in_loader else around(roi, self.label_source_shape())

    def label_source_shape(self) -> Shape3:
        """Labels needed to be moved later: as much beyond their output as raw reaches beyond its own."""
        extra = zip(self.label_shape, self.augmenter.source_shape, self.augmenter.output_shape, strict=True)
        return tuple(label + source - output for label, source, output in extra)  # type: ignore[return-value]

    def tensors(self, batch: gp.Batch) -> dict[str, Tensor]:
        """Raw and labels."""
        labels = torch.from_numpy(np.ascontiguousarray(batch[LABELS].data, dtype=np.int64))
        return {"raw": float_tensor(batch[RAW]), "labels": labels}
