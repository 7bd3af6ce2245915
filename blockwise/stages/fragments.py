"""Cut the volume into fragments: components of the links of a pointer watershed, exact under blocking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.content import largest_number
from blockwise.arrays.placement import Placement, read_placed
from blockwise.arrays.values import inside_mask
from blockwise.arrays.volume import Volume, check_whole_shards, create, info, read, write
from blockwise.errors import BadInput
from blockwise.fields import Fraction, VolumePlace
from blockwise.grid import Block, Grid, Voxels, as_voxels, between
from blockwise.kernels.watershed.label import halo, label_block, window
from blockwise.kernels.watershed.rules import WatershedRules
from blockwise.settings import Settings
from blockwise.stage import Stage
from blockwise.stages.affinity import check_affinities, nearest_channels, pick
from blockwise.stages.renaming import carry_numbers, is_counted_after
from blockwise.stages.tables import BITS, LINKS
from blockwise.store.base import Store

ENDINGS = ("_placed", "_full")
"""Of parameters that are named only where they are not what they were before there were any."""
SMALLER = (1, 255)
"""Numbers that mean certain in types that hold larger ones, where none is larger."""


class ForegroundSettings(Settings):
    """Which voxels are foreground; all others are 0 in fragments and segments."""

    volume: VolumePlace | None = None
    """An image, (z, y, x), whose full value (1 for floats) is certain foreground; null: the network's own channel."""
    threshold: Fraction = 0.5
    """Voxels with at most this are background."""


class FragmentSettings(WatershedRules):
    """How the volume is cut into fragments: the rules of the watershed, and a foreground."""

    foreground: ForegroundSettings | None = None
    """What else is background; null: what the rules say is all."""


class Fragments(Stage):
    """Give every voxel the provisional number of its fragment, and note which faces continue outside."""

    name = "fragments"
    follows = True
    version = 2

    affinities: Volume
    target: Volume
    given: bool = True
    """The affinities come from outside, not from a stage of the same run."""
    mask: Volume | None = None
    """Voxels where this is 0 are background."""
    mask_placed: Placement | None = None
    """Where the mask lies; None: exactly on the volume."""
    shape: Voxels
    block: Voxels
    settings: FragmentSettings
    foreground: Volume | None
    """How sure it is that a voxel is foreground: whole numbers up to the full value of their type, or floats to 1.
    Needed where the settings have a foreground."""
    foreground_placed: Placement | None = None
    """Where the foreground lies; None: exactly on the volume."""
    foreground_full: int | None = None
    """The number that means certain foreground; None: the full value of its type."""

    @property
    def foreground_given(self) -> bool:
        """The foreground comes from outside, not from a stage of the same run."""
        wanted = self.settings.foreground
        return wanted is None or wanted.volume is not None

    def grid(self) -> Grid:
        reach = halo(self.settings)
        return Grid(self.name, self.shape, self.block, reach, reach)

    def parameters(self) -> dict[str, object]:
        chosen = super().parameters()
        wanted = self.settings.foreground
        if wanted is not None:
            del chosen["foreground"]  # where it lies on disk; its content is an input
        # The names by which finished blocks know them.
        chosen["foreground_given"] = self.foreground_given
        chosen["foreground_threshold"] = None if wanted is None else wanted.threshold
        return {key: value for key, value in chosen.items() if value is not None or not key.endswith(ENDINGS)}

    def inputs(self) -> tuple[Volume, ...]:
        foreground = self.foreground if self.foreground_given else None
        external = (self.affinities if self.given else None, self.mask, foreground)
        return tuple(volume for volume in external if volume)

    def outputs(self) -> tuple[Volume, ...]:
        return (self.target,)

    def unchanged_box(self, same: Voxels, store: Store) -> Voxels | None:
        if same[1:] != self.shape[1:] or is_counted_after(store):
            return None  # fragments are called by the place of a voxel in the volume
        # Edges of a block were counted with a look at the fragments right behind it, so where these are made again,
        # so are both: edges can only be counted again on numbers that `segment` has not replaced.
        return replace(self.grid(), context_high=(1, 1, 1)).within(self.grid().within(same))

    def blocks_to_redo(self, box: Voxels, store: Store) -> np.ndarray:
        return carry_numbers(store, self.grid(), box)

    def check(self) -> None:
        if self.given:
            check_affinities(self.affinities, self.settings.per_section)
        check_whole_shards(self.target, self.block)

    def notes(self) -> Iterator[str]:
        if self.foreground and self.foreground_full:
            usual = np.iinfo(info(self.foreground).dtype).max
            full = f"{self.foreground_full} is taken for certain foreground, not {usual}"
            yield f"{self.foreground.path}: the largest number is at most {self.foreground_full}: {full}"

    def prepare(self, store: Store) -> None:
        found = check_affinities(self.affinities, self.settings.per_section)
        create(self.target, self.shape, "uint64", self.block, like=found)

    def inside(self, roi: Roi) -> np.ndarray | None:
        """Where voxels are neither masked nor background by their foreground; None if all are."""
        mask = inside_mask(read_placed(self.mask, self.mask_placed, roi), self.mask.path) if self.mask else None
        wanted = self.settings.foreground
        if self.foreground is None or wanted is None:
            return mask
        values = read_placed(self.foreground, self.foreground_placed, roi)
        above = is_foreground(values, wanted.threshold, self.foreground_full)
        return above if mask is None else above & mask

    def label(self, roi: Roi) -> tuple[np.ndarray, list[np.ndarray]]:
        """The fragments of a region as if it were one block, and the links of its three low faces.

        Returns uint64 (z, y, x) of provisional numbers, and bool (y, x), (z, x), (z, y).
        """
        place = window(self.settings, self.shape, as_voxels(roi.begin), as_voxels(roi.end))
        around = between(place.read_begin, place.read_end)
        channels = nearest_channels(self.affinities, info(self.affinities).offsets, self.settings.per_section)
        affinities = pick(read(self.affinities, around), channels)
        return label_block(affinities, place, self.settings, self.inside(around))

    def process(self, block: Block, store: Store) -> None:
        ids, linked = self.label(block.write_roi)
        write(self.target, block.write_roi, ids)
        store.put(LINKS, block.key, pack_links(linked))


