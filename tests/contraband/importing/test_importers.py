"""`contraband import`: what other programs wrote becomes a volume, or nothing does."""

from __future__ import annotations

import gzip
import json
import struct

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from blockwise.arrays import content
from blockwise.arrays.volume import Volume, info, open_array
from blockwise.errors import BadInput
from contraband.importing.volume import import_volume
from tests.support.paths import real_data

SHAPE = (5, 6, 7)
BLOCK = (2, 4, 4)


@pytest.fixture
def raw():
    return np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)


def read(target):
    return open_array(Volume(path=target))[:]


def save_npz(folder, data, **others):
    np.savez_compressed(folder / "data.npz", raw=data, **others)
    return folder / "data.npz"


def save_npy(folder, data):
    np.save(folder / "data.npy", np.asfortranarray(data))
    return folder / "data.npy"


def save_tiff(folder, data):
    tifffile.imwrite(folder / "data.tif", data, photometric="minisblack")
    return folder / "data.tif"


def save_packed_tiff(folder, data):
    tifffile.imwrite(folder / "data.tiff", data, compression="zlib", photometric="minisblack")
    return folder / "data.tiff"


def save_folder(folder, data):
    (folder / "sections").mkdir()
    for number, section in enumerate(data, 8):
        tifffile.imwrite(folder / "sections" / f"z{number}.tif", section)
    return folder / "sections"


def save_hdf5(folder, data):
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset("volumes/raw", data=data, chunks=True, compression="gzip")
    return folder / "data.h5"


def save_zarr(folder, data):
    zarr.save_array(folder / "data.zarr", data, zarr_format=2)
    return folder / "data.zarr"


