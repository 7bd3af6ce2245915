"""Samples that nobody labelled, beside those that somebody did."""

from __future__ import annotations

from typing import Any

import gunpowder as gp
import torch
from torch import Tensor
from torch.utils.data import Dataset

from contraband.samples.base import PLACE, RAW, Samples, chained, float_tensor, volume_branch
from contraband.samples.nodes import Augment, Normalise, centred


class RawSamples(Samples):
    """raw (C, Z, Y, X) float32 at a random place, moved and lit as the drawing says."""

    def pipeline(self) -> Any:
        """Source, place, normalisation, augmentation."""
        nodes = [
            volume_branch(self.drawing.pairs, with_labels=False),
            gp.RandomLocation(),
            Normalise(RAW, self.drawing.norm_factor),
        ]
        if self.drawing.in_loader:
            nodes.append(Augment(self.drawing.augmenter, RAW))
        return chained(nodes)

    def request(self) -> gp.BatchRequest:
        """Raw; the network's output must lie inside the volume."""
        request = gp.BatchRequest()
        request[RAW] = gp.ArraySpec(roi=centred(self.drawing.raw_shape))
        request[PLACE] = gp.ArraySpec(roi=centred(self.drawing.output_shape))
        return request

    def tensors(self, batch: gp.Batch) -> dict[str, Tensor]:
        """Raw alone."""
        return {"raw": float_tensor(batch[RAW])}


class JointSamples(Dataset[dict[str, Tensor]]):
    """A labelled sample with an unlabelled one of the same number, `unlabelled`, and how much of the training is done.

    `done` is the share of the steps that lie before the sample's own, so that a training that goes on, or loads with
    other processes, finds the same.
    """

    def __init__(
        self, labelled: Dataset[dict[str, Tensor]], unlabelled: RawSamples, batch_size: int, steps: int
    ) -> None:
        """steps: of the whole training, each of `batch_size` labelled samples."""
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.batch_size = batch_size
        self.steps = steps

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        done = index // self.batch_size / self.steps
        more = {"unlabelled": self.unlabelled[index]["raw"], "done": torch.tensor(done, dtype=torch.float32)}
        return self.labelled[index] | more
