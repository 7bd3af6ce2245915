"""Raw brought to one range of values by percentiles of each section, or of the whole volume.

The percentiles are ranks among all voxels of a section or volume, found once, so that blocks, tiles and samples for
training see the same numbers. For images that differ in exposure; a factor is cheaper where they do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from blockwise.settings import Settings

Percentile = Annotated[float, Field(ge=0, le=100)]

SLAB_BYTES = 1 << 28
"""Memory for whole sections that are read at once."""

COUNTED_AT_ONCE = 1 << 20
"""Values that are made 8 bytes long together."""

MOST_VALUES = 1 << 26
"""Values that cannot be counted by size (floats, 32 bits) are thinned out to about so many for the whole volume."""


DARKEST, BRIGHTEST = 0.01, 10.0


def is_about_one(size: float) -> bool:
    """Whether the largest value, by its size, is neither all but black nor far too bright for a network.

    What has mean 0 and standard deviation 1 is in range too.
    """
    return DARKEST <= size <= BRIGHTEST


class Percentiles(Settings):
    """The values that become 0 and 1."""

    low: Percentile = 1.0
    """This percentile of raw becomes 0; darker voxels become negative."""

    high: Percentile = 99.8
    """This percentile becomes 1; brighter voxels get more."""

    per: Literal["section", "volume"] = "section"
    """`section`: each y-x plane by itself, as for a stack of images; `volume`: all voxels together."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self


@dataclass(frozen=True)
class Levels:
    """What becomes 0 and 1 in a volume."""

    values: NDArray[np.float32]
    """(C, S, 2): low and high of each channel and section; S is 1 where all sections share them."""

    def apply(self, raw: NDArray[Any], sections: NDArray[np.integer]) -> NDArray[np.float32]:
        """Raw ([C,] z, y, x) as float32 with the levels at 0 and 1; `sections` tells the section of each z."""
        chosen = self.values[:, sections if self.values.shape[1] > 1 else np.zeros(len(sections), np.int64)]
        low, high = chosen[..., 0], chosen[..., 1]
        span = high - low
        # a section of one value alone has no contrast to stretch
        factor = np.divide(np.float32(1), span, out=np.ones_like(span), where=span > 0)
        low, factor = (one[..., None, None] if raw.ndim == 4 else one[0, :, None, None] for one in (low, factor))
        stretched: NDArray[np.float32] = (raw.astype(np.float32) - low) * factor
        return stretched

    def as_lists(self) -> list[list[list[float]]]:
        """For JSON; float32 survives it."""
        lists: list[list[list[float]]] = self.values.tolist()
        return lists


def measure(read: Callable[[int, int], NDArray[Any]], sections: int, wanted: Percentiles, depth: int = 1) -> Levels:
    """The levels of a volume; `read(begin, end)` gives sections as (C, z, y, x), `depth` of them at once."""
    slabs = (read(begin, min(begin + depth, sections)) for begin in range(0, sections, depth))
    if wanted.per == "section":
        return Levels(np.stack([_ranked(slab[:, z], wanted) for slab in slabs for z in range(slab.shape[1])], axis=1))
    counts: NDArray[np.int64] | None = None
    thinned, dtype = [], np.dtype(np.uint8)
    for slab in slabs:
        dtype = slab.dtype
        if _is_counted(dtype):
            counts = _counts(slab) if counts is None else counts + _counts(slab)
        else:
            step = max(1, -(-slab[0, 0].size * sections // MOST_VALUES))
            thinned.append(slab.reshape(len(slab), -1)[:, ::step])
    if counts is not None:
        return Levels(_from_counts(counts, dtype, wanted)[:, None])
    return Levels(_ranked(np.concatenate(thinned, axis=1), wanted)[:, None])


def slab_depth(chunk: int, section_bytes: int) -> int:
    """Sections to read at once: as deep as a chunk, so that none is decoded twice, if that takes little memory."""
    return max(1, min(chunk, SLAB_BYTES // max(1, section_bytes)))


def _is_counted(dtype: np.dtype[Any]) -> bool:
    """True for types of so few values that all can be counted."""
    return dtype.kind in "iub" and dtype.itemsize <= 2


def _ranked(values: NDArray[Any], wanted: Percentiles) -> NDArray[np.float32]:
    """(C, 2): the two percentiles of (C, ...)."""
    if _is_counted(values.dtype):
        return _from_counts(_counts(values), values.dtype, wanted)
    flat = values.reshape(len(values), -1)
    shares = (wanted.low / 100, wanted.high / 100)
    ranked: NDArray[np.float32] = np.quantile(flat, shares, axis=1, method="inverted_cdf").T.astype(np.float32)
    return ranked


def _counts(values: NDArray[Any]) -> NDArray[np.int64]:
    """(C, N): how often each value of a small whole type comes in (C, ...), the least value first."""
    unsigned = values.view(np.uint8) if values.dtype.kind == "b" else values
    least = int(np.iinfo(unsigned.dtype).min)
    bins = 1 << (8 * unsigned.dtype.itemsize)
    counts = np.zeros((len(unsigned), bins), np.int64)
    for one, found in zip(unsigned, counts, strict=True):
        flat = one.reshape(-1)
        # In pieces: numpy counts what is of 8 bytes only, which of a section of 20,000 x 20,000 takes gigabytes.
        for begin in range(0, flat.size, COUNTED_AT_ONCE):
            piece = flat[begin : begin + COUNTED_AT_ONCE].astype(np.int64) - least
            found += np.bincount(piece, minlength=bins)
    return counts


def _from_counts(counts: NDArray[np.int64], dtype: np.dtype[Any], wanted: Percentiles) -> NDArray[np.float32]:
    """(C, 2): the least values that as many percent of all values do not exceed."""
    shares = (wanted.low / 100, wanted.high / 100)
    below = np.cumsum(counts, axis=1)
    least = 0 if dtype.kind == "b" else int(np.iinfo(dtype).min)
    ranks = [[int(np.searchsorted(row, max(share * row[-1], 1e-9))) for share in shares] for row in below]
    return (np.array(ranks) + least).astype(np.float32)
