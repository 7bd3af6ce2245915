"""Samples for training: item i is one gunpowder request whose seed follows from the training's seed and i alone.

Therefore a batch is the same with any number of loader processes and after a resume. The pipeline is built in the
process that first asks for an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import gunpowder as gp
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from blockwise.arrays.placement import Placement, in_words, place_in
from blockwise.arrays.volume import info
from blockwise.errors import BadInput
from contraband.models.normalise import Levels
from contraband.samples.augment import Augmenter, Shape3
from contraband.samples.nodes import sub_seed
from contraband.samples.sources import VolumeSource, ZarrVolume

RAW = gp.ArrayKey("RAW")
LABELS = gp.ArrayKey("LABELS")
PLACE = gp.ArrayKey("PLACE")


@dataclass(frozen=True)
class Pair:
    """Raw and, where there are any, its labels."""

    raw: ZarrVolume
    labels: ZarrVolume | None = None
    levels: Levels | None = None
    """What becomes 0 and 1 in raw; None where it is only multiplied."""

    def check(self, needed: Shape3, channels: int) -> None:
        """Raise BadInput if the volumes do not fit each other, the network's output or its channels."""
        shape, array = self.raw.shape(), self.raw.open()
        if (array.shape[0] if array.ndim == 4 else 1) != channels:
            raise BadInput(self.raw.where, "has the wrong number of channels", got=list(array.shape), wanted=channels)
        if self.labels is not None and self.labels.shape() != shape:
            raise BadInput(
                self.labels.where, "has a different shape from raw", got=list(self.labels.shape()), wanted=list(shape)
            )
        if self.labels is not None and self.labels.dtype().kind not in "iub":
            raise BadInput(self.labels.where, "does not hold whole numbers", got=self.labels.dtype(), wanted="labels")
        self._check_place()
        if any(n < m for n, m in zip(shape, needed, strict=True)):
            raise BadInput(
                self.raw.where,
                "is smaller than the network's output",
                got=list(shape),
                wanted=list(needed),
                todo="lower model.in_shape",
            )

    def _check_place(self) -> None:
        """Raise BadInput if both volumes say where they lie, and say different things."""
        volumes = [one.volume() for one in (self.raw, self.labels) if one is not None and one.open().ndim > 2]
        told = [one for one in volumes if (info(one).voxel_size, info(one).offset) != ((1.0,) * 3, (0.0,) * 3)]
        if len(told) < 2:
            return
        raw, labels = told
        if place_in(labels, raw) != Placement():
            raise BadInput(
                labels.path,
                "lies elsewhere than raw",
                got=in_words(info(labels)),
                wanted=in_words(info(raw)),
                todo="correct the attributes of one of them, or import it with the place it has",
            )


@dataclass(frozen=True)
class Drawing:
    """What all kinds of samples are drawn from, and how."""

    pairs: Sequence[Pair]
    """The volumes; one is drawn for each sample."""
    seed: int
    """Of the training."""
    augmenter: Augmenter
    in_loader: bool
    """Whether samples are augmented as they are loaded, or later on the device."""
    output_shape: Shape3
    """Extents of the network's output, which lies inside the volume."""
    norm_factor: float
    """What raw is multiplied by."""

    @property
    def raw_shape(self) -> Shape3:
        """Extents of raw the loader asks for: augmented already, or large enough to be augmented later."""
        return self.augmenter.output_shape if self.in_loader else self.augmenter.source_shape


class Samples(Dataset[dict[str, Tensor]]):
    """Base of the three kinds of samples: a subclass tells its pipeline, its request and its tensors."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self._pipeline: Any = None

    def pipeline(self) -> Any:
        """The gunpowder pipeline, not yet set up."""
        raise TypeError(f"{type(self).__name__} has no pipeline")

    def request(self) -> gp.BatchRequest:
        """What one sample consists of, centred on the origin."""
        raise TypeError(f"{type(self).__name__} has no request")

    def tensors(self, batch: gp.Batch) -> dict[str, Tensor]:
        """The batch as tensors."""
        raise TypeError(f"{type(self).__name__} has no tensors")

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if self._pipeline is None:
            self._pipeline = self.pipeline()
            self._pipeline.setup()
        request, seed = self.request(), sub_seed(self.drawing.seed, 1, index)
        request._random_seed = seed
        return self.tensors(self._pipeline.request_batch(request)) | {"seed": torch.tensor(seed)}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pipeline": None}


def volume_branch(pairs: Sequence[Pair], with_labels: bool) -> Any:
    """Sources of all volumes; one is drawn for each sample in proportion to its voxels."""
    sources = [
        VolumeSource(
            (RAW, pair.raw), (LABELS, pair.labels) if with_labels and pair.labels else None, PLACE, pair.levels
        )
        for pair in pairs
    ]
    if len(sources) == 1:
        return sources[0]
    sizes = [float(np.prod(pair.raw.shape())) for pair in pairs]
    return tuple(sources) + gp.RandomProvider(probabilities=sizes)


def chained(nodes: Sequence[Any]) -> Any:
    """The nodes one after the other, as a gunpowder pipeline."""
    return reduce(add, nodes)


def float_tensor(array: gp.Array) -> Tensor:
    """Raw (C, Z, Y, X) float32."""
    return torch.from_numpy(np.ascontiguousarray(array.data, dtype=np.float32))