def save_n5(folder, data):
    """By hand, as zarr 3 cannot: blocks of (2, 4, 4), big-endian, gzip, the block of zeros left out."""
    place = folder / "data.n5" / "s0"
    place.mkdir(parents=True)
    description = {
        "dimensions": data.shape[::-1],
        "blockSize": [4, 4, 2],
        "dataType": data.dtype.name,
        "compression": {"type": "gzip"},
    }
    (place / "attributes.json").write_text(json.dumps(description))
    for z, y, x in np.ndindex(3, 2, 2):
        part = data[2 * z : 2 * z + 2, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        if part.any():
            path = place / str(x) / str(y) / str(z)
            path.parent.mkdir(parents=True, exist_ok=True)
            content = gzip.compress(part.astype(part.dtype.newbyteorder(">")).tobytes())
            path.write_bytes(struct.pack(">HHIII", 0, 3, *part.shape[::-1]) + content)
    return folder / "data.n5"


def save_lzw(folder, data):
    tifffile.imwrite(folder / "data.tif", data, compression="lzw", photometric="minisblack")
    return folder / "data.tif"


SAVERS = [
    save_npz,
    save_npy,
    save_tiff,
    save_packed_tiff,
    save_lzw,
    save_folder,
    save_hdf5,
    save_zarr,
    save_n5,
]


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_format_gives_the_same_volume(save, dtype, raw, tmp_path):
    """The voxels are those of the file, whatever its format, and the description is complete."""
    data = raw.astype(dtype)
    data[:2, :4, :4] = 0
    target = tmp_path / "out.zarr" / "train" / "raw"
    found = import_volume(save(tmp_path, data), target, voxel_size=(8, 4, 4), units="nm", block=BLOCK)
    assert (read(target) == data).all()
    assert found == info(Volume(path=target))
    assert found.dtype == dtype
    assert found.voxel_size == (8, 4, 4)
    assert found.shards == BLOCK


@pytest.mark.parametrize("save", SAVERS)
def test_a_crop_in_narrow_slabs_reads_the_right_part(save, raw, tmp_path, monkeypatch):
    """A part of a volume, copied a few rows at a time, has its own voxels and its own place."""
    monkeypatch.setattr(content, "SLAB_BYTES", 1)
    target = tmp_path / "out.zarr" / "raw"
    options = {"crop": "z=1:4, x=2:", "voxel_size": (10, 2, 2), "offset": (100, 0, 0), "block": (2, 2, 2)}
    found = import_volume(save(tmp_path, raw), target, **options)
    assert (read(target) == raw[1:4, :, 2:]).all()
    assert found.offset == (110, 0, 4)


@pytest.mark.parametrize("save", [save_npz, save_tiff, save_packed_tiff, save_hdf5, save_zarr])
@pytest.mark.parametrize("axes", ["xyz", "zcyx", "yxc", "czyx"])
def test_axes_in_any_order_become_channel_z_y_x(save, axes, tmp_path):
    """However the axes are stored, the volume is (z, y, x), or (channel, z, y, x)."""
    lengths = {"c": 2, "z": 3, "y": 4, "x": 5}
    wanted = np.arange(120, dtype=np.uint8).reshape(2, 3, 4, 5)
    if "z" not in axes:
        wanted = wanted[:, :1]
    if "c" not in axes:
        wanted = wanted[0]
    order = [letter for letter in "czyx" if letter in axes]
    flat = wanted.reshape([lengths[letter] for letter in order])
    stored = np.ascontiguousarray(flat.transpose([order.index(letter) for letter in axes]))
    target = tmp_path / "out.zarr" / "raw"
    import_volume(save(tmp_path, stored), target, axes=axes, block=(2, 2, 2))
    assert (read(target) == wanted).all()


def test_the_identity_depends_on_the_content_alone(raw, tmp_path, monkeypatch):
    """The checksum is the same for any format and block, and another one for other voxels."""

    def identity(data, save, block, number):
        folder = tmp_path / str(number)
        folder.mkdir()
        import_volume(save(folder, data), folder / "out.zarr" / "raw", block=block)
        return info(Volume(path=folder / "out.zarr" / "raw")).attributes["identity"]

    first = identity(raw, save_npz, BLOCK, 0)
    monkeypatch.setattr(content, "SLAB_BYTES", 1)
    assert identity(raw, save_n5, (1, 1, 7), 1) == first
    changed = raw.copy()
    changed[-1, -1, -1] ^= 1
    assert identity(changed, save_npz, BLOCK, 2) != first


def test_what_a_file_says_of_itself_is_kept(raw, tmp_path):
    """Voxel size, place and units of a zarr source are those of the volume, also if its axes are turned."""
    source = zarr.create_array(tmp_path / "a.zarr", data=raw.transpose(2, 1, 0))
    source.attrs.update({"resolution": [4, 5, 40], "offset": [1, 2, 3], "units": ["um"] * 3})
    found = import_volume(tmp_path / "a.zarr", tmp_path / "out.zarr" / "raw", axes="xyz")
    assert found.voxel_size == (40, 5, 4)
    assert found.offset == (3, 2, 1)
    assert found.units == ("um",) * 3


def test_boundaries_become_affinities(tmp_path, monkeypatch):
    """Affinities are 1 - the larger boundary of both voxels; the first voxel has only its own."""
    monkeypatch.setattr(content, "SLAB_BYTES", 1)
    boundary = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    target = tmp_path / "out.zarr" / "affinities"
    options = {"boundaries": True, "block": BLOCK, "crop": "z=1:,y=1:5"}
    found = import_volume(save_npz(tmp_path, boundary), target, **options)
    part = boundary[1:, 1:5]
    expected = []
    for axis in range(3):
        before = np.concatenate([part.take([0], axis), part.take(range(part.shape[axis] - 1), axis)], axis)
        expected.append(1 - np.maximum(part, before))
    assert np.abs(read(target) - 255.0 * np.stack(expected)).max() <= 0.51
    assert found.offsets == ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
    assert found.dtype == np.uint8


def test_float_affinities_are_rounded(tmp_path):
    """Quantised affinities are 255 times their value, rounded, with the offsets that are given."""
    affinities = np.random.default_rng(2).random((2, *SHAPE)).astype(np.float32)
    target = tmp_path / "out.zarr" / "affinities"
    offsets = [[-1, 0, 0], [0, -9, 0]]
    found = import_volume(save_npz(tmp_path, affinities), target, quantise=True, offsets=offsets)
    assert (read(target) == np.rint(affinities * 255)).all()
    assert found.offsets == ((-1, 0, 0), (0, -9, 0))


BAD = np.full(SHAPE, np.nan, np.float32)
FLOATS = np.zeros((3, *SHAPE), np.float32)
RAW = np.zeros(SHAPE, np.uint8)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (RAW, {"name": "rwa"}, "no such array; got rwa, wanted raw, labels"),
        (RAW, {}, "which array is meant; got no name, wanted raw, labels"),
        (RAW, {"name": "raw", "axes": "zy"}, "axes must name y and x"),
        (RAW, {"name": "raw", "axes": "yx"}, "one letter per axis"),
        (RAW, {"name": "raw", "crop": "z=3:9"}, "outside the 5 voxels along z"),
        (RAW, {"name": "raw", "crop": "t=3:9"}, "is not a part of z, y, x"),
        (RAW, {"name": "raw", "voxel_size": [0, 1, 1]}, "voxel_size"),
        (RAW, {"name": "raw", "boundaries": True, "quantise": True}, "exclude each other"),
        (RAW, {"name": "raw", "quantise": True}, "only float affinities"),
        (RAW, {"name": "raw", "offsets": [[-1, 0, 0]]}, "not one per channel"),
        (RAW.astype("complex64"), {"name": "raw"}, "does not hold plain numbers"),
        (RAW.astype("longdouble"), {"name": "raw"}, "floats that are too long.*save it as float64"),
        (RAW[0, 0], {"name": "raw"}, "wrong number of axes"),
        (RAW[:0], {"name": "raw"}, "none of them empty"),
        (np.zeros((8, 9, 3), np.uint8), {"name": "raw"}, "looks like colours"),
        (np.zeros((99, 2, 2, 2), np.uint8), {"name": "raw"}, "looks like a spatial one"),
        (BAD, {"name": "raw"}, "NaN or infinite; got 210 of them"),
        (FLOATS, {"name": "raw"}, "add --quantise"),
        (FLOATS + 2, {"name": "raw", "quantise": True}, "are not probabilities; got 2 to 2"),
        (FLOATS[:2], {"name": "raw", "quantise": True}, "without offsets"),
        (np.array([{}]), {"name": "raw"}, "does not hold plain numbers"),
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_nothing(data, options, message, tmp_path):
    """Wrong names, axes, parts and numbers are refused in one line, and no file is made."""
    source = save_npz(tmp_path, data, labels=RAW)
    with pytest.raises(BadInput, match=message) as caught:
        import_volume(source, tmp_path / "new" / "out.zarr" / "raw", **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("save", SAVERS)
def test_damaged_files_are_refused(save, raw, tmp_path):
    """A file that ends too early, or is something else, is bad input and not an empty volume."""
    source = save(tmp_path, raw)
    files = [source] if source.is_file() else [file for file in source.rglob("*") if file.is_file()]
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    with pytest.raises(BadInput):
        import_volume(source, tmp_path / "out.zarr" / "raw")
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("length", [4, 8, 20])
def test_stumps_of_files_are_refused(save, length, raw, tmp_path):
    """A copy that broke off after a few bytes is refused in one line, whatever the format's reader makes of it."""
    source = save(tmp_path, raw)
    files = [source] if source.is_file() else [file for file in source.rglob("*") if file.is_file()]
    for file in files:
        file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(BadInput) as caught:
        import_volume(source, tmp_path / "out.zarr" / "raw")
    assert "\n" not in str(caught.value)


def test_an_interrupted_import_leaves_nothing(raw, tmp_path):
    """Stopping it halfway leaves neither a volume nor a folder."""
    source = save_npz(tmp_path, raw)

    def stop(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_volume(source, tmp_path / "new" / "out.zarr" / "raw", progress=stop)
    assert list(tmp_path.iterdir()) == [source]


def test_an_existing_volume_is_never_overwritten(raw, tmp_path):
    """A second import to the same place, or into an array, or to no array, is refused."""
    source, target = save_npz(tmp_path, raw), tmp_path / "out.zarr" / "raw"
    import_volume(source, target)
    with pytest.raises(BadInput, match="exists already"):
        import_volume(source, target)
    with pytest.raises(BadInput, match="is an array"):
        import_volume(source, target / "deeper")
    with pytest.raises(BadInput, match="names no array"):
        import_volume(source, tmp_path / "other.zarr")
    with pytest.raises(BadInput, match="no such file"):
        import_volume(tmp_path / "missing.npz", tmp_path / "out.zarr" / "more")
    zarr.create_group(tmp_path / "empty.zarr")
    with pytest.raises(BadInput, match="holds no array; is the copy complete"):
        import_volume(tmp_path / "empty.zarr", tmp_path / "out.zarr" / "more")
    assert (read(target) == raw).all()


def test_neighbours_in_a_group_are_described_together(raw, tmp_path):
    """Every folder from the .zarr downwards is a group, and lists its images as OME-NGFF does."""
    source = save_npz(tmp_path, raw)
    for name in ("raw", "more"):
        import_volume(source, tmp_path / "out.zarr" / "train" / name)
    root = zarr.open_group(tmp_path / "out.zarr", mode="r")
    assert sorted(root["train"].array_keys()) == ["more", "raw"]
    assert [image["name"] for image in root["train"].attrs["ome"]["multiscales"]] == ["raw", "more"]
    assert not (tmp_path / "zarr.json").exists()


def test_progress_goes_from_nothing_to_the_whole(raw, tmp_path):
    """The first report of progress comes before the first shard, as its rate is counted from there."""
    reports = []
    import_volume(
        save_npz(tmp_path, raw),
        tmp_path / "out.zarr" / "raw",
        block=(1, 6, 7),
        progress=lambda done, total: reports.append((done, total)),
    )
    assert reports[0] == (0, raw.size)
    assert reports[-1] == (raw.size, raw.size)
    assert len(reports) == SHAPE[0] + 1


@pytest.mark.real_data("fib25.npz")
def test_the_training_half_of_fib25(tmp_path):
    """The command of the README gives the first 125 sections."""
    found = import_volume(
        real_data("fib25.npz"),
        tmp_path / "fib25.zarr" / "train" / "raw",
        name="raw",
        crop="z=0:125",
        voxel_size=(10, 10, 10),
        units="nm",
    )
    assert found.shape == (125, 250, 250)
