"""Files as they are found: by what is in them, incomplete, locked, linked, packed, hidden."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
from h5py import h5d, h5p, h5s, h5t, h5z
from PIL import ExifTags, Image

from blockwise.arrays.volume import Volume, open_array
from blockwise.errors import BadInput
from contraband.importing.volume import import_volume
from tests.support.foreign import SHAPE, VOLUME, n5, ome_zarr, scale

GREY = (VOLUME % 251).astype(np.uint8)


def imported(path, tmp_path, **options):
    """(voxels, remarks) of an import."""
    remarks: list[str] = []
    import_volume(path, tmp_path / "out.zarr" / "raw", say=remarks.append, **options)
    return open_array(Volume(path=tmp_path / "out.zarr" / "raw"))[:], " | ".join(remarks)


def refused(path, tmp_path, **options) -> str:
    """The one line of a refusal, after which nothing is left."""
    with pytest.raises(BadInput) as caught:
        import_volume(path, tmp_path / "out.zarr" / "raw", **options)
    assert not (tmp_path / "out.zarr").exists()
    assert not list(tmp_path.glob(".importing-*"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["btf", "tf8", "lsm", "tif", "data", "h5", ""])
@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_file_is_known_whatever_its_name(suffix, big, tmp_path):
    """TIFF and BigTIFF are seen by how they begin."""
    path = tmp_path / f"a.{suffix}"
    tifffile.imwrite(path, VOLUME, bigtiff=big, photometric="minisblack")
    assert (imported(path, tmp_path)[0] == VOLUME).all()


@pytest.mark.parametrize("suffix", ["ims", "mat", "he5", "nc", "tif", "hdf", "anything"])
@pytest.mark.parametrize("userblock", [0, 512, 2048])
def test_an_hdf5_file_is_known_whatever_its_name(suffix, userblock, tmp_path):
    """HDF5 is seen by how it begins, also after a block of the user's own, as MATLAB writes one."""
    path = tmp_path / f"a.{suffix}"
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file["data"] = VOLUME
    assert (imported(path, tmp_path)[0] == VOLUME).all()


FOREIGN = {
    "NetCDF 3": (b"CDF\x01", "is NetCDF 3.*nccopy"),
    "old MATLAB": (b"MATLAB 5.0 MAT-file", "older than 7.3.*-v7.3"),
    "gzip": (b"\x1f\x8b\x08", "packed by gzip.*unpack it first"),
    "xz": (b"\xfd7zXZ\x00", "packed by xz.*unpack it first"),
    "tar": (bytes(257) + b"ustar", "a tar archive.*unpack it first"),
    "CZI": (b"ZISRAWFILE", "a CZI file of Zeiss.*OME-TIFF"),
    "OIB": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "OIB of Olympus.*OME-TIFF"),
    "DM4": (b"\x00\x00\x00\x04", "DigitalMicrograph.*OME-TIFF"),
    "NIfTI, big-endian": (b"\x00\x00\x01\x5c", "a NIfTI file.*TIFF or HDF5"),
    "MetaImage": (b"ObjectType = Image", "a MetaImage file.*TIFF or HDF5"),
    "DICOM": (bytes(128) + b"DICM", "a DICOM file.*TIFF or HDF5"),
    "MRC": (b"\x00" * 208 + b"MAP ", "an MRC file.*export it as TIFF"),
    "film": (b"RIFF\x00\x00\x00\x00AVI LIST", "a film.*PNG or TIFF"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS.*git lfs pull"),
    "web page": (b"<!DOCTYPE html>", "a web page.*load the file again"),
    "empty": (b"", "is empty"),
    "text": (b"hello", "in no known format"),
}


