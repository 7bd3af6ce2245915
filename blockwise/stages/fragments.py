"""Cut the volume into fragments: components of the links of a pointer watershed, exact under blocking."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from blockwise.kernels.watershed import Rules, halo, label_block, window
from blockwise.stage import Block, Grid, Stage, as_voxels
from blockwise.stages.affinity import check_affinities, nearest_channels, pick
from blockwise.store.base import Store
from blockwise.volume import Volume, Voxels, check_whole_shards, create, info, read, write

Fraction = Annotated[float, Field(ge=0, le=1)]

LINK = np.dtype([("bits", "u1")])


class Fragments(Stage):
    """Give every voxel the provisional number of its fragment, and note which faces continue outside."""

    name = "fragments"
    version = 2

    affinities: Volume
    target: Volume
    given: bool = True
    """The affinities come from outside, not from a stage of the same run."""
    mask: Volume | None = None
    """Voxels where this is 0 are background."""
    shape: Voxels
    block: Voxels
    per_section: bool = False
    """Sections are segmented on their own: for 2D and strongly anisotropic data."""
    smooth: Annotated[float, Field(ge=0, le=4)] = 0.5
    """Standard deviation of the Gaussian that smooths the height, in voxels."""
    affinity_weight: Fraction = 0.5
    """What the affinity with a higher neighbour counts beside its height, when a voxel chooses where to climb."""
    dip: Fraction = 0.05
    """A peak is joined with a higher one two steps away, if what lies between is at most this lower; 0: never."""
    low: Fraction = 0.0
    """Voxels joined by a smaller affinity are never linked."""
    cap: Fraction | None = 0.97
    """Neighbours whose height reaches this are one fragment; null keeps every plateau apart."""
    background: Fraction | None = None
    """Voxels without an affinity above this are background; null has none."""

    def rules(self) -> Rules:
        """The settings as the kernel wants them."""
        return Rules(
            per_section=self.per_section, smooth=self.smooth, affinity_weight=self.affinity_weight, dip=self.dip,
            low=self.low, cap=self.cap, background=self.background,
        )

    def grid(self) -> Grid:
        reach = halo(self.rules())
        return Grid(self.name, self.shape, self.block, reach, reach)

    def inputs(self) -> tuple[Volume, ...]:
        given = (self.affinities,) if self.given else ()
        return (*given, self.mask) if self.mask else given

    def outputs(self) -> tuple[Volume, ...]:
        return (self.target,)

    def check(self) -> None:
        if self.given:
            check_affinities(self.affinities, self.per_section)
        check_whole_shards(self.target, self.block)

    def prepare(self, store: Store) -> None:
        found = check_affinities(self.affinities, self.per_section)
        create(self.target, self.shape, "uint64", self.block, like=found)

    def process(self, block: Block, store: Store) -> None:
        found = info(self.affinities)
        channels = nearest_channels(self.affinities, found.offsets, self.per_section)
        affinities = pick(read(self.affinities, block.read_roi), channels)
        mask = read(self.mask, block.read_roi) if self.mask else None
        begin, end = (as_voxels(edge) for edge in (block.write_roi.begin, block.write_roi.end))
        place = window(self.rules(), self.shape, begin, end)
        ids, linked = label_block(affinities, place, self.rules(), mask)
        write(self.target, block.write_roi, ids)
        store.put_table("links", block, pack_links(linked))


def pack_links(linked: list[np.ndarray]) -> np.ndarray:
    """The link bits of the three low faces as one packed table."""
    flat = np.concatenate([face.ravel() for face in linked])
    return np.packbits(flat.astype(bool)).view(LINK)


def unpack_links(table: np.ndarray, shape: Voxels) -> list[np.ndarray]:
    """The three boolean faces of a block of `shape`; inverse of `pack_links`."""
    z, y, x = shape
    faces = [(y, x), (z, x), (z, y)]
    sizes = [a * b for a, b in faces]
    flat = np.unpackbits(table["bits"], count=sum(sizes)).astype(bool)
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return [part.reshape(face) for part, face in zip(parts, faces, strict=True)]
