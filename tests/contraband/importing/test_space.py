"""What files say of axes, voxel size, place and unit: each format, each attribute, with the right values."""

from __future__ import annotations

import json
import re

import h5py
import numpy as np
import pytest

from blockwise.arrays.volume import Volume, open_array
from blockwise.errors import BadInput
from contraband.cli import call
from contraband.importing.volume import import_volume
from tests.support.foreign import (
    SHAPE,
    VOLUME,
    hdf5,
    hdf5_in_group,
    imagej,
    n5,
    n5_dataset,
    ome_tiff,
    ome_zarr,
    plain_tiff,
    scale,
    space_axes,
    translation,
    xarray_group,
    zarr_array,
)

AXES = [{"key": "x", "resolution": 4}, {"key": "y", "resolution": 5}, {"key": "z", "resolution": 40}]
AXISTAGS = json.dumps({"axes": AXES})
PYRAMID = [[scale(40, 4, 4), translation(400, 80, 0)], [scale(80, 8, 8), translation(420, 82, 2)]]
COSEM = {"axes": ["z", "y", "x"], "units": ["nm"] * 3, "scale": [40, 4, 4], "translate": [420, 82, 2]}

ORIGIN = {"xorigin": -3, "zorigin": 2}
IN_PIXELS = {f"PhysicalSize{axis}": 1 for axis in "XYZ"} | {f"PhysicalSize{axis}Unit": "pixel" for axis in "XYZ"}


def row(write, size, unit, source, offset=(0, 0, 0)):
    """A file, its right values, and a word of who says so."""
    return write, size, offset, unit, source


