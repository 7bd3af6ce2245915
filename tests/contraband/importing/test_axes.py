"""Which axis is which, and what of each is taken: by what the file says, by what the user says, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr

from blockwise.arrays.volume import Volume, open_array
from blockwise.errors import BadInput
from contraband.importing.volume import import_volume
from tests.support.foreign import VOLUME, imagej, ome_tiff, ome_zarr, plain_tiff, scale, space_axes, zarr_array

LENGTHS = {"t": 2, "c": 3, "z": 4, "y": 5, "x": 6}


def stored(axes: str, **lengths: int) -> np.ndarray:
    """Numbers with these axes; each letter as long as in LENGTHS, unless it is given."""
    sizes = [(LENGTHS | lengths)[letter] for letter in axes]
    return np.arange(np.prod(sizes), dtype=np.uint16).reshape(sizes)


def in_order(data: np.ndarray, axes: str, order: str) -> np.ndarray:
    """The same with its axes in another order."""
    return data.transpose([axes.index(letter) for letter in order])


def imported(path, tmp_path, **options):
    """The voxels of an import."""
    import_volume(path, tmp_path / "out.zarr" / "raw", **options)
    return open_array(Volume(path=tmp_path / "out.zarr" / "raw"))[:]


def save(kind: str, data: np.ndarray, axes: str, folder):
    """A file that names its axes."""
    if kind == "ImageJ":
        return imagej(axes.upper(), data=data)(folder)
    if kind == "OME-TIFF":
        return ome_tiff(axes.upper(), data=data)(folder)
    if kind == "OME-Zarr":
        return ome_zarr([[scale(*[1.0] * data.ndim)]], space_axes(names=axes), data=data)(folder)
    return zarr_array(data, 3, list(axes))(folder)


@pytest.mark.parametrize("kind", ["ImageJ", "OME-TIFF", "OME-Zarr", "dimension_names"])
@pytest.mark.parametrize("axes", ["tczyx", "tzcyx"])
def test_one_time_point_and_some_channels_are_taken(kind, axes, tmp_path):
    """--time and --channel choose by number; several channels come in the order that is asked for, one has no axis."""
    if kind == "ImageJ":
        axes = "tzcyx"  # the only order it writes
    if kind == "OME-Zarr":
        axes = "tczyx"
    data = stored(axes)
    path = save(kind, data, axes, tmp_path)
    whole = in_order(data, axes, "tczyx")
    assert (imported(path, tmp_path, time=1, channel=(2,)) == whole[1, 2]).all()
    other = tmp_path / "several"
    assert (imported(path, other, time=0, channel=(2, 0)) == whole[0, [2, 0]]).all()
    cropped = tmp_path / "cropped"
    assert (imported(path, cropped, crop="t=1:2, c=1:3, z=2:") == whole[1, 1:3, 2:]).all()


@pytest.mark.parametrize("kind", ["ImageJ", "OME-TIFF", "OME-Zarr", "dimension_names"])
@pytest.mark.parametrize(
    ("axes", "lengths", "message"),
    [
        ("tzyx", {}, "has 2 time points; got axes tzyx of .2, 4, 5, 6.*--time 0"),
        ("tyx", {}, "has 2 time points; got axes tyx of .2, 5, 6.*or say --axes zyx if they are sections"),
        ("zcyx", {}, "has 3 channels; got axes zcyx of .4, 3, 5, 6.*--channel 0.*take all by --axes zcyx"),
        ("cyx", {}, "has 3 channels; got axes cyx of .3, 5, 6.*or say --axes zyx if they are sections"),
    ],
)
def test_longer_axes_of_time_and_channel_are_not_guessed(kind, axes, lengths, message, tmp_path):
    """Without a choice the import is refused, with the axes named; nothing is taken for sections."""
    if kind == "OME-Zarr" and axes == "zcyx":
        axes, message = "czyx", message.replace("zcyx", "czyx").replace("4, 3", "3, 4")
    path = save(kind, stored(axes, **lengths), axes, tmp_path)
    with pytest.raises(BadInput, match=message):
        import_volume(path, tmp_path / "out.zarr" / "raw")
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize("kind", ["ImageJ", "OME-TIFF", "OME-Zarr", "dimension_names"])
def test_axes_of_length_one_are_dropped(kind, tmp_path):
    """One time point and one channel, as most converters write them, are no axes."""
    axes = "tzcyx" if kind == "ImageJ" else "tczyx"
    data = stored(axes, t=1, c=1)
    assert (imported(save(kind, data, axes, tmp_path), tmp_path) == data.reshape(4, 5, 6)).all()


@pytest.mark.parametrize("axes", ["xyz", "zxy", "yxz", "xyzc", "cxyz", "ctxyz"])
def test_axes_that_are_named_in_any_order_are_turned(axes, tmp_path):
    """A file may store x first; the volume is z, y, x."""
    data = stored(axes, c=1, t=1)
    flat = in_order(data, axes, "".join(letter for letter in "tczyx" if letter in axes)).reshape(4, 5, 6)
    assert (imported(zarr_array(data, 3, list(axes))(tmp_path), tmp_path) == flat).all()


NAMED = {
    "words": ["depth", "height", "width"],
    "capitals": ["Z", "Y", "X"],
    "netCDF": ["plane", "row", "column"],
}


@pytest.mark.parametrize("names", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("key", ["axis_names", "dimension_names", "_ARRAY_DIMENSIONS", "axes"])
def test_axes_go_by_many_names(names, key, tmp_path):
    """The axes are known by the words that programs use, under the attributes that they use."""
    turned = zarr_array(VOLUME.T, **{key: names[::-1]})(tmp_path)
    assert (imported(turned, tmp_path) == VOLUME).all()


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((4, 5), (1, 4, 5)),
        ((4, 5, 6), (4, 5, 6)),
        ((1, 4, 5, 6), (4, 5, 6)),
        ((2, 4, 5, 6), (2, 4, 5, 6)),
        ((4, 5, 6, 1), (4, 5, 6)),
        ((1, 1, 4, 5, 6), (4, 5, 6)),
        ((1, 2, 4, 5, 6), (2, 4, 5, 6)),
        ((1, 4, 5, 6, 1), (4, 5, 6)),
        ((1, 1, 1, 4, 5, 6), (4, 5, 6)),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "zarr"])
def test_axes_without_names_are_the_usual_ones(shape, wanted, kind, tmp_path):
    """Where a file says nothing: (time, channel,) z, y, x, and axes of length 1 are dropped; it is said."""
    data = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    path = tmp_path / "a.npy"
    np.save(path, data)
    if kind == "zarr":
        path = zarr_array(data)(tmp_path)
    found = import_volume(path, tmp_path / "out.zarr" / "raw")
    assert found.shape == wanted
    assert (open_array(Volume(path=tmp_path / "out.zarr" / "raw"))[:] == data.reshape(wanted)).all()
    assert "assumed: the file says nothing" in found.attributes["source"]["said"]["axes"]


def test_images_of_a_plain_tiff_file_are_sections(tmp_path):
    """Such a file names y and x alone: that its images are sections is assumed, and said."""
    found = import_volume(plain_tiff()(tmp_path), tmp_path / "out.zarr" / "raw")
    assert found.shape == VOLUME.shape
    assert found.attributes["source"]["said"]["axes"] == "zyx from the TIFF header, z assumed"


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((20, 24, 3), {}, "last axis looks like colours.*--axes yxc"),
        ((6, 20, 24, 3), {}, "last axis looks like colours.*--axes zyxc"),
        ((2, 3, 4, 5, 6), {}, "has 2 time points"),
        ((2, 1, 1, 4, 5, 6), {}, "wrong number of axes"),
        ((2, 4, 5, 6), {"channel": (2,)}, "no such channel; got 2, wanted 0 to 1"),
        ((4, 5, 6), {"time": 1}, "no such time point; got 1, wanted 0 to 0"),
        ((2, 4, 5, 6), {"crop": "c=1:3"}, "lies outside the 2 voxels along c"),
        ((4, 5, 6), {"crop": "t=0:1"}, "is not a part of z, y, x"),
        ((4, 5, 6), {"channel": ()}, "channel must name at least one"),
    ],
)
def test_axes_that_cannot_be_are_refused(shape, options, message, tmp_path):
    """Colours last, several time points, and choices outside of the array are each one line."""
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(BadInput, match=message):
        import_volume(tmp_path / "a.npy", tmp_path / "out.zarr" / "raw", **options)


def test_axes_that_are_given_may_leave_out_those_of_length_one(tmp_path):
    """--axes zyx for an array (1, 1, z, y, x), and --axes tczyx for the same."""
    data = stored("tczyx", t=1, c=1)
    np.save(tmp_path / "a.npy", data)
    for axes in ("zyx", "tczyx"):
        assert (imported(tmp_path / "a.npy", tmp_path / axes, axes=axes) == data[0, 0]).all()


def test_axes_that_are_given_take_all_channels(tmp_path):
    """Who says --axes zcyx has seen that there are channels, and gets them all."""
    data = stored("zcyx")
    path = imagej("ZCYX", data=data)(tmp_path)
    assert (imported(path, tmp_path, axes="zcyx") == in_order(data, "zcyx", "czyx")).all()


def test_unknown_axes_are_named(tmp_path):
    """An axis of a kind that we do not know is no section."""
    path = zarr_array(stored("tczyx"), 3, ["angle", "phase", "z", "y", "x"])(tmp_path)
    with pytest.raises(BadInput, match="an axis that is not known here; got angle 2, phase 3, z 4, y 5, x 6"):
        import_volume(path, tmp_path / "out.zarr" / "raw")


@pytest.mark.parametrize("several", ["series", "images"])
def test_one_of_several_series_is_taken(several, tmp_path):
    """--series chooses among images of different size in a TIFF file, and among those Bio-Formats has converted."""
    images = [VOLUME, VOLUME[:, 2:] + 1]
    path = tmp_path / "a.tif"
    if several == "series":
        with tifffile.TiffWriter(path, ome=True) as file:
            for image in images:
                file.write(image, photometric="minisblack", metadata={"axes": "ZYX"})
    else:
        path = tmp_path / "a.zarr"
        zarr.open_group(path, mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
        for number, image in enumerate(images):
            ome_zarr([[scale(number + 1, 1, 1)]], data=image)(tmp_path / str(number))
            (tmp_path / str(number) / "a.zarr").rename(path / str(number))
    with pytest.raises(BadInput, match="holds several"):
        import_volume(path, tmp_path / "out.zarr" / "raw")
    with pytest.raises(BadInput, match="series"):
        import_volume(path, tmp_path / "out.zarr" / "raw", series=2)
    for number, image in enumerate(images):
        assert (imported(path, tmp_path / f"out{number}", series=number) == image).all()


@pytest.mark.parametrize("names", [["angle", "y", "x"], ["a", "b", "c"], ["z", "lambda", "x"]])
def test_named_axes_of_another_kind_are_no_sections(names, tmp_path):
    """Only an axis without any name may be taken for z; the others are named in the refusal."""
    with pytest.raises(BadInput, match=f"{names[0]} 4, {names[1]} 20, {names[2]} 24"):
        import_volume(zarr_array(names=names, zarr_format=3)(tmp_path), tmp_path / "out.zarr" / "raw")


@pytest.mark.parametrize("names", [["dim_0", "dim_1", "dim_2"], ["dim_0", "y", "x"], [None, "y", "x"]])
def test_axes_whose_names_only_count_have_none(names, tmp_path):
    """dim_0 of xarray is no name."""
    assert (imported(zarr_array(names=names, zarr_format=3)(tmp_path), tmp_path) == VOLUME).all()
