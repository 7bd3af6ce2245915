"""Synthetic volumes are volumes: described, read in boxes or through zarr, and never written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.arrays.content import identity
from blockwise.arrays.opening import folder_of
from blockwise.arrays.volume import Volume, create, info, open_array, read, write
from blockwise.errors import BadInput
from blockwise.files.address import Synthetic, last_written, place_of

SHAPE = (70, 40, 130)
QUERY = "shape=70,40,130&voxel_size=40,4,4"
AFFINITIES, LABELS = Path(f"synthetic://7?{QUERY}"), Path(f"synthetic://7/labels?{QUERY}")


def test_a_synthetic_volume_is_described_as_any_other():
    """Shape, type, voxel size and offsets; without a query for a voxel size it is 1 nm."""
    affinities, labels = info(Volume(path=AFFINITIES)), info(Volume(path=LABELS))
    assert (affinities.shape, str(affinities.dtype)) == ((3, *SHAPE), "uint8")
    assert (labels.shape, str(labels.dtype)) == (SHAPE, "uint64")
    assert affinities.offsets == ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
    assert labels.voxel_size == affinities.voxel_size == (40, 4, 4)
    assert affinities.units == ("nm",) * 3
    assert info(Volume(path=Path("synthetic://7?shape=9,9,9"))).voxel_size == (1, 1, 1)


@pytest.mark.parametrize("path", [AFFINITIES, LABELS])
def test_boxes_and_chunks_have_the_same_voxels(path: Path):
    """What `read` computes for a box is what zarr puts together from chunks, also from those that the end cuts off."""
    volume = Volume(path=path)
    array = open_array(volume)
    whole = np.asarray(array[...])
    assert (read(volume, Roi((0, 0, 0), SHAPE)) == whole).all()
    part = read(volume, Roi((60, 3, 50), (10, 37, 80)))
    assert part.flags["C_CONTIGUOUS"]
    assert (part == whole[..., 60:, 3:, 50:]).all()
    assert (array[..., 5, 6, 127] == whole[..., 5, 6, 127]).all()


def test_nothing_is_written_to_a_synthetic_volume():
    """One line each, whether it is made, written in a box or through zarr."""
    volume = Volume(path=LABELS)
    with pytest.raises(BadInput, match=r"is computed when it is read: nothing can be written there"):
        write(volume, Roi((0, 0, 0), (64, 40, 64)), np.zeros((64, 40, 64), np.uint64))
    with pytest.raises(BadInput, match="exists already and is different"):
        create(volume, (8, 8, 8), "uint8", (8, 8, 8))
    with pytest.raises(BadInput, match="nothing can be written there"):
        open_array(volume, "r+").attrs["a"] = 1


def test_a_synthetic_volume_is_known_by_what_it_is_made_from():
    """Seed, shape and kind tell two apart; the place is found again from the array."""
    others = ["synthetic://8", "synthetic://7/labels"]
    paths = [AFFINITIES, *(Path(f"{other}?{QUERY}") for other in others), Path("synthetic://7?shape=70,40,131")]
    assert len({identity(Volume(path=path)) for path in paths}) == len(paths)
    assert identity(Volume(path=AFFINITIES)) == identity(Volume(path=AFFINITIES)) != "missing"
    assert folder_of(open_array(Volume(path=LABELS))) == place_of(LABELS)
    place = place_of(LABELS)
    assert isinstance(place, Synthetic)
    assert place.exists()
    assert place.is_dir()
    assert not place.is_file()
    assert [one.name for one in place.iterdir()] == ["zarr.json"]
    assert last_written(place / "zarr.json") is not None
    assert last_written(place / ".zarray") is None
    with pytest.raises(FileNotFoundError):
        (place / ".zattrs").read_text()