@pytest.mark.parametrize(("begin", "message"), FOREIGN.values(), ids=FOREIGN)
def test_formats_that_are_not_read_are_named(begin, message, tmp_path):
    """What a file is, and what to do with it."""
    path = tmp_path / "a.tif"
    path.write_bytes(begin + bytes(2000) * bool(begin))
    with pytest.raises(BadInput, match=message):
        import_volume(path, tmp_path / "out.zarr" / "raw")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("info", "Neuroglancer.*zarr or TIFF"),
        ("header.wkw", "WEBKNOSSOS.*zarr"),
        ("knossos.conf", "KNOSSOS"),
        ("notes.txt", "in no known format"),
    ],
)
def test_folders_that_are_not_read_are_named(file, message, tmp_path):
    """What a folder is, by a file in it, and what to do with it."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / file).write_text("{}")
    assert re.search(message, refused(folder, tmp_path))


@pytest.mark.parametrize("suffix", ["tif", "TIFF", "png", "bmp"])
def test_hidden_files_are_no_sections(suffix, tmp_path):
    """What macOS and Windows leave beside sections is left out, and sections come by their numbers."""
    folder = tmp_path / "sections"
    folder.mkdir()
    for number, section in enumerate(GREY, 8):
        path = folder / f"s{number}.{suffix}"
        Image.fromarray(section).save(path, format="TIFF" if suffix.lower().startswith("tif") else None)
        (folder / f"._s{number}.{suffix}").write_bytes(b"\0\5\x16\7" + bytes(100))
        Image.fromarray(section + 1).save(folder / f".s{number}.{suffix}", format="TIFF")  # an image, but hidden
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "notes.txt").write_text("taken on Monday")
    assert (imported(folder, tmp_path)[0] == GREY).all()


def save_section(path: Path, section: np.ndarray, kind: str) -> None:
    """One grey section as an image of some kind of pixels."""
    image = Image.fromarray(section)
    palette = image.convert("P")
    kinds = {
        "L": image,
        "RGB": image.convert("RGB"),
        "RGBA": image.convert("RGBA"),
        "LA": image.convert("LA"),
        "P": palette,
    }
    kinds[kind].save(path)


@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("many", [False, True])
def test_grey_images_are_grey_however_they_are_saved(kind, many, tmp_path):
    """Three equal colours, and a palette of greys, are one grey; a folder is a stack, one image a section."""
    folder = tmp_path / "sections"
    folder.mkdir()
    for number, section in enumerate(GREY):
        save_section(folder / f"{number:03}.png", section, kind)
    path = folder if many else folder / "000.png"
    made, _ = imported(path, tmp_path)
    assert (made == (GREY if many else GREY[:1])).all()


def test_deep_greys_keep_their_bits(tmp_path):
    """PNG may hold 16 bits, grey or in colour; none is lost."""
    Image.fromarray(VOLUME[3] * 30).save(tmp_path / "a.png")
    assert (imported(tmp_path / "a.png", tmp_path)[0] == VOLUME[3:] * 30).all()
    from imagecodecs import png_encode

    (tmp_path / "b.png").write_bytes(png_encode(np.stack([VOLUME[3] * 30] * 3, axis=-1)))
    assert (imported(tmp_path / "b.png", tmp_path / "deep")[0] == VOLUME[3:] * 30).all()


def test_jpeg_is_read(tmp_path):
    """A JPEG image is lossy; it is what Pillow makes of it."""
    Image.fromarray(GREY[0]).save(tmp_path / "a.jpg", quality=95)
    made, _ = imported(tmp_path / "a.jpg", tmp_path)
    assert (made[0] == np.asarray(Image.open(tmp_path / "a.jpg"))).all()


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_colours_are_chosen_or_refused(kind, tmp_path):
    """A colour image is no stack: one colour is taken by --channel, all of them as channels."""
    colours = np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / f"a.{kind}")
    assert "is in colour" in refused(tmp_path / f"a.{kind}", tmp_path)
    made, _ = imported(tmp_path / f"a.{kind}", tmp_path / "one", channel=(1,))
    assert (made == colours[None, :, :, 1]).all()
    made, _ = imported(tmp_path / f"a.{kind}", tmp_path / "all", channel=(0, 1, 2))
    assert (made == colours.transpose(2, 0, 1)[:, None]).all()


def test_a_section_in_colour_among_grey_ones_is_refused(tmp_path):
    """Which sections are grey is looked at in each."""
    (tmp_path / "sections").mkdir()
    for number in range(4):
        section = np.repeat(GREY[number][:, :, None], 3, axis=2)
        section[5, 5] = (1, 2, 3) if number == 2 else section[5, 5]
        Image.fromarray(section).save(tmp_path / "sections" / f"{number}.png")
    assert "is in colour" in refused(tmp_path / "sections", tmp_path)


def test_a_palette_of_plain_greys_is_not_worth_a_word(tmp_path):
    """ImageJ writes one with many grey images."""
    greys = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    tifffile.imwrite(tmp_path / "a.tif", GREY[0], photometric="palette", colormap=greys, metadata=None)
    assert "palette" not in imported(tmp_path / "a.tif", tmp_path)[1]


def save_shown(path: Path, section: np.ndarray, shown: str) -> None:
    """A section whose header asks a viewer to turn it, or to show 0 as white; or a plain one."""
    if path.suffix == ".tif":
        tags = [(274, "H", 1, 6, True)] if shown == "turned" else []
        photometric = {"white": "miniswhite", "palette": "palette"}.get(shown, "minisblack")
        colours = np.random.default_rng(0).integers(0, 65536, (3, 256), "uint16") if shown == "palette" else None
        tifffile.imwrite(path, section, photometric=photometric, colormap=colours, extratags=tags, metadata=None)
        return
    exif = Image.Exif()
    if shown == "turned":
        exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(section).save(path, exif=exif)


SHOWN = [
    ("tif", "turned", "orientation 6"),
    ("png", "turned", "orientation 6"),
    ("tif", "white", "shows 0 as white"),
    ("tif", "palette", "the numbers of the palette are taken"),
]


@pytest.mark.parametrize(("suffix", "shown", "remark"), SHOWN)
def test_what_a_header_asks_of_a_viewer_is_told(suffix, shown, remark, tmp_path):
    """The numbers are those that are stored, and a line says what a viewer would show instead."""
    path = tmp_path / f"a.{suffix}"
    save_shown(path, GREY[0], shown)
    made, remarks = imported(path, tmp_path)
    assert (made == GREY[:1]).all()
    assert remark in remarks


@pytest.mark.parametrize(("suffix", "shown", "remark"), SHOWN)
def test_sections_that_are_shown_differently_are_refused(suffix, shown, remark, tmp_path):
    """One section of a folder that is turned, or in negative, is named instead of mixed with the others."""
    folder = tmp_path / "sections"
    folder.mkdir()
    for number, section in enumerate(GREY):
        save_shown(folder / f"{number}.{suffix}", section, shown if number == 1 else "as stored")
    line = refused(folder, tmp_path)
    assert re.search(rf"1.{suffix}: is not shown as the first.*{remark}", line)


def test_a_link_of_a_folder_that_leads_nowhere_is_named(tmp_path):
    """A section that is a link to a file that was moved is not left out in silence."""
    folder = tmp_path / "sections"
    folder.mkdir()
    tifffile.imwrite(folder / "0.tif", GREY[0])
    (folder / "1.tif").symlink_to(tmp_path / "moved.tif")
    assert re.search("1.tif: is a link to what is not there.*moved.tif", refused(folder, tmp_path))


def test_sections_that_are_missing_are_told_of(tmp_path):
    """Numbers that jump mean a section that was not copied."""
    (tmp_path / "sections").mkdir()
    for number in (1, 2, 4):
        Image.fromarray(GREY[0]).save(tmp_path / "sections" / f"s{number}.png")
    assert "between s2.png and s4.png" in imported(tmp_path / "sections", tmp_path)[1]


def ome_head(planes: str, uuid: str = "") -> str:
    """OME-XML of three sections with these TiffData elements."""
    return (
        f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" {uuid}>'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="24" SizeY="20" SizeZ="3" '
        'SizeC="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5" PhysicalSizeZ="2">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
    )


@pytest.mark.parametrize(
    ("names", "remark"),
    [
        (["z0_c0", "z0_c1", "z1_c0", "z1_c1"], "count by 2 numbers"),
        (["0", "0_mask", "1", "1_mask"], "of 2 kinds, as 0.tif and 0_mask.tif: all 4 files are sections"),
        (["1", "01", "2", "3"], "a number comes twice in the names, 1 first"),
        (["day2_z1", "day2_z2", "day2_z3", "day2_z4"], None),
        (["left", "right", "top", "bottom"], None),
    ],
)
def test_names_that_are_not_those_of_one_stack_are_told(names, remark, tmp_path):
    """Channels, masks among images, and doubled numbers are sections like others, and a line says so."""
    folder = tmp_path / "sections"
    folder.mkdir()
    for name, section in zip(names, GREY, strict=True):
        tifffile.imwrite(folder / f"{name}.tif", section)
    made, remarks = imported(folder, tmp_path)
    assert len(made) == 4
    assert remark in remarks if remark else not remarks


@pytest.mark.parametrize("kind", ["jpg", "tif", "folder"])
def test_labels_in_jpeg_are_refused(kind, tmp_path):
    """JPEG makes other numbers of those of objects; an image may be packed by it."""
    path = tmp_path / ("a.tif" if kind == "tif" else "images")
    if kind == "tif":
        tifffile.imwrite(path, GREY, compression="jpeg", photometric="minisblack")
    else:
        path.mkdir()
        for number, section in enumerate(GREY):
            Image.fromarray(section).save(path / f"{number}.jpg")
        path = path if kind == "folder" else path / "0.jpg"
    assert "packed by JPEG, which changes numbers" in refused(path, tmp_path, labels=True)
    assert imported(path, tmp_path)[0].shape[1:] == SHAPE[1:]


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_planes_come_in_the_order_of_the_header(compression, tmp_path):
    """An OME-TIFF may store its sections backwards."""
    planes = "".join(f'<TiffData FirstZ="{z}" IFD="{2 - z}" PlaneCount="1"/>' for z in range(3))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        for z in (2, 1, 0):
            head = ome_head(planes) if z == 2 else None
            file.write(GREY[z], description=head, metadata=None, photometric="minisblack", compression=compression)
    assert (imported(tmp_path / "a.ome.tif", tmp_path)[0] == GREY[:3]).all()


def test_a_series_of_several_files_is_read_whole_or_refused(tmp_path):
    """A section per file, named by the header of each; without one of them there is no volume."""
    ids = [f"urn:uuid:{number}1111111-1111-1111-1111-111111111111" for number in range(3)]
    names = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="m{z}.ome.tif">{ids[z]}</UUID></TiffData>'
        for z in range(3)
    )
    for z in range(3):
        head = ome_head(names, f'UUID="{ids[z]}"')
        tifffile.imwrite(tmp_path / f"m{z}.ome.tif", GREY[z], description=head, metadata=None, photometric="minisblack")
    assert (imported(tmp_path / "m0.ome.tif", tmp_path / "whole")[0] == GREY[:3]).all()
    (tmp_path / "m1.ome.tif").unlink()
    assert "images are missing" in refused(tmp_path / "m0.ome.tif", tmp_path)


def test_links_of_hdf5_are_followed(tmp_path):
    """A dataset behind a soft link, a hard link, or a link into another file; a dead link is named."""
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["deep/raw"] = VOLUME
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/raw"] = VOLUME
        file["hard"] = file["deep/raw"]
        file["soft"] = h5py.SoftLink("/deep/raw")
        file["far"] = h5py.ExternalLink("other.h5", "/deep/raw")
        file["dead"] = h5py.SoftLink("/nowhere")
        file["lost"] = h5py.ExternalLink("gone.h5", "/raw")
        file["deep/up"] = h5py.SoftLink("/")
    for name in ("deep/raw", "/deep/raw", "hard", "soft", "far", "deep/up/deep/raw"):
        assert (imported(tmp_path / "a.h5", tmp_path / name.replace("/", "-"), name=name)[0] == VOLUME).all()
    assert "a link to /nowhere, which is not there" in refused(tmp_path / "a.h5", tmp_path, name="dead")
    assert "a link to /raw in gone.h5" in refused(tmp_path / "a.h5", tmp_path, name="lost")
    assert "wanted deep/raw, far, hard, soft" in refused(tmp_path / "a.h5", tmp_path)


def test_virtual_datasets_need_their_parts(tmp_path):
    """A virtual dataset is read; with a part that is missing it would be zeros, and is refused."""
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["d"] = VOLUME
    layout = h5py.VirtualLayout(SHAPE, VOLUME.dtype)
    layout[:] = h5py.VirtualSource("part.h5", "d", SHAPE)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    assert (imported(tmp_path / "a.h5", tmp_path / "whole")[0] == VOLUME).all()
    (tmp_path / "part.h5").unlink()
    assert "has a part in part.h5, which is not there" in refused(tmp_path / "a.h5", tmp_path)


@pytest.mark.parametrize(
    ("code", "name"), [(32001, "blosc"), (32008, "bitshuffle"), (32015, "zstd"), (31999, "unknown")]
)
def test_a_missing_filter_is_named_with_its_package(code, name, tmp_path, monkeypatch):
    """HDF5 alone says that it cannot open a folder of plugins."""
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        packing = h5p.create(h5p.DATASET_CREATE)
        packing.set_chunk(SHAPE)
        packing.set_filter(code, h5z.FLAG_OPTIONAL, (2,))
        data = h5d.create(file.id, b"raw", h5t.NATIVE_UINT8, h5s.create_simple(SHAPE), packing)
        data.write_direct_chunk((0, 0, 0), b"x" * 500, 0)
    line = refused(tmp_path / "a.h5", tmp_path)
    assert f"packed by the filter {name} (HDF5 filter {code})" in line
    assert line.endswith("pip install hdf5plugin")


def test_a_file_that_another_program_writes_is_called_locked(tmp_path):
    """It is not damaged: close it there."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = VOLUME
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / "a.h5")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert "is locked: another program has it open" in refused(tmp_path / "a.h5", tmp_path)
        other.communicate()