def check_foreground(volume: Volume) -> None:
    """Raise BadInput for a volume that cannot tell foreground from background."""
    found = info(volume)
    if found.channels is not None or found.dtype.kind not in "buf":
        raise BadInput(
            volume.path,
            "has the wrong type for a foreground",
            got=f"{found.shape} {found.dtype}",
            wanted="(z, y, x) truth values, uint8, uint16 or floats from 0 to 1",
        )


def full_value(volume: Volume) -> int | None:
    """The number that means certain in a foreground of 0 and 1, or of 8 bits in more; None: that of its type."""
    dtype = info(volume).dtype
    limits = [limit for limit in SMALLER if dtype.kind == "u" and limit < np.iinfo(dtype).max]
    largest = largest_number(volume, limits[-1]) if limits else 0
    return next((limit for limit in limits if 0 < largest <= limit), None)


def is_foreground(values: np.ndarray, threshold: float, full: int | None = None) -> np.ndarray:
    """Where values lie above `threshold`: a fraction of `full`, of the full value of whole numbers, or of 1."""
    if full is None:
        full = int(np.iinfo(values.dtype).max) if values.dtype.kind == "u" else 1
    above: np.ndarray = values > (int(threshold * full) if full > 1 else threshold)
    return above


def pack_links(linked: list[np.ndarray]) -> np.ndarray:
    """The link bits of the three low faces as one packed table."""
    flat = np.concatenate([face.ravel() for face in linked])
    return np.packbits(flat.astype(bool)).view(BITS)


def unpack_links(table: np.ndarray, shape: Voxels) -> list[np.ndarray]:
    """The three boolean faces of a block of `shape`; inverse of `pack_links`."""
    z, y, x = shape
    faces = [(y, x), (z, x), (z, y)]
    sizes = [a * b for a, b in faces]
    flat = np.unpackbits(table["bits"], count=sum(sizes)).astype(bool)
    pieces = np.split(flat, np.cumsum(sizes)[:-1])
    return [piece.reshape(face) for piece, face in zip(pieces, faces, strict=True)]
