"""Cut the volume into fragments: components of the links of a pointer watershed, exact under blocking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.placement import Placement, read_placed
from blockwise.arrays.values import inside_mask
from blockwise.arrays.volume import Volume, check_whole_shards, create, info, read, write
from blockwise.grid import Block, Grid, Voxels, as_voxels, between
from blockwise.kernels.watershed.label import halo, label_block, window
from blockwise.kernels.watershed.rules import WatershedRules
from blockwise.stage import Stage
from blockwise.stages.affinity import check_affinities, nearest_channels, pick
from blockwise.stages.foreground import FULL_VALUE, ForegroundSettings, FullValue, check_full, is_foreground
from blockwise.stages.renaming import carry_numbers, is_counted_after
from blockwise.stages.tables import BITS, LINKS
from blockwise.store.base import Store

ENDINGS = ("_placed", "_full")
"""Of parameters that are named only where they are not what they were before there were any."""


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
    foreground_full: FullValue | None = None
    """The number that means certain foreground, as it was found out; None: the full value of its type."""

    @property
    def foreground_given(self) -> bool:
        """The foreground comes from outside, not from a stage of the same run."""
        wanted = self.settings.foreground
        return wanted is None or wanted.volume is not None

    @property
    def _full(self) -> int | None:
        return self.foreground_full.full if self.foreground_full else None

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
        chosen["foreground_full"] = self._full
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
        if self.foreground and self._full:
            usual = np.iinfo(info(self.foreground).dtype).max
            full = f"{self._full} is taken for certain foreground, not {usual}"
            yield f"{self.foreground.path}: the largest number is at most {self._full}: {full}"

    def prepare(self, store: Store) -> None:
        found = check_affinities(self.affinities, self.settings.per_section)
        known = self.foreground_full
        attributes = {FULL_VALUE: known.model_dump(mode="json")} if known else {}
        create(self.target, self.shape, "uint64", self.block, like=found, attributes=attributes)

    def inside(self, roi: Roi) -> np.ndarray | None:
        """Where voxels are neither masked nor background by their foreground; None if all are."""
        mask = inside_mask(read_placed(self.mask, self.mask_placed, roi), self.mask.path) if self.mask else None
        wanted = self.settings.foreground
        if self.foreground is None or wanted is None:
            return mask
        values = read_placed(self.foreground, self.foreground_placed, roi)
        check_full(values, self._full, self.foreground.path)
        above = is_foreground(values, wanted.threshold, self._full)
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