def test_dimension_scales_of_netcdf_place_the_volume(tmp_path):
    """Coordinates are those of voxel centres: half a voxel after the corner."""
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["raw"] = VOLUME
        for number, (axis, step, first) in enumerate((("z", 40.0, 20.0), ("y", 4.0, 82.0), ("x", 4.0, 2.0))):
            file[axis] = first + step * np.arange(SHAPE[number])
            file[axis].attrs["units"] = "nm"
            file[axis].make_scale(axis)
            file["raw"].dims[number].attach_scale(file[axis])
    found = import_volume(tmp_path / "a.nc", tmp_path / "out.zarr" / "raw", name="raw")
    assert (found.voxel_size, found.offset, found.units[0]) == ((40, 4, 4), (0, 80, 0), "nm")


def test_matlab_files_are_turned(tmp_path):
    """MATLAB stores (row, column, section) backwards: what it shows as a section is one."""
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["raw"] = VOLUME.transpose(0, 2, 1)
        file["raw"].attrs["MATLAB_class"] = np.bytes_("uint16")
    assert (imported(tmp_path / "a.mat", tmp_path)[0] == VOLUME).all()


def test_imaris_files_are_read_by_level_time_and_channel(tmp_path):
    """The image without its padding, with the voxel size of each level."""
    with h5py.File(tmp_path / "a.ims", "w") as file:
        for level, time, channel in np.ndindex(2, 2, 2):
            group = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint {time}/Channel {channel}")
            part = VOLUME[:, :: level + 1, :: level + 1] + 100 * time + 10 * channel
            group["Data"] = np.pad(part, [(0, 4), (0, 4), (0, 8)])
            for axis, size in zip("ZYX", part.shape, strict=True):
                group.attrs[f"ImageSize{axis}"] = np.array(list(str(size)), "S1")
        image = file.create_group("DataSetInfo/Image")
        for number, (low, high) in enumerate(((1.0, 13.0), (0.0, 10.0), (0.0, 8.0))):
            image.attrs[f"ExtMin{number}"] = np.array(list(str(low)), "S1")
            image.attrs[f"ExtMax{number}"] = np.array(list(str(high)), "S1")
        image.attrs["Unit"] = np.array(list("um"), "S1")
    found = import_volume(tmp_path / "a.ims", tmp_path / "out.zarr" / "raw", time=1, channel=(1,))
    assert (found.voxel_size, found.offset, found.units[0]) == ((2, 0.5, 0.5), (0, 0, 1), "um")
    assert (open_array(Volume(path=tmp_path / "out.zarr" / "raw"))[:] == VOLUME + 110).all()
    smaller = import_volume(tmp_path / "a.ims", tmp_path / "out.zarr" / "small", level=1, time=0, channel=(0,))
    assert (smaller.shape, smaller.voxel_size) == ((4, 10, 12), (2, 1, 1))


