"""Units by their many names, and the place of an array by what its attributes say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import zarr
from funlib.geometry import Roi

from blockwise.arrays.compare import voxels_between
from blockwise.arrays.ngff import with_image
from blockwise.arrays.placement import place_in
from blockwise.arrays.space import Said, Space, place_of
from blockwise.arrays.units import NANOMETRES, factor, unit_called
from blockwise.arrays.values import as_integers
from blockwise.arrays.volume import Volume, create, info, read
from blockwise.errors import BadInput, WorkFailed
from tests.support.foreign import VOLUME, ome_zarr, scale, space_axes, translation, zarr_array

SPELLINGS = {
    "nm": ["nm", "NM", "nanometer", "nanometre", "Nanometers", " nm "],
    "um": ["um", "µm", "μm", "micron", "microns", "micrometer", "Micrometre", "\\u00B5m", "Âµm", "mic"],
    "mm": ["mm", "millimeter", "millimetres"],
    "m": ["m", "meter", "metre", "METERS"],
    "angstrom": ["Å", "angstrom", "Angstroms", "A", "ångström"],
    "inch": ["inch", "in", "inches", '"'],
    "vx": ["vx", "pixel", "Pixels", "voxel", "px"],
}


@pytest.mark.parametrize(("unit", "text"), [(unit, text) for unit, texts in SPELLINGS.items() for text in texts])
def test_a_unit_is_known_by_each_of_its_names(unit, text):
    """However a program spells it."""
    assert unit_called(text) == unit


@pytest.mark.parametrize("text", ["furlong", "nanosecond", "kg", "meterstick", None, 7])
def test_what_is_no_length_is_no_unit(text):
    """Times, weights and words."""
    assert unit_called(text) is None


def test_units_are_turned_into_each_other():
    """8 nm are 0.008 um; a voxel is no length."""
    assert factor("um", "nm") == 1000
    assert 8 * factor("nm", "um") == pytest.approx(0.008)
    assert factor("vx", "vx") == 1
    assert factor("vx", "nm") is None
    for unit, other in [(unit, other) for unit in NANOMETRES for other in NANOMETRES]:
        assert factor(unit, other) * factor(other, unit) == pytest.approx(1)


ATTRIBUTES = {
    "voxel_size": ({"voxel_size": [40, 4, 4], "offset": [8, 0, 0]}, (40, 4, 4), (8, 0, 0), "nm"),
    "resolution": ({"resolution": [40, 4, 4], "units": ["nm"] * 3}, (40, 4, 4), (0, 0, 0), "nm"),
    "unit": ({"voxel_size": [4, 1, 1], "unit": "micrometer"}, (4, 1, 1), (0, 0, 0), "um"),
    "units of OME": ({"voxel_size": [4, 1, 1], "units": ["micrometer"] * 3}, (4, 1, 1), (0, 0, 0), "um"),
    "nothing": ({}, (1, 1, 1), (0, 0, 0), "nm"),
    "transform": (
        {"transform": {"axes": ["z", "y", "x"], "scale": [40, 4, 4], "translate": [20, 2, 2], "units": ["nm"] * 3}},
        (40, 4, 4),
        (0, 0, 0),
        "nm",
    ),
}


@pytest.mark.parametrize(("attributes", "size", "offset", "unit"), ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_a_volume_that_is_used_directly_has_its_place(attributes, size, offset, unit, tmp_path):
    """The attributes that an import reads are those that a run reads."""
    found = info(Volume(path=zarr_array(**attributes)(tmp_path)))
    assert (found.voxel_size, found.offset, found.units) == (size, offset, (unit,) * 3)


@pytest.mark.parametrize("names", [["x", "y", "z"], ["t", "z", "y", "x"][:3], ["z", "x", "y"]])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_axes_in_another_order_are_refused(names, zarr_format, tmp_path):
    """An array that says x, y, z is not read as z, y, x: it is to be imported."""
    said = {"axis_names": names} if zarr_format == 2 else {"names": names}
    source = zarr_array(zarr_format=zarr_format, **said)(tmp_path)
    with pytest.raises(BadInput, match=r"wrong axis order.*contraband import --axes"):
        info(Volume(path=source))


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
@pytest.mark.parametrize("part", ["", "s0", "s1"])
def test_an_image_of_ome_zarr_is_a_volume(version, part, tmp_path):
    """By its own path, which means its largest level, or by that of an array in it; with the corner of that level."""
    levels = [[scale(40, 4, 4), translation(400, 80, 0)], [scale(80, 8, 8), translation(420, 82, 2)]]
    volume = Volume(path=ome_zarr(levels, version=version)(tmp_path) / part)
    found = info(volume)
    assert found.voxel_size == ((80, 8, 8) if part == "s1" else (40, 4, 4))
    assert found.offset == (380, 78, -2)
    assert found.units == ("nm",) * 3
    step = 2 if part == "s1" else 1
    assert (read(volume, Roi((0, 0, 0), found.spatial)) == VOLUME[::step, ::step, ::step]).all()


@pytest.mark.parametrize("part", ["s0", "s1"])
def test_a_translation_that_all_levels_share_is_their_corner(part, tmp_path):
    """Centres of larger voxels would lie further from it; of one level alone it is a centre, as the standard says."""
    levels = [[scale(40, 4, 4), translation(400, 80, 0)], [scale(80, 8, 8), translation(400, 80, 0)]]
    assert info(Volume(path=ome_zarr(levels)(tmp_path / "two") / part)).offset == (400, 80, 0)
    assert info(Volume(path=ome_zarr(levels[:1])(tmp_path / "one") / "s0")).offset == (380, 78, -2)


def test_an_image_with_other_axes_is_to_be_imported(tmp_path):
    """An image that stores x first, or several channels in another place, is refused by run."""
    source = ome_zarr([[scale(4, 4, 40)]], space_axes(names="xyz"))(tmp_path)
    with pytest.raises(BadInput, match="wrong axis order"):
        info(Volume(path=source))


def test_attributes_of_the_array_go_before_those_of_its_group(tmp_path):
    """What we write into the array itself is what counts, also where its group was written by an older version."""
    source = ome_zarr([[scale(40, 4, 4)]])(tmp_path)
    zarr.open_array(source / "s0", mode="r+").attrs.update({"voxel_size": [30, 3, 3], "units": ["nm"] * 3})
    assert info(Volume(path=source / "s0")).voxel_size == (30, 3, 3)


@pytest.mark.parametrize(
    ("unit", "offset", "centre"),
    [("nm", (0, 0, 0), (20, 2, 2)), ("um", (400, 80, 0), (420, 82, 2)), ("vx", (1, 0, 0), (21, 2, 2))],
)
@pytest.mark.parametrize("channels", [None, 2])
def test_our_images_say_where_their_first_voxel_has_its_centre(unit, offset, centre, channels, tmp_path):
    """The image that is written for viewers keeps to the standard, and is read back as it was meant."""
    from yaozarrs import v05, validate_ome_object

    shape = VOLUME.shape if channels is None else (channels, *VOLUME.shape)
    like = info(Volume(path=zarr_array(voxel_size=[40, 4, 4], offset=list(offset), units=unit)(tmp_path)))
    volume = Volume(path=tmp_path / "out.zarr" / "made")
    create(volume, shape, "uint8", (4, 10, 12), like=like)
    attributes = dict(zarr.open_group(tmp_path / "out.zarr", mode="r").attrs)
    image = validate_ome_object(attributes["ome"], v05.Image).multiscales[0]
    extra = [] if channels is None else [0]
    assert image.datasets[0].translation_transform.translation == [*extra, *centre]
    assert image.datasets[0].scale_transform.scale == [*([] if channels is None else [1]), 40, 4, 4]
    units = {"nm": "nanometer", "um": "micrometer", "vx": None}
    assert [axis.unit for axis in image.axes[-3:]] == [units[unit]] * 3
    array = zarr.open_array(volume.path, mode="r+")
    for key in ("voxel_size", "offset", "units", "axis_names"):
        del array.attrs[key]
    again = info(volume)
    assert (again.voxel_size, again.offset) == ((40, 4, 4), offset)


def test_an_image_written_by_an_older_version_is_corrected(tmp_path):
    """Writing to the same array again puts its centre where it belongs, half a voxel on."""
    volume = Volume(path=tmp_path / "out.zarr" / "made")
    create(volume, VOLUME.shape, "uint8", (4, 10, 12))
    group = zarr.open_group(tmp_path / "out.zarr", mode="r+")
    ome = dict(group.attrs["ome"])
    ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][1]["translation"] = [0.0, 0.0, 0.0]
    group.attrs["ome"] = ome
    create(volume, VOLUME.shape, "uint8", (4, 10, 12))
    images = zarr.open_group(tmp_path / "out.zarr", mode="r").attrs["ome"]["multiscales"]
    assert [image["datasets"][0]["coordinateTransformations"][1]["translation"] for image in images] == [[0.5] * 3]


@pytest.mark.parametrize("options", [{"order": "F"}, {"dtype": ">u2"}, {"order": "F", "dtype": ">u2"}, {}])
@pytest.mark.parametrize("channels", [False, True])
def test_arrays_of_any_order_are_read_as_the_kernels_want_them(options, channels, tmp_path):
    """Fortran order and foreign bytes of zarr 2: the same voxels, in C order and native bytes."""
    data = np.stack([VOLUME, VOLUME + 1]) if channels else VOLUME
    order = {"order": options["order"]} if "order" in options else {}
    zarr.create_array(
        tmp_path / "a.zarr", data=data.astype(options.get("dtype", "u2")), chunks="auto", zarr_format=2, **order
    )
    made = read(Volume(path=tmp_path / "a.zarr"), Roi((1, 2, 3), (2, 10, 12)))
    assert (made == data[..., 1:3, 2:12, 3:15]).all()
    assert made.flags.c_contiguous
    assert made.dtype == info(Volume(path=tmp_path / "a.zarr")).dtype == np.dtype("u2")
    assert made.dtype.isnative


@pytest.mark.parametrize(
    ("said", "other", "fits"),
    [
        ({"voxel_size": [40, 4.04, 4.04]}, {"voxel_size": np.float32([40, 4.04, 4.04]).tolist()}, True),
        ({"voxel_size": [8, 8, 8]}, {"voxel_size": [0.008] * 3, "units": "um"}, True),
        ({"voxel_size": [8, 8, 8]}, {"voxel_size": [8, 8, 8], "units": "um"}, False),
        ({"voxel_size": [8, 8, 8]}, {"voxel_size": [8, 8, 8.01]}, False),
        ({"voxel_size": [8, 8, 8]}, {"voxel_size": [8, 8, 8], "units": "pixel"}, False),
    ],
)
def test_sizes_are_compared_in_one_unit_with_a_tolerance(said, other, fits, tmp_path):
    """4.04 of a float32 header is 4.04; 8 nm is not 8 um."""
    one = Volume(path=zarr_array(**said)(tmp_path / "one"))
    two = Volume(path=zarr_array(**other)(tmp_path / "two"))
    for first, second in ((one, two), (two, one)):
        if fits:
            assert place_in(first, second).begin == (0, 0, 0)
        else:
            with pytest.raises(BadInput, match=r"voxel size|unit"):
                place_in(first, second)


def test_places_are_compared_in_one_unit(tmp_path):
    """0.08 um along z is two voxels of 40 nm."""
    one = info(Volume(path=zarr_array(voxel_size=[0.04] * 3, units="um", offset=[0.08, 0, 0])(tmp_path / "one")))
    two = info(Volume(path=zarr_array(voxel_size=[40] * 3)(tmp_path / "two")))
    assert voxels_between(one, two) == pytest.approx((2, 0, 0))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint64", "float32", "float64"])
def test_labels_of_any_type_are_integers(dtype):
    """Truth values, integers and whole floats name the same objects, -1 stays what is not labelled."""
    labels = np.array([0, 1, 1, 0]).astype(dtype)
    assert as_integers(labels, "labels").tolist() == [0, 1, 1, 0]
    assert as_integers(labels, "labels").dtype.kind in "iu"
    if labels.dtype.kind in "if":
        assert as_integers(labels - 1, "labels").tolist() == [-1, 0, 0, -1]


@pytest.mark.parametrize("value", [0.5, np.nan, -0.5, np.inf, -2])
def test_fractions_are_no_labels(value):
    """A probability is no object."""
    with pytest.raises(WorkFailed, match="labels are no whole numbers"):
        as_integers(np.array([1.0, value]), "labels")


@pytest.mark.parametrize("names", [["a", "b", "c"], ["z", "y"], ["t", "z", "y", "x"]])
def test_axes_that_are_not_ours_are_refused(names, tmp_path):
    """Names of another kind, or of another number of axes."""
    data = VOLUME[None] if len(names) == 4 else VOLUME
    with pytest.raises(BadInput, match="wrong axis order"):
        info(Volume(path=zarr_array(data, axis_names=names)(tmp_path)))


def image_in(unit: str | None, size: float, place: float | None = None) -> Space:
    """What an OME-Zarr image says of one of its arrays."""
    offset = None if place is None else Said([place] * 3, "multiscales")
    return Space(
        Said("zyx", "multiscales"), Said([size] * 3, "multiscales"), offset, unit and Said(unit, "multiscales")
    )


OWN = Space(voxel_size=Said([4, 4, 4], "attribute resolution"))
PLACED = replace(OWN, offset=Said([8, 8, 8], "attribute offset"))


@pytest.mark.parametrize(
    ("own", "image", "size", "offset", "unit"),
    [
        (Space(), image_in("micrometer", 0.004, 0.008), 0.004, 0.008, "um"),
        (OWN, image_in("micrometer", 4), 4, 0, "um"),
        (OWN, image_in("micrometer", 0.004, 0.008), 0.004, 0.008, "um"),
        (PLACED, image_in("micrometer", 0.004, 0.5), 4, 8, "nm"),
        (replace(OWN, units=Said("nm", "")), image_in("micrometer", 0.004, 0.008), 4, 0, "nm"),
        (OWN, image_in(None, 5, 10), 4, 10, "nm"),
        (OWN, None, 4, 0, "nm"),
    ],
)
def test_an_array_and_its_image_are_not_mixed_in_two_units(own, image, size, offset, unit):
    """A length goes with the unit that it was written in, of the array or of the image."""
    place = place_of(with_image(own, image), "zyx", "a.zarr", dict.fromkeys(("voxel_size", "offset", "units"), ""))
    assert place.voxel_size == pytest.approx((size,) * 3)
    assert place.offset == pytest.approx((offset,) * 3)
    assert place.unit == unit


def test_an_array_and_its_image_that_contradict_each_other_are_refused():
    """Both sizes are named: nobody knows which is right."""
    with pytest.raises(
        BadInput, match=r"resolution beside multiscales.*got \[4.0, 4.0, 4.0\] and \[5.0, 5.0, 5.0\] in nm"
    ):
        place_of(with_image(OWN, image_in("nanometer", 5)), "zyx", "a.zarr", {"voxel_size": "correct it"})