SAID = {
    "ImageJ, microns": row(imagej(pixel=(10, 5), spacing=20.0, unit="micron"), (20, 5, 10), "um", "ImageJ"),
    "ImageJ, nm": row(imagej(pixel=(4, 4), spacing=40.0, unit="nm"), (40, 4, 4), "nm", "ImageJ"),
    "ImageJ, escaped µ": row(imagej(pixel=(0.5, 0.5), spacing=2, unit="\\u00B5m"), (2, 0.5, 0.5), "um", "ImageJ"),
    "ImageJ, cm": row(imagej(pixel=(1e-4, 1e-4), spacing=4e-4, unit="cm"), (4, 1, 1), "um", "ImageJ"),
    "ImageJ, spacing of 1": row(imagej(pixel=(0.5, 0.5), unit="um"), (1, 0.5, 0.5), "um", "ImageJ"),
    "ImageJ, origin": row(imagej(pixel=(2, 2), spacing=4, unit="um", **ORIGIN), (4, 2, 2), "um", "", (-8, 0, 6)),
    "ImageJ, spacing of 0": row(imagej(pixel=(0.5, 0.5), spacing=0, unit="um"), (1, 0.5, 0.5), "um", "z 1 um assumed"),
    "ImageJ, spacing below 0": row(imagej(pixel=(0.5, 0.5), spacing=-2, unit="um"), (2, 0.5, 0.5), "um", "ImageJ"),
    "ImageJ, nothing": row(imagej(), (1, 1, 1), "nm", "assumed"),
    "OME-TIFF, µm": row(
        ome_tiff(PhysicalSizeX=0.1, PhysicalSizeY=0.2, PhysicalSizeZ=0.5), (0.5, 0.2, 0.1), "um", "OME"
    ),
    "OME-TIFF, mixed": row(
        ome_tiff(PhysicalSizeX=4, PhysicalSizeXUnit="nm", PhysicalSizeY=4, PhysicalSizeYUnit="nm", PhysicalSizeZ=0.04),
        (40, 4, 4),
        "nm",
        "OME",
    ),
    "OME-TIFF, pixels": row(
        ome_tiff(
            **{f"PhysicalSize{axis}{key}": value for axis in "XYZ" for key, value in (("", 1), ("Unit", "pixel"))}
        ),
        (1, 1, 1),
        "vx",
        "OME",
    ),
    "OME-TIFF, nothing": row(ome_tiff(), (1, 1, 1), "nm", "assumed"),
    "TIFF tags, cm": row(
        plain_tiff(resolution=(1000000.0, 500000.0), resolutionunit="CENTIMETER"), (1, 0.02, 0.01), "um", ""
    ),
    "TIFF tags, 300 dpi": row(plain_tiff(resolution=(300, 300), resolutionunit="INCH"), (1, 1, 1), "nm", "assumed"),
    "TIFF tags, nothing": row(plain_tiff(), (1, 1, 1), "nm", "assumed"),
    "HDF5 resolution": row(hdf5(resolution=np.array([40, 5, 4])), (40, 5, 4), "nm", "attribute resolution"),
    "HDF5 voxel_size": row(hdf5(voxel_size=[40.0, 5, 4], units="um"), (40, 5, 4), "um", "attribute voxel_size"),
    "HDF5 element_size_um": row(hdf5(element_size_um=[0.25, 0.1, 0.2]), (0.25, 0.1, 0.2), "um", "element_size_um"),
    "HDF5 element_size_um as text": row(
        hdf5(element_size_um="0.25 0.1 0.2"), (0.25, 0.1, 0.2), "um", "element_size_um"
    ),
    "HDF5 voxel_size_nm": row(hdf5(voxel_size_nm=[40, 5, 4]), (40, 5, 4), "nm", "attribute voxel_size_nm"),
    "HDF5 group": row(hdf5_in_group({"resolution": [40, 5, 4], "unit": "um"}), (40, 5, 4), "um", "resolution"),
    "HDF5 file": row(hdf5_in_group({}, {"element_size_um": [0.25, 0.1, 0.2]}), (0.25, 0.1, 0.2), "um", ""),
    "HDF5 group before file": row(
        hdf5_in_group({"voxel_size": [40, 5, 4]}, {"element_size_um": [1, 1, 1]}), (40, 5, 4), "nm", "voxel_size"
    ),
    "HDF5 offset": row(hdf5(resolution=[40, 4, 4], offset=[400, 40, 0]), (40, 4, 4), "nm", "resolution", (400, 40, 0)),
    "HDF5 units as list": row(hdf5(resolution=[4, 4, 4], units=["um"] * 3), (4, 4, 4), "um", "resolution"),
    "HDF5 units as bytes": row(hdf5(resolution=[4, 4, 4], units=np.bytes_("micrometer")), (4, 4, 4), "um", ""),
    "HDF5 text": row(hdf5(resolution=np.array([b"40", b"4", b"4"])), (40, 4, 4), "nm", "resolution"),
    "HDF5 empty offset": row(hdf5(resolution=[40, 4, 4], offset=h5py.Empty("f8")), (40, 4, 4), "nm", "resolution"),
    "axistags": row(hdf5(VOLUME.T, axistags=AXISTAGS), (40, 5, 4), "nm", "axistags"),
    "N5 resolution": row(n5(resolution=[4, 5, 40], offset=[0, 80, 400]), (40, 5, 4), "nm", "resolution", (400, 80, 0)),
    "N5 pixelResolution": row(n5(pixelResolution=[4, 5, 40]), (40, 5, 4), "nm", "pixelResolution"),
    "N5 with a unit": row(
        n5(pixelResolution={"dimensions": [0.4, 0.5, 4], "unit": "um"}), (4, 0.5, 0.4), "um", "pixelResolution"
    ),
    "N5 of a group": row(n5(group={"resolution": [4, 5, 40]}), (40, 5, 4), "nm", "resolution"),
    "N5 level": row(
        n5(pixelResolution=[4, 5, 40], downsamplingFactors=[2, 2, 1]), (40, 10, 8), "nm", "downsamplingFactors"
    ),
    "N5 of a group, listed": row(
        n5(group={"resolution": [4, 5, 40], "downsamplingFactors": [[2, 2, 1], [4, 4, 2]]}), (40, 10, 8), "nm", ""
    ),
    "N5 axes": row(n5(VOLUME.T, axes=["z", "y", "x"], resolution=[40, 5, 4]), (40, 5, 4), "nm", "resolution"),
    "N5 of COSEM": row(n5(transform=COSEM), (40, 4, 4), "nm", "transform", (400, 80, 0)),
    "zarr of COSEM": row(zarr_array(transform=COSEM), (40, 4, 4), "nm", "transform", (400, 80, 0)),
    "zarr voxel_size": row(zarr_array(voxel_size=[40, 5, 4]), (40, 5, 4), "nm", "attribute voxel_size"),
    "zarr resolution": row(zarr_array(resolution=[40, 5, 4], unit="um"), (40, 5, 4), "um", "attribute resolution"),
    "zarr both": row(zarr_array(resolution=[1, 1, 1], voxel_size=[40, 5, 4]), (40, 5, 4), "nm", "voxel_size"),
    "zarr one number": row(zarr_array(voxel_size=4.0), (4, 4, 4), "nm", "voxel_size"),
    "zarr nested": row(zarr_array(voxel_size=[[40, 5, 4]]), (40, 5, 4), "nm", "voxel_size"),
    "zarr text": row(zarr_array(voxel_size="40,5,4"), (40, 5, 4), "nm", "voxel_size"),
    "zarr numbers with units": row(
        zarr_array(voxel_size=["40 nm", "5 nm", "0.004 µm"]), (0.04, 0.005, 0.004), "um", ""
    ),
    "zarr nulls": row(zarr_array(voxel_size=[None] * 3, offset=None), (1, 1, 1), "nm", "assumed"),
    "zarr units differ": row(
        zarr_array(voxel_size=[0.04, 4, 4], units=["um", "nm", "nm"], offset=[0.4, 0, 0]),
        (40, 4, 4),
        "nm",
        "voxel_size",
        (400, 0, 0),
    ),
    "zarr metres": row(zarr_array(voxel_size=[4e-06, 2e-06, 2e-06], units="m"), (4, 2, 2), "um", "voxel_size"),
    "zarr ångström": row(zarr_array(voxel_size=[40, 20, 20], units="Å"), (4, 2, 2), "nm", "voxel_size"),
    "dimension_names": row(
        zarr_array(VOLUME.T, 3, ["x", "y", "z"], voxel_size=[4, 5, 40]), (40, 5, 4), "nm", "voxel_size"
    ),
    "axis_names": row(zarr_array(VOLUME.T, axis_names=["x", "y", "z"]), (1, 1, 1), "nm", "assumed"),
    "_ARRAY_DIMENSIONS": row(zarr_array(VOLUME.T, _ARRAY_DIMENSIONS=["x", "y", "z"]), (1, 1, 1), "nm", "assumed"),
    "xarray coordinates": row(
        xarray_group({"z": [20.0, 60, 100, 140], "y": np.arange(20) * 4.0, "x": np.arange(24) * 4.0 + 2}),
        (40, 4, 4),
        "nm",
        "coordinates",
        (0, -2, 0),
    ),
    "xarray, uneven coordinates": row(xarray_group({"z": [0.0, 40, 90, 120]}), (1, 1, 1), "nm", "assumed"),
    "xarray, numbers that count": row(xarray_group({"z": np.arange(4)}, unit=None), (1, 1, 1), "nm", "assumed"),
    "OME-Zarr 0.4": row(ome_zarr(PYRAMID), (40, 4, 4), "nm", "OME-Zarr 0.4", (380, 78, -2)),
    "OME-Zarr 0.5": row(ome_zarr(PYRAMID, version="0.5"), (40, 4, 4), "nm", "OME-Zarr 0.5", (380, 78, -2)),
    "OME-Zarr 0.6": row(ome_zarr(PYRAMID, version="0.6"), (40, 4, 4), "nm", "OME-Zarr 0.6", (380, 78, -2)),
    "OME-Zarr, of no place": row(ome_zarr([[scale(40, 4, 4)]]), (40, 4, 4), "nm", "OME-Zarr"),
    "OME-Zarr, scale of the image": row(
        ome_zarr([[scale(1, 1, 1), translation(10, 0, 0)]], image=[scale(40, 4, 4)]),
        (40, 4, 4),
        "nm",
        "OME-Zarr",
        (380, -2, -2),
    ),
    "OME-Zarr, translation of the image": row(
        ome_zarr([[scale(40, 4, 4)]], image=[scale(1, 1, 1), translation(400, 80, 0)], version="0.5"),
        (40, 4, 4),
        "nm",
        "OME-Zarr",
        (380, 78, -2),
    ),
    "OME-Zarr, units differ": row(
        ome_zarr([[scale(0.04, 4, 4)]], space_axes("micrometer", "nanometer", "nanometer")),
        (40, 4, 4),
        "nm",
        "OME-Zarr",
    ),
    "OME-Zarr, x first": row(
        ome_zarr([[scale(4, 5, 40)]], space_axes("nanometer", "nanometer", "nanometer", names="xyz"), data=VOLUME.T),
        (40, 5, 4),
        "nm",
        "OME-Zarr",
    ),
    "OME-Zarr, one transformation": row(ome_zarr([scale(40, 4, 4)]), (40, 4, 4), "nm", "OME-Zarr"),
    "OME-Zarr, no unit": row(ome_zarr([[scale(40, 4, 4)]], space_axes()), (40, 4, 4), "nm", "OME-Zarr"),
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_what_a_file_says_is_kept(said, tmp_path):
    """Voxels, voxel size, place and unit are those of the file, whoever wrote it; the source is named."""
    save, size, offset, unit, source = said
    found = import_volume(save(tmp_path), tmp_path / "out.zarr" / "raw")
    assert found.voxel_size == pytest.approx(size)
    assert found.offset == pytest.approx(offset)
    assert found.units == (unit,) * 3
    assert source in found.attributes["source"]["said"]["voxel size"]
    assert (open_array(Volume(path=tmp_path / "out.zarr" / "raw"))[:] == VOLUME).all()


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_a_level_of_an_image_lies_where_its_header_says(version, tmp_path):
    """Level 1 has its own voxels, voxel size and corner: (420 - 40, 82 - 4, 2 - 4)."""
    found = import_volume(ome_zarr(PYRAMID, version=version)(tmp_path), tmp_path / "out.zarr" / "raw", level=1)
    assert found.shape == (2, 10, 12)
    assert (found.voxel_size, found.offset) == ((80, 8, 8), (380, 78, -2))
    with pytest.raises(BadInput, match="no such level of the image; got 2, wanted 0 to 1"):
        import_volume(tmp_path / "a.zarr", tmp_path / "out.zarr" / "more", level=2)


@pytest.mark.parametrize(("level", "told"), [(0, False), (1, True)])
@pytest.mark.parametrize("part", ["", "s1"])
def test_a_level_with_the_size_of_the_largest_is_told(level, told, part, tmp_path):
    """Programs that write one scale for all levels are believed, but not without a word."""
    source = ome_zarr([[scale(40, 4, 4)], [scale(40, 4, 4)]])(tmp_path)
    remarks: list[str] = []
    options = {} if part else {"level": level}
    found = import_volume(source / part, tmp_path / "out.zarr" / "raw", say=remarks.append, **options)
    assert found.voxel_size == (40, 4, 4)
    is_told = any("gives level s1 the voxel size of s0, which has more voxels" in line for line in remarks)
    assert is_told == (told or bool(part))


def test_levels_of_an_image_of_no_place_begin_at_one_corner(tmp_path):
    """If the largest level has no translation its corner is 0, and a smaller one that was averaged begins there too."""
    levels = [[scale(40, 4, 4)], [scale(80, 8, 8), translation(20, 2, 2)]]
    source = ome_zarr(levels)(tmp_path)
    for level in (0, 1):
        assert import_volume(source, tmp_path / f"{level}.zarr" / "raw", level=level).offset == (0, 0, 0)


@pytest.mark.parametrize("level", [0, 1])
def test_levels_of_an_n5_pyramid_begin_at_one_corner(level, tmp_path):
    """`--level` chooses s1, whose voxels are larger by its factors."""
    for number in (0, 1):
        part = VOLUME[:, :: number + 1, :: number + 1]
        n5_dataset(tmp_path / "a.n5" / "em" / f"s{number}", part, downsamplingFactors=[number + 1, number + 1, 1])
    (tmp_path / "a.n5" / "em" / "attributes.json").write_text(json.dumps({"resolution": [4, 4, 40]}))
    found = import_volume(tmp_path / "a.n5", tmp_path / "out.zarr" / "raw", level=level)
    assert found.voxel_size == (40, 4 * (level + 1), 4 * (level + 1))
    assert found.shape == (4, 20 // (level + 1), 24 // (level + 1))


@pytest.mark.parametrize("named", ["container", "group", "dataset"])
@pytest.mark.parametrize("told", ["downsamplingFactors", "scales", "nowhere"])
def test_a_level_of_an_n5_pyramid_is_as_large_as_anybody_tells(named, told, tmp_path):
    """The size of s0 is never that of s1, whether a group or only the sizes of the levels tell the factors."""
    for number in (0, 1):
        part = VOLUME[:, :: number + 1, :: number + 1]
        n5_dataset(tmp_path / "a.n5" / "setup0" / "timepoint0" / f"s{number}", part)
    factors = {} if told == "nowhere" else {told: [[1, 1, 1], [2, 2, 1]]}
    (tmp_path / "a.n5" / "attributes.json").write_text(json.dumps({"n5": "2.5.0"}))
    (tmp_path / "a.n5" / "setup0" / "attributes.json").write_text(json.dumps({"resolution": [4, 4, 40], **factors}))
    place = {"container": "", "group": "setup0/timepoint0", "dataset": "setup0/timepoint0/s1"}[named]
    level = {} if named == "dataset" else {"level": 1}
    found = import_volume(tmp_path / "a.n5" / place, tmp_path / "out.zarr" / "raw", **level)
    assert (found.voxel_size, found.shape) == ((40, 8, 8), (4, 10, 12))


NONSENSE = {
    "zero": [0, 0, 0],
    "negative": [40, -4, 4],
    "two": [4.0, 4.0],
    "booleans": [True, True, True],
    "infinite": [40, 4, float("inf")],
    "words": ["small", "small", "small"],
    "nested deeply": [[[40]], [[4]], [[4]]],
}


@pytest.mark.parametrize("save", [zarr_array, hdf5, n5])
@pytest.mark.parametrize("value", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("key", ["voxel_size", "resolution"])
def test_a_voxel_size_that_makes_no_sense_is_refused_unless_one_is_given(save, key, value, tmp_path):
    """One line names the attribute and what is wanted; with --voxel-size the file need not make sense."""
    if save is hdf5 and any(isinstance(part, list) for part in value):
        value = "nothing"
    source = save(**{key: value})(tmp_path)
    with pytest.raises(BadInput, match=f"attribute {key} makes no sense.*give --voxel-size"):
        import_volume(source, tmp_path / "out.zarr" / "raw")
    found = import_volume(source, tmp_path / "out.zarr" / "raw", voxel_size=(40, 4, 4))
    assert found.voxel_size == (40, 4, 4)


@pytest.mark.parametrize(
    ("said", "options", "size", "offset", "unit"),
    [
        ({"voxel_size": [4, 2, 2], "units": "um"}, {"units": "nm"}, (4, 2, 2), (0, 0, 0), "nm"),
        (
            {"voxel_size": [4, 2, 2], "units": "um", "offset": [8, 0, 0]},
            {"voxel_size": (40, 20, 20), "units": "nm"},
            (40, 20, 20),
            (8000, 0, 0),
            "nm",
        ),
        (
            {"voxel_size": [4, 2, 2], "units": "um"},
            {"offset": (5, 0, 0), "units": "nm"},
            (4000, 2000, 2000),
            (5, 0, 0),
            "nm",
        ),
        ({"voxel_size": [4, 2, 2]}, {"offset": (5, 0, 0)}, (4, 2, 2), (5, 0, 0), "nm"),
        ({}, {"voxel_size": (4, 2, 2), "units": "Micrometer"}, (4, 2, 2), (0, 0, 0), "um"),
    ],
)
def test_what_is_given_goes_before_what_is_said(said, options, size, offset, unit, tmp_path):
    """Options replace what the file says; what only the file says is turned into the given unit."""
    found = import_volume(zarr_array(**said)(tmp_path), tmp_path / "out.zarr" / "raw", **options)
    assert (found.voxel_size, found.offset) == (pytest.approx(size), pytest.approx(offset))
    assert found.units == (unit,) * 3


@pytest.mark.parametrize("save", [zarr_array, hdf5, n5])
@pytest.mark.parametrize(
    ("said", "remark"),
    [
        (
            {"spacing": [0.5, 0.1, 0.1]},
            r"its attribute spacing, \[0.5, 0.1, 0.1\], is not read: give it as --voxel-size",
        ),
        ({"VoxelSize": "0.5, 0.1, 0.1"}, "its attribute VoxelSize, .* is not read: give it as --voxel-size"),
        ({"spacing": [0.5, 0.1, 0.1], "voxel_size": [40, 4, 4]}, None),
        (
            {"voxel_size": [50, 4, 4], "resolution": [40, 4, 4]},
            # N5 counts `resolution` first.
            r"its attribute (resolution|voxel_size), \[.0, 4, 4\], says something else and is not taken: give --voxel",
        ),
        ({"voxel_size": [40, 4, 4], "units": "nm", "element_size_um": [0.04, 0.004, 0.004]}, None),
        ({"resolution": [4, 4, 40], "downsamplingFactors": [2, 2, 1]}, None),  # N5 takes both
        ({"spacing": "regular", "rescaled": [0, 1], "chunk": [8, 8, 8]}, None),
        ({"scale_factor": 0.01, "add_offset": 5}, "scale_factor 0.01 and add_offset 5 are not applied"),
        ({"scale_factor": 1.0, "add_offset": 0}, None),
    ],
)
def test_attributes_that_are_not_understood_are_told(save, said, remark, tmp_path):
    """What may be the voxel size where none is read, and what would change the numbers, are named."""
    remarks: list[str] = []
    import_volume(save(**said)(tmp_path), tmp_path / "out.zarr" / "raw", say=remarks.append)
    assert re.search(remark, " | ".join(remarks)) if remark else not remarks


def test_lengths_without_a_unit_are_refused_where_the_file_has_another(tmp_path):
    """Nobody knows whether 40 beside a file in micrometers means nanometers."""
    source = zarr_array(voxel_size=[0.04, 0.004, 0.004], units="um")(tmp_path)
    with pytest.raises(BadInput, match=r"--voxel-size: in which unit\?; got um from attribute units; say --units"):
        import_volume(source, tmp_path / "out.zarr" / "raw", voxel_size=(40, 4, 4))


def test_unknown_units_are_refused(tmp_path):
    """A unit that is no length is named, with what to do."""
    with pytest.raises(BadInput, match=r"attribute units makes no sense; got furlong.*give --units"):
        import_volume(zarr_array(units="furlong")(tmp_path), tmp_path / "out.zarr" / "raw")


def test_a_crop_moves_the_place(tmp_path):
    """The corner of the part, in the unit of the file."""
    source = ome_zarr([[scale(40, 4, 4), translation(20, 2, 2)]])(tmp_path)
    found = import_volume(source, tmp_path / "out.zarr" / "raw", crop="z=1:,x=3:")
    assert found.offset == (40, 0, 12)
    assert found.shape == (SHAPE[0] - 1, SHAPE[1], SHAPE[2] - 3)


def test_transformations_beyond_scale_and_translation_are_refused(tmp_path):
    """A rotated image has no place here: said, not ignored."""
    source = ome_zarr([[{"type": "affine", "affine": [[1, 0, 0, 0]] * 3}]], version="0.5")(tmp_path)
    with pytest.raises(BadInput, match="a transformation that is not known here; got affine"):
        import_volume(source, tmp_path / "out.zarr" / "raw")


def test_the_command_says_where_everything_comes_from(tmp_path, monkeypatch, capsys):
    """Axes, voxel size, offset, unit and range are a line each, with who says so or that it is assumed."""
    monkeypatch.chdir(tmp_path)
    imagej(pixel=(0.202, 0.202), spacing=0.5, unit="micron")(tmp_path)
    assert call(["import", "a.tif", "out.zarr/raw", "--json"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1:-1] == [
        "axes zyx from the ImageJ header",
        "voxel size 0.5, 0.202, 0.202 um from the ImageJ header",
        "offset 0, 0, 0 um assumed: the file says nothing",
        "unit um from the ImageJ header",
        "values 0 to 1919, uint16",
    ]
    assert json.loads(lines[-1])["said"]["unit"] == "um from the ImageJ header"
    np.save("b.npy", VOLUME)
    assert call(["import", "b.npy", "out.zarr/more", "--voxel-size", "40,4,4", "--channel", "0"]) == 0
    said = capsys.readouterr().out
    assert "40, 4, 4 nm given by --voxel-size" in said
    assert "zyx assumed: the file says nothing" in said


@pytest.mark.parametrize("address", ["s3://bucket/vol.zarr/raw", "https://host/vol.zarr", "gs://bucket/a"])
def test_addresses_are_refused_as_they_were_typed(address, tmp_path, monkeypatch, capsys):
    """What is imported is read from disks."""
    monkeypatch.chdir(tmp_path)
    assert call(["import", address, "out.zarr/raw"]) == 2
    assert f"{address}: is an address, and what is imported must be on a local disk" in capsys.readouterr().err


def test_sections_of_a_folder_say_their_size_along_y_and_x(tmp_path):
    """The first of them speaks for all; along z nothing is said, and that is."""
    (tmp_path / "sections").mkdir()
    for number, section in enumerate(VOLUME):
        imagej("YX", pixel=(0.2, 0.4), data=section, unit="um")(tmp_path)
        (tmp_path / "a.tif").rename(tmp_path / "sections" / f"s{number}.tif")
    found = import_volume(tmp_path / "sections", tmp_path / "out.zarr" / "raw")
    assert found.voxel_size == pytest.approx((1, 0.4, 0.2))
    said = found.attributes["source"]["said"]["voxel size"]
    assert said == (
        "z 1 um assumed: the file says nothing; y 0.4, x 0.2 um from the ImageJ header of the first section"
    )