@pytest.mark.parametrize("where", ["", "a.zarr"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zipped_zarr_is_read(where, zarr_format, tmp_path):
    """A zip of what is in the folder, or of the folder itself."""
    zarr.create_array(tmp_path / "a.zarr", name="raw", data=VOLUME, zarr_format=zarr_format)
    with zipfile.ZipFile(tmp_path / "a.zarr.zip", "w") as archive:
        for file in (tmp_path / "a.zarr").rglob("*"):
            if file.is_file():
                archive.write(file, Path(where, file.relative_to(tmp_path / "a.zarr")))
    assert (imported(tmp_path / "a.zarr.zip", tmp_path, name="raw")[0] == VOLUME).all()


def test_a_zipped_image_has_its_place(tmp_path):
    """OME-Zarr in one file (.ozx)."""
    source = ome_zarr([[scale(40, 4, 4)]], version="0.5")(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.ozx", "w") as archive:
        for file in source.rglob("*"):
            archive.write(file, file.relative_to(source))
    found = import_volume(tmp_path / "a.ozx", tmp_path / "out.zarr" / "raw")
    assert found.voxel_size == (40, 4, 4)


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_stale_consolidated_metadata_are_not_believed(zarr_format, tmp_path):
    """An array that was made later than the summary of its group is there all the same."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format)
    group.create_array("old", data=VOLUME)
    zarr.consolidate_metadata(tmp_path / "a.zarr")
    zarr.create_array(tmp_path / "a.zarr", name="new", data=VOLUME + 1, zarr_format=zarr_format)
    zarr.create_group(tmp_path / "a.zarr", path="sub", zarr_format=zarr_format)
    zarr.consolidate_metadata(tmp_path / "a.zarr", path="sub")
    zarr.create_array(tmp_path / "a.zarr", name="sub/later", data=VOLUME, zarr_format=zarr_format)
    assert (imported(tmp_path / "a.zarr", tmp_path, name="new")[0] == VOLUME + 1).all()
    assert (imported(tmp_path / "a.zarr", tmp_path / "sub", name="sub/later")[0] == VOLUME).all()
    assert "wanted new, old, sub/later" in refused(tmp_path / "a.zarr", tmp_path / "no")


@pytest.mark.parametrize(
    "options", [{"order": "F"}, {"dtype": ">u2"}, {"dtype": ">f4"}, {"order": "F", "dtype": ">i8"}]
)
def test_zarr_in_any_order_is_read(options, tmp_path):
    """Fortran order and big-endian numbers of zarr 2."""
    data = VOLUME.astype(options.get("dtype", "u2"))
    order = {"order": options["order"]} if "order" in options else {}
    zarr.create_array(tmp_path / "a.zarr", data=data, zarr_format=2, **order)
    assert (imported(tmp_path / "a.zarr", tmp_path)[0] == VOLUME).all()


@pytest.mark.parametrize(("fill", "meaning"), [(0, "its fill value 0"), (None, "0, since the array has no fill value")])
def test_chunks_that_are_missing_are_counted(fill, meaning, tmp_path):
    """A copy that broke off reads as if it were empty; only those of the part that is taken count."""
    source = zarr.create_array(
        tmp_path / "a.zarr", shape=SHAPE, chunks=(1, 20, 12), dtype="u2", fill_value=fill, zarr_format=2
    )
    source[:] = VOLUME + 1
    for name in ("1.0.0", "3.0.1"):
        (tmp_path / "a.zarr" / name).unlink()
    assert (
        f"2 of 8 chunks are missing on the disk and are read as {meaning}" in imported(tmp_path / "a.zarr", tmp_path)[1]
    )
    assert "1 of 4 chunks" in imported(tmp_path / "a.zarr", tmp_path / "part", crop="z=2:")[1]
    assert "missing" not in imported(tmp_path / "a.zarr", tmp_path / "whole", crop="z=2:3")[1]


def test_chunks_under_other_names_are_told(tmp_path):
    """Files of nested folders without a word of it in .zarray are not found: all of the array would be read as 0."""
    zarr.create_array(
        tmp_path / "a.zarr",
        data=VOLUME,
        chunks=(2, 20, 24),
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )
    described = json.loads((tmp_path / "a.zarr" / ".zarray").read_text())
    (tmp_path / "a.zarr" / ".zarray").write_text(json.dumps(described | {"dimension_separator": "."}))
    made, remarks = imported(tmp_path / "a.zarr", tmp_path)
    assert not made.any()
    assert re.search("none of its 2 chunks is on the disk.*dimension_separator", remarks)


def test_blocks_of_n5_that_are_missing_are_counted(tmp_path):
    """N5 leaves out empty blocks, and so does a copy that broke off."""
    source = n5()(tmp_path)
    (source / "s0" / "0" / "0" / "0").unlink()
    made, remarks = imported(source, tmp_path)
    assert not made.any()
    assert "none of its 1 chunks is on the disk" in remarks


def lz4_stream(data: bytes, packed: bool = True) -> bytes:
    """What lz4-java makes of it: frames of 1000 bytes and an empty one."""
    frames = []
    for begin in range(0, len(data), 1000):
        piece = data[begin : begin + 1000]
        body = bytes(numcodecs.LZ4().encode(piece))[4:] if packed else piece
        token = (0x20 if packed else 0x10) | 6
        frames.append(b"LZ4Block" + struct.pack("<Biii", token, len(body), len(piece), 0) + body)
    return b"".join(frames) + b"LZ4Block" + struct.pack("<Biii", 0x16, 0, 0, 0)


def test_label_multisets_are_no_numbers(tmp_path):
    """Blocks of Paintera hold lists of labels behind the type of plain ones: they are named."""
    assert "holds label multisets of Paintera" in refused(n5(GREY, isLabelMultiset=True)(tmp_path), tmp_path)


@pytest.mark.parametrize("packed", [True, False])
def test_n5_packed_with_lz4_is_read(packed, tmp_path):
    """Frames that are packed, and those that lz4 could not make smaller."""
    place = tmp_path / "a.n5" / "raw"
    (place / "0" / "0").mkdir(parents=True)
    size = [24, 20, 4]
    described = {"dimensions": size, "blockSize": size, "dataType": "uint16", "compression": {"type": "lz4"}}
    (place / "attributes.json").write_text(json.dumps(described))
    content = lz4_stream(VOLUME.astype(">u2").tobytes(), packed)
    (place / "0" / "0" / "0").write_bytes(struct.pack(">HH3I", 0, 3, *size) + content)
    assert (imported(tmp_path / "a.n5", tmp_path)[0] == VOLUME).all()


def test_a_killed_import_leaves_nothing_for_the_next(tmp_path):
    """What a process that was killed has left beside the target is removed by the next import there."""
    np.save(tmp_path / "a.npy", VOLUME)
    code = (
        "import os, signal, sys; from pathlib import Path; from contraband.importing.volume import import_volume; "
        "import_volume(Path('a.npy'), Path('out.zarr/raw'), "
        "progress=lambda done, _: done and os.kill(os.getpid(), signal.SIGKILL))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    assert ended.returncode == -9
    assert list(tmp_path.glob(".importing-*"))
    import_volume(tmp_path / "a.npy", tmp_path / "out.zarr" / "raw")
    assert not list(tmp_path.glob(".importing-*"))


def test_a_full_disk_blames_the_target(tmp_path):
    """The line names what is written, not what is read; what threads of zarr still write is removed too."""
    np.save(tmp_path / "a.npy", VOLUME)
    limited = (
        "import resource, signal, sys; from pathlib import Path; from blockwise.errors import BadInput; "
        "from contraband.importing.volume import import_volume; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: import_volume(Path('a.npy'), Path('out.zarr/raw'))\n"
        "except BadInput as error: print(error)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", limited], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.stdout.startswith("out.zarr/raw: cannot be written (File too large)"), ended.stdout + ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
