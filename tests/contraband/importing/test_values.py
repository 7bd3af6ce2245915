"""What an import makes of the numbers: labels, boundaries, affinities, and what is no image."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.arrays.volume import Volume, info, open_array
from blockwise.errors import BadInput
from contraband.importing import plan
from contraband.importing.volume import import_volume
from tests.support.foreign import hdf5, n5, plain_tiff, zarr_array

SHAPE = (4, 6, 8)
LABELS = np.random.default_rng(0).integers(0, 9, SHAPE)


def imported(data, tmp_path, save=None, **options):
    """(voxels, description, remarks) of an import of an array."""
    if save is None:
        np.save(tmp_path / "a.npy", data)
        path = tmp_path / "a.npy"
    else:
        path = save(data)(tmp_path)
    remarks: list[str] = []
    target = tmp_path / "out.zarr" / "made"
    found = import_volume(path, target, say=remarks.append, **options)
    return open_array(Volume(path=target))[:], found, " | ".join(remarks)


@pytest.mark.parametrize("save", [plain_tiff, hdf5, zarr_array, n5, None])
@pytest.mark.parametrize(
    ("dtype", "wanted"), [("float16", "int16"), ("float32", "int32"), ("float64", "int64"), ("bool", "uint8")]
)
def test_whole_labels_of_any_type_become_integers(save, dtype, wanted, tmp_path):
    """Objects keep their numbers, whether they were stored as floats or truth values."""
    if (save, dtype) in ((n5, "float16"), (n5, "bool"), (plain_tiff, "bool")):
        dtype, wanted = "float32", "int32"  # what these formats have
    labels = (LABELS > 4 if dtype == "bool" else LABELS).astype(dtype)
    made, found, _ = imported(labels, tmp_path, save, labels=True)
    assert found.dtype == wanted
    assert (made == labels).all()


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integers_stay_as_they_are_and_tell_what_is_not_labelled(dtype, tmp_path):
    """-1, or the largest unsigned number, is kept; how often it is there is said."""
    labels = LABELS.astype(dtype)
    labels[0] = -1 if np.dtype(dtype).kind == "i" else np.iinfo(dtype).max
    made, found, remarks = imported(labels, tmp_path, labels=True)
    assert found.dtype == dtype
    assert (made == labels).all()
    assert "48 voxels are not labelled" in remarks


@pytest.mark.parametrize("nothing", [-1.0, 2.0**64, 2.0**32 - 1])
def test_floats_for_not_labelled_become_minus_one(nothing, tmp_path):
    """The largest unsigned number as a float means the same as -1."""
    labels = LABELS.astype(np.float64)
    labels[0] = nothing
    made, _, _ = imported(labels, tmp_path, labels=True)
    assert (made[0] == -1).all()
    assert (made[1:] == LABELS[1:]).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, "labels are no whole numbers; got 0.5"),
        (-2, "labels are negative; got -2"),
        (2.0**25, "too large for their type; got 33554432"),
        (np.nan, "NaN or infinite"),
        (np.inf, "NaN or infinite"),
    ],
)
def test_what_cannot_be_labels_is_refused(value, message, tmp_path):
    """Fractions, negative numbers, and numbers that float32 mixes up are no objects."""
    labels = LABELS.astype(np.float32)
    labels[1, 2, 3] = value
    with pytest.raises(BadInput, match=message):
        imported(labels, tmp_path, labels=True)
    assert not (tmp_path / "out.zarr").exists()


def test_whole_floats_are_told_of(tmp_path):
    """Without --labels they stay floats, as an image may be whole too; a line says what to do."""
    made, found, remarks = imported(LABELS.astype(np.float32), tmp_path)
    assert found.dtype == "float32"
    assert (made == LABELS).all()
    assert "import them with --labels" in remarks


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("save", [plain_tiff, hdf5, zarr_array, None])
def test_images_with_holes_are_refused(dtype, value, save, tmp_path):
    """NaN and infinity in one voxel are found, wherever it lies, and nothing is left."""
    image = np.zeros(SHAPE, dtype)
    image[3, 5, 7] = value
    with pytest.raises(BadInput, match="values are NaN or infinite; got 1 of them"):
        imported(image, tmp_path, save)
    assert not (tmp_path / "out.zarr").exists()


WALLS = np.random.default_rng(1).integers(0, 2, SHAPE).astype(bool)
CERTAIN = {
    "truth values": (WALLS, "true is taken for certain"),
    "0 and 1": (WALLS.astype(np.uint8), "largest number of the boundaries is 1: 1 is taken for certain, not 255"),
    "0 and 255": (WALLS.astype(np.uint8) * 255, ""),
    "0 and 1 of uint16": (WALLS.astype(np.uint16), "1 is taken for certain, not 65535"),
    "0 and 255 of uint16": (WALLS.astype(np.uint16) * 255, "255 is taken for certain, not 65535"),
    "0 and 65535": (WALLS.astype(np.uint16) * 65535, ""),
    "floats": (WALLS.astype(np.float32), ""),
}


@pytest.mark.parametrize(("walls", "remark"), CERTAIN.values(), ids=CERTAIN)
def test_a_wall_is_a_wall_however_it_is_written(walls, remark, tmp_path):
    """Boundaries of any type and range give the same affinities; what is not usual is said."""
    made, found, remarks = imported(walls, tmp_path, boundaries=True)
    wanted = np.stack([255 * ~(WALLS | np.roll(WALLS, 1, axis)) for axis in range(3)]).astype(np.uint8)
    for axis in range(3):
        first = (axis, *(0 if other == axis else slice(None) for other in range(3)))
        wanted[first] = 255 * ~WALLS[first[1:]]  # the first voxel has no other before it
    assert (made == wanted).all()
    assert found.attributes["offsets"] == [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
    assert remark in remarks


def test_a_weak_boundary_far_from_the_first_section_is_seen(tmp_path, monkeypatch):
    """The largest number is looked for in the whole part: 200 in the last voxel makes 1 a weak boundary."""
    monkeypatch.setattr(plan, "SCAN_BYTES", 1)
    walls = np.zeros(SHAPE, np.uint8)
    walls[0, 0, 0], walls[3, 5, 7] = 1, 200
    made, _, remarks = imported(walls, tmp_path, boundaries=True)
    assert (made[:, 0, 0, 0], made[0, 3, 5, 7]) == (pytest.approx([254] * 3), 55)
    assert "certain" not in remarks


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16"])
def test_affinities_of_0_and_1_are_certain(dtype, tmp_path):
    """Stored as they are they would be 1 of 255: no affinity at all."""
    affinities = np.stack([WALLS] * 3).astype(dtype)
    offsets = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
    made, found, remarks = imported(affinities, tmp_path, offsets=offsets)
    assert found.dtype == "uint8"
    assert (made == np.stack([WALLS] * 3) * 255).all()
    assert "certain" in remarks


AHEAD = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 3], [2, 1, 0], [-1, 0, 0]]


@pytest.mark.parametrize("crop", [None, "z=1:,y=2:5,x=4:"])
@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("said", [False, True], ids=["given", "in the file"])
def test_affinities_that_look_ahead_are_turned(crop, quantise, said, tmp_path):
    """The affinity with +d at v is the one with -d at v + d: from the whole file, also before a crop."""
    rng = np.random.default_rng(2)
    affinities = rng.integers(2, 255, (len(AHEAD), *SHAPE)).astype(np.uint8)
    stored = affinities / np.float32(255) if quantise else affinities
    path = zarr_array(stored, **({"offsets": AHEAD} if said else {}))(tmp_path)
    options = {} if said else {"offsets": AHEAD}
    found = import_volume(
        path, tmp_path / "out.zarr" / "made", crop=crop, quantise=quantise, block=(2, 2, 2), **options
    )
    wanted = np.zeros_like(affinities)
    for channel, offset in enumerate(AHEAD):
        for voxel in np.ndindex(*SHAPE):
            other = [at - step if max(offset) > 0 else at for at, step in zip(voxel, offset, strict=True)]
            if min(other) >= 0:
                wanted[(channel, *voxel)] = affinities[(channel, *other)]
    part = (slice(1, None), slice(2, 5), slice(4, None)) if crop else ()
    assert (open_array(Volume(path=tmp_path / "out.zarr" / "made"))[:] == wanted[(slice(None), *part)]).all()
    assert found.offsets == tuple(tuple(-abs(step) for step in offset) for offset in AHEAD)
    assert found == info(Volume(path=tmp_path / "out.zarr" / "made"))


def test_the_offsets_of_chosen_channels_are_kept(tmp_path):
    """--channel 2,0 of a file with offsets takes theirs."""
    affinities = np.random.default_rng(3).integers(2, 255, (3, *SHAPE)).astype(np.uint8)
    source = zarr_array(affinities, offsets=[[-1, 0, 0], [0, -1, 0], [0, 0, -1]])(tmp_path)
    found = import_volume(source, tmp_path / "out.zarr" / "made", channel=(2, 0))
    assert found.offsets == ((0, 0, -1), (-1, 0, 0))


def test_an_image_of_one_number_is_told_of(tmp_path):
    """A constant image is one line, and its range is kept."""
    _, found, remarks = imported(np.full(SHAPE, 7, np.uint8), tmp_path)
    assert "all voxels are 7" in remarks
    assert found.attributes["source"]["said"]["values"] == "7 to 7, uint8"
