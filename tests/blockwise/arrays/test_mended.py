"""Attributes of an input that were mended reach what is made from it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from blockwise.arrays.volume import Volume, create, info
from tests.support.volumes import store_volume

SHAPE = (8, 20, 24)


def test_mended_attributes_reach_an_output_that_is_there(tmp_path: Path) -> None:
    """Making an output again gives it the place and unit of its input, and what the image beside it says."""
    first = store_volume(tmp_path / "a", np.zeros(SHAPE, np.uint8), offset=[400.0, -40.0, 80.0])
    target = Volume(path=tmp_path / "out.zarr" / "fragments")
    create(target, SHAPE, "uint64", SHAPE, like=info(first))
    mended: dict[str, Any] = {"voxel_size": [40.0, 4.0, 4.0], "offset": [0.0, 4.0, 8.0], "units": ["um"] * 3}
    second = store_volume(tmp_path / "b", np.zeros(SHAPE, np.uint8), **mended)
    create(target, SHAPE, "uint64", SHAPE, like=info(second))
    found = info(target)
    assert [found.voxel_size, found.offset, found.units] == [(40, 4, 4), (0, 4, 8), ("um",) * 3]
