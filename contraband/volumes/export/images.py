"""What is exported: raw and segments, and the pyramid of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from blockwise.arrays.info import Info
from blockwise.arrays.pyramid import Level, OmeVersion, plan_levels, pyramid_block
from blockwise.arrays.values import smallest_unsigned
from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from blockwise.kernels.graph.agglomeration import cut
from blockwise.stages.agglomerate.stage import read_dendrogram
from blockwise.stages.shrink import Renumbering, Shrink
from contraband.volumes.output import Output
from contraband.volumes.result import Result
from contraband.volumes.settings import VolumeSettings


@dataclass(frozen=True)
class Image:
    """One image of an export."""

    name: str
    volume: Volume
    by: Literal["mean", "majority"]
    """How it is made smaller."""
    dtype: str
    made: str = ""
    """The fingerprint of what made it; empty for raw."""
    dendrogram: Volume | None = None
    """Segments get the numbers 1 to n by it; None: they keep theirs."""
    threshold: float = 0.0

    @property
    def described(self) -> Info:
        """Its shape and place."""
        return info(self.volume)

    @property
    def levels(self) -> list[Level]:
        """Its pyramid."""
        return plan_levels(self.described.spatial, self.described.voxel_size)

    def stages(self, folder: Path, scratch: Path, block: Voxels, version: OmeVersion) -> Iterator[Shrink]:
        """The stages that write its levels, `folder/0` and so on. scratch: a folder that is not published."""
        source = self.volume
        for number, level in enumerate(self.levels):
            shape = as_voxels(level.shape)
            target = Volume(path=folder / str(number))
            yield Shrink(
                title=f"export/{self.name}/{number}",
                origin=self.volume,
                origin_made=self.made,
                source=source,
                target=target,
                shape=(*self.described.shape[:-3], *shape),
                dtype=self.dtype,
                block=pyramid_block(shape, block),
                step=level.step,
                by=self.by,
                ome_version=version,
                renumbering=None if number else self.renumbering(scratch),
            )
            source = target

    def renumbering(self, scratch: Path) -> Renumbering | None:
        """What its numbers become, if that is something else. scratch: a folder that is not published."""
        if self.dendrogram is None:
            return None
        return Renumbering(dendrogram=self.dendrogram, threshold=self.threshold, file=scratch / f"{self.name}.npy")


def raw_image(settings: VolumeSettings) -> Image | None:
    """The raw image of a volume, if it has one that other programs take."""
    if settings.volume.raw is None:
        return None
    raw = Volume(path=settings.volume.raw)
    found = info(raw)
    if found.dtype.kind not in "uif" or (found.dtype.kind in "ui" and found.dtype.itemsize > 4):
        raise BadInput(
            raw.path, "is of a type that is not exported", got=found.dtype, wanted="numbers of up to 32 bits"
        )
    return Image("raw", raw, "mean", str(found.dtype))


def segment_image(settings: VolumeSettings, threshold: float, made: str, is_compact: bool) -> Image:
    """The stored segments at a threshold; is_compact: under the numbers 1 to n, whatever they have."""
    volume = Output(settings.output).segments(threshold)
    name = f"segments_{threshold:g}"
    if not is_compact or settings.segment.numbers == "compact":
        return Image(name, volume, "majority", str(info(volume).dtype), made)
    tree = Result(settings).tree
    count = np.count_nonzero(np.unique(cut(read_dendrogram(tree), threshold)))
    return Image(name, volume, "majority", smallest_unsigned(int(count)), made, tree, threshold)
