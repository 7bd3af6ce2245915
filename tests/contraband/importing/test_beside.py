"""Voxel sizes that stand beside an array: in the XML of BigDataViewer and the description of a WEBKNOSSOS dataset."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from blockwise.arrays.volume import Volume, info, open_array
from blockwise.errors import BadInput
from contraband.cli import call
from contraband.importing.volume import import_volume
from tests.support.foreign import SHAPE, VOLUME, n5_dataset

SIZED = "<voxelSize><unit>{unit}</unit><size>{size}</size></voxelSize>"
SPIM = """<?xml version="1.0" encoding="UTF-8"?>
<SpimData version="0.2"><BasePath type="relative">.</BasePath>
<SequenceDescription><ImageLoader format="bdv.{kind}"><{kind} type="relative">{file}</{kind}></ImageLoader>
<ViewSetups><Attributes name="channel"><Channel><id>0</id></Channel></Attributes>
<ViewSetup><id>0</id><size>24 20 4</size>{sized}</ViewSetup>
<ViewSetup><id>1</id><size>24 20 4</size>{other}</ViewSetup></ViewSetups></SequenceDescription>
<ViewRegistrations><ViewRegistration timepoint="0" setup="0">{transforms}</ViewRegistration></ViewRegistrations>
</SpimData>
"""
AFFINE = '<ViewTransform type="affine"><affine>{}</affine></ViewTransform>'
CALIBRATION = "0.1 0 0 0 0 0.2 0 0 0 0 0.5 0"


def spim(unit="um", size="0.1 0.2 0.5", transforms=(CALIBRATION,), **more) -> str:
    """The XML of a data set."""
    said = {"kind": "hdf5", "file": "a.h5", "sized": SIZED.format(unit=unit, size=size)}
    other = SIZED.format(unit="nm", size="7 8 9")
    return SPIM.format(**{**said, "other": other, **more}, transforms="".join(map(AFFINE.format, transforms)))


def bdv_hdf5(folder: Path, dtype="uint16") -> Path:
    """An HDF5 file of BigDataViewer with two levels of two images."""
    with h5py.File(folder / "a.h5", "w") as file:
        for setup in ("s00", "s01"):
            file[f"{setup}/resolutions"] = np.array([[1.0, 1, 1], [2, 2, 1]])
            file[f"{setup}/subdivisions"] = np.array([[16, 16, 16], [16, 16, 16]])
            file[f"t00000/{setup}/0/cells"] = VOLUME.astype(dtype)
            file[f"t00000/{setup}/1/cells"] = VOLUME[:, ::2, ::2].astype(dtype)
    return folder / "a.h5"


def bdv_n5(folder: Path, **group: Any) -> Path:
    """The same as N5."""
    root = folder / "a.n5"
    for setup in ("setup0", "setup1"):
        n5_dataset(root / setup / "timepoint0" / "s0", VOLUME)
        n5_dataset(root / setup / "timepoint0" / "s1", VOLUME[:, ::2, ::2])
        (root / setup / "attributes.json").write_text(json.dumps({"downsamplingFactors": [[1, 1, 1], [2, 2, 1]]}))
        (root / setup / "timepoint0" / "attributes.json").write_text(json.dumps(group))
    (root / "attributes.json").write_text(json.dumps({"n5": "2.5.0"}))
    return root


BDV = {
    "hdf5": (bdv_hdf5, "t00000/s0{}/{}/cells", {}),
    "n5": (bdv_n5, "setup{}/timepoint0/s{}", {"kind": "n5", "file": "a.n5"}),
}


@pytest.fixture(params=BDV)
def imported(request, in_tmp):
    """Writes a data set of BigDataViewer with an XML, imports one of its arrays, and gives its description."""
    write, names, given = BDV[request.param]

    def do(text: str, setup=0, level=0, xml="a.xml", path=""):
        source = write(in_tmp)
        (in_tmp / xml).write_text(text.replace("%KIND%", given.get("kind", "hdf5")), "utf-8")
        name = names.format(setup, level)
        options = {} if request.param == "n5" and path else {"name": name}
        place = source if options else source / name
        return import_volume(place, in_tmp / "v.zarr/raw", say=do.told.append, **options)

    do.given, do.told = given, []
    return do


@pytest.mark.parametrize(
    ("setup", "level", "size", "unit"),
    [(0, 0, (0.5, 0.2, 0.1), "um"), (0, 1, (0.5, 0.4, 0.2), "um"), (1, 0, (9, 8, 7), "nm"), (1, 1, (9, 16, 14), "nm")],
)
@pytest.mark.parametrize("xml", ["a.xml", "dataset.xml"])
def test_the_xml_of_bigdataviewer_says_the_voxel_size(imported, setup, level, size, unit, xml):
    """Of each image and level, under whatever name; who says it is kept."""
    found = imported(spim(**imported.given), setup, level, xml)
    assert found.voxel_size == pytest.approx(size)
    assert (found.units, found.offset) == ((unit,) * 3, (0, 0, 0))
    assert f"BigDataViewer's {xml}" in str(found.attributes["source"]["said"])


def test_a_dataset_named_by_its_own_path_is_found_too(imported):
    """As of any N5."""
    assert imported(spim(**imported.given), path="whole").voxel_size == pytest.approx((0.5, 0.2, 0.1))


@pytest.mark.parametrize(
    ("transforms", "offset", "remark"),
    [
        ((), (0, 0, 0), None),
        (("0.1 0 0 3 0 0.2 0 4 0 0 0.5 5",), (5, 4, 3), None),
        (("1 0 0 3 0 1 0 4 0 0 1 5", CALIBRATION), (5, 4, 3), None),
        (("0 -1 0 0 1 0 0 0 0 0 1 0", CALIBRATION), (0, 0, 0), "registers the image by more than a shift"),
        (("1 0 0 30 0 2 0 40 0 0 5 50",), (5, 4, 3), None),
        (("1 0 0 0 0 1 0 0 0 0 1 0",), (0, 0, 0), None),
        (("1 0 0 0 0 1 0 0 0 0 7 0",), (0, 0, 0), "registers the image by more than a shift"),
        (("1 0 0",), (0, 0, 0), "has a registration that cannot be read"),
        (("1 0 0 x 0 1 0 0 0 0 5 0",), (0, 0, 0), "has a registration that cannot be read"),
    ],
)
@pytest.mark.parametrize("level", [0, 1])
def test_a_shift_is_a_place_and_more_is_told(imported, transforms, offset, remark, level, in_tmp):
    """What turns or stretches is not applied, which is said; levels begin at one corner."""
    found = imported(spim(transforms=transforms, **imported.given), level=level)
    assert found.offset == pytest.approx(offset)
    told = [line for line in imported.told if "a.xml" in line]
    assert len(told) == bool(remark)
    assert (remark or "") in "".join(told)


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        (spim(file="other.h5"), ""),
        (spim(sized=""), "gives no voxel size for setup 0"),
        (spim(size="0.1 0.2"), "gives no voxel size for setup 0"),
        (spim(size="0.1 0.2 0"), "gives no voxel size for setup 0"),
        (spim(size="a b c"), "gives no voxel size for setup 0"),
        (spim(size="nan 1 1"), "gives no voxel size for setup 0"),
        ("<SpimData", ""),
        ("<html/>", ""),
        ("", ""),
        ("\0\0", ""),
        ('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]>' + spim().split("?>")[1], ""),
    ],
)
def test_an_xml_that_says_nothing_leaves_the_size_assumed(text, remark, in_tmp):
    """Nothing is guessed of one that is of another file, damaged, or made to trap a parser."""
    source = bdv_hdf5(in_tmp)
    (in_tmp / "a.xml").write_text(text)
    told: list[str] = []
    found = import_volume(source, in_tmp / "v.zarr/raw", name="t00000/s00/0/cells", say=told.append)
    assert found.voxel_size == (1, 1, 1)
    assert [line for line in told if "a.xml" in line] == ([f"{source}: a.xml beside it {remark}"] if remark else [])
    assert "assumed" in found.attributes["source"]["said"]["voxel size"]


def test_what_an_array_says_goes_before_the_xml(in_tmp):
    """The attribute that Paintera reads has no unit; where both differ, neither is believed."""
    bdv_n5(in_tmp, resolution=[0.1, 0.2, 0.5])
    (in_tmp / "a.xml").write_text(spim(kind="n5", file="a.n5"))
    found = import_volume(in_tmp / "a.n5", in_tmp / "v.zarr/same", name="setup0/timepoint0/s0")
    assert (found.voxel_size, found.units[0]) == ((0.5, 0.2, 0.1), "um")
    shutil.rmtree(in_tmp / "a.n5")
    bdv_n5(in_tmp, resolution=[4, 4, 40])
    with pytest.raises(BadInput, match=r"resolution and .* beside BigDataViewer's a.xml makes no sense.*--voxel-size"):
        import_volume(in_tmp / "a.n5", in_tmp / "v.zarr/other", name="setup0/timepoint0/s0")


def test_int16_of_bigdataviewer_is_told(in_tmp, capsys):
    """It stores numbers up to 65535 so; and the command prints who says the size."""
    bdv_hdf5(in_tmp, "int16")
    (in_tmp / "a.xml").write_text(spim())
    assert call(["import", "a.h5", "v.zarr/raw", "--name", "t00000/s00/0/cells"]) == 0
    told = "".join(capsys.readouterr())
    assert "voxel size  0.5, 0.2, 0.1 um from BigDataViewer's a.xml" in told
    assert "what is below 0 here is above 32767 there" in told


def webknossos(folder: Path, zarr_format=3, scale: Any = None, order: Any = "usual", names=None, **mag: Any) -> Path:
    """A dataset of WEBKNOSSOS with two levels of a layer, stored c, x, y, z."""
    data = VOLUME.T[None]
    options = {"dimension_names": names} if names else {}
    for level, step in (("1", 1), ("2-2-1", 2)):
        part = data[:, ::step, ::step]
        zarr.create_array(folder / f"color/{level}", data=part, zarr_format=zarr_format, **options)
    levels = [{"mag": one, "path": f"./color/{name}", **mag} for one, name in ((1, "1"), ([2, 2, 1], "2-2-1"))]
    for one in levels:
        if order:
            one["axisOrder"] = {"c": 0, "x": 1, "y": 2, "z": 3} if order == "usual" else order
    described = {
        "id": {"name": "a", "team": ""},
        "scale": scale or {"factor": [11.24, 11.24, 25], "unit": "nanometer"},
        "dataLayers": [{"name": "color", "category": "color", "numChannels": 1, "mags": levels}],
    }
    (folder / "datasource-properties.json").write_text(json.dumps(described))
    return folder


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("scale", "size", "unit"),
    [
        (None, (25, 11.24, 11.24), "nm"),
        ([4, 5, 40], (40, 5, 4), "nm"),
        ({"factor": [0.1, 0.2, 0.5], "unit": "micrometer"}, (0.5, 0.2, 0.1), "um"),
    ],
)
@pytest.mark.parametrize(("level", "factors"), [("1", (1, 1, 1)), ("2-2-1", (1, 2, 2))])
@pytest.mark.parametrize("order", ["usual", None])
def test_the_dataset_of_webknossos_says_axes_and_voxel_size(
    zarr_format, scale, size, unit, level, factors, order, in_tmp
):
    """In both versions, of each level; its default order of axes where none is written."""
    folder = webknossos(in_tmp / "a", zarr_format, scale, order)
    found = import_volume(folder / "color" / level, in_tmp / "v.zarr/raw")
    assert found.voxel_size == pytest.approx([one * factor for one, factor in zip(size, factors, strict=True)])
    assert found.units[0] == unit
    step = 1 if level == "1" else 2
    assert np.array_equal(open_array(Volume(path=in_tmp / "v.zarr/raw"))[:], VOLUME[:, ::step, ::step])
    assert "WEBKNOSSOS' datasource-properties.json" in str(found.attributes["source"]["said"])


@pytest.mark.parametrize("names", [["c", "x", "y", "z"], ["dim_0", "dim_1", "dim_2", "dim_3"]])
def test_names_that_only_count_are_no_names(names, in_tmp):
    """The dataset knows the axes where the array has counted them."""
    folder = webknossos(in_tmp / "a", names=names)
    assert import_volume(folder / "color/1", in_tmp / "v.zarr/raw").shape == SHAPE


def test_a_run_reads_the_same_as_an_import(in_tmp):
    """Sizes of an array that is in order, and a refusal of one that is not."""
    folder = webknossos(in_tmp / "a")
    with pytest.raises(BadInput, match=r"wrong axis order; got \['c', 'x', 'y', 'z'\]"):
        info(Volume(path=folder / "color/1"))
    described = folder / "datasource-properties.json"
    data = json.loads(described.read_text())
    data["dataLayers"][0]["mags"][0]["axisOrder"] = {"z": 0, "y": 1, "x": 2}
    described.write_text(json.dumps(data))
    shutil.rmtree(folder / "color/1")
    zarr.create_array(folder / "color/1", data=VOLUME)
    assert info(Volume(path=folder / "color/1")).voxel_size == (25, 11.24, 11.24)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"dataLayers": 3}',
        '{"dataLayers": [{"mags": [{"mag": "1"}]}]}',
        '{"dataLayers": [{"mags": [3]}]}',
    ],
)
def test_a_description_that_says_nothing_leaves_the_size_assumed(text, in_tmp):
    """Of a dataset that is damaged, or of other layers."""
    folder = webknossos(in_tmp / "a")
    (folder / "datasource-properties.json").write_text(text)
    found = import_volume(folder / "color/1", in_tmp / "v.zarr/raw", axes="cxyz")
    assert found.voxel_size == (1, 1, 1)


@pytest.mark.parametrize("scale", [{"factor": [1, 2]}, {"factor": [0, 1, 1]}, {"factor": "a"}, {}, [True, 1, 1]])
def test_a_scale_that_makes_no_sense_says_the_axes_alone(scale, in_tmp):
    """The order of the axes is not worse for it."""
    folder = webknossos(in_tmp / "a", scale=scale or {"unit": "nanometer"})
    found = import_volume(folder / "color/1", in_tmp / "v.zarr/raw")
    assert (found.shape, found.voxel_size) == (SHAPE, (1, 1, 1))


def test_n5_of_webknossos_has_its_voxel_size(in_tmp):
    """Of the order of axes N5 has its own notion."""
    n5_dataset(in_tmp / "a/color/2-2-1", VOLUME)
    webknossos(in_tmp / "a" / "described")
    shutil.move(in_tmp / "a/described/datasource-properties.json", in_tmp / "a")
    (in_tmp / "a/color/attributes.json").write_text('{"n5": "2.0.0"}')
    found = import_volume(in_tmp / "a/color/2-2-1", in_tmp / "v.zarr/raw")
    assert found.voxel_size == pytest.approx((25, 22.48, 22.48))
