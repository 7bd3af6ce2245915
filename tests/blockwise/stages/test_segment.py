"""Numbers of segments: those of fragments, or 1 to n in the smallest type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import contraband as cb
from blockwise.arrays.values import smallest_unsigned
from blockwise.arrays.volume import Volume
from blockwise.errors import Stale
from blockwise.stages.agglomerate.pieces import boxes_of
from tests.support.volumes import cells, store_volume

SHAPE = (12, 20, 24)


def settings(
    folder: Path, output: str, block: tuple[int, int, int], numbers: str, memory: str | None = None
) -> cb.VolumeSettings:
    """A small volume in this process. memory: of the region graph."""
    affinities, _ = cells(SHAPE)
    if not (folder / "vol.zarr").exists():
        store_volume(folder / "vol.zarr" / "affinities", affinities, SHAPE)
    return cb.load_settings(
        {
            "affinities": folder / "vol.zarr" / "affinities",
            "output": folder / output,
            "blocks": {"shape": block},
            "segment": {"numbers": numbers},
            "agglomerate": {"memory": memory},
            "cluster": {"kind": "none"},
        }
    )


@pytest.mark.parametrize("memory", [None, "2kB"])
@pytest.mark.parametrize("block", [SHAPE, (5, 8, 24), (12, 7, 9)])
def test_compact_numbers_are_the_same_objects_in_any_blocks(tmp_path, block, memory):
    """Compact segments are 1 to n in the order of the others' numbers, the smallest type, in any blocks and boxes."""
    plain = settings(tmp_path, "plain.zarr", SHAPE, "fragment")
    cb.run(plain, last="segment", progress=False)
    named = cb.open_result(plain).stored("segments/0.5")[...]
    small = settings(tmp_path, "small.zarr", block, "compact", memory)
    cb.run(small, last="segment", progress=False)
    boxes = boxes_of(Volume(path=tmp_path / "small.zarr" / "agglomeration"))
    assert (len(boxes) > 2) == (memory is not None and block != SHAPE)
    compact = cb.open_result(small).stored("segments/0.5")[...]
    numbers, expected = np.unique(np.append(named, 0), return_inverse=True)
    assert compact.dtype == np.uint8
    assert len(numbers) > 3
    np.testing.assert_array_equal(compact, expected[:-1].reshape(SHAPE))


def test_other_numbers_are_another_result(tmp_path):
    """Segments are not silently renumbered: the run says that they are stale, and makes them again when told to."""
    cb.run(settings(tmp_path, "a.zarr", SHAPE, "fragment"), last="segment", progress=False)
    changed = settings(tmp_path, "a.zarr", SHAPE, "compact")
    with pytest.raises(Stale, match=r"segment.*numbers"):
        cb.run(changed, last="segment", progress=False)
    cb.run(changed, last="segment", redo="segment", progress=False)
    assert cb.open_result(changed).stored("segments/0.5").dtype == np.uint8


@pytest.mark.parametrize(("largest", "name"), [(0, "uint8"), (255, "uint8"), (256, "uint16"), (2**32, "uint64")])
def test_the_smallest_type_is_chosen(largest, name):
    """A type holds the largest number, and the one below it would not."""
    assert smallest_unsigned(largest) == name
