"""Large packed images and padded images of different sizes, read in parts."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image

from contraband.importing import images, padding, tiff
from contraband.importing.formats import open_foreign
from contraband.importing.padding import extent, window
from contraband.importing.source import Wanted

RANDOM = np.random.default_rng(0)
PACKED = {
    "tiles": {"tile": (32, 48), "compression": "zlib"},
    "strips": {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
    "one strip": {"rowsperstrip": 1000, "compression": "zlib"},
}


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("shape", [(101, 130), (101, 130, 3)])
def test_a_large_packed_image_is_the_same_read_by_its_pieces(tmp_path, monkeypatch, packed, shape):
    """Any part of it is that of the whole, grey or in colour, in tiles or in strips."""
    image = RANDOM.integers(0, 60000, shape).astype(np.uint16)
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, image, photometric="rgb" if len(shape) > 2 else "minisblack", **PACKED[packed])
    monkeypatch.setattr(tiff, "LARGE_BYTES", 0)
    whole = []
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *_, **__: whole.append(1))
    with open_foreign(path, Wanted(scratch=tmp_path)) as source:
        assert source.shape == shape
        for rows, columns in (((0, 101), (0, 130)), ((30, 34), (47, 97)), ((100, 101), (129, 130))):
            part = (slice(*rows), slice(*columns), slice(0, 2))[: len(shape)]
            np.testing.assert_array_equal(source.read(part), image[part])
    assert not whole


def test_a_part_unpacks_no_tile_that_it_does_not_touch(tmp_path, monkeypatch):
    """Where all other tiles are destroyed, it is read as before; so an image is not unpacked again for each slab."""
    image = RANDOM.integers(0, 60000, (96, 144)).astype(np.uint16)
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, image, **PACKED["tiles"])
    with tifffile.TiffFile(path) as file:
        (page,) = file.pages
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    with path.open("r+b") as file:
        for offset, count in places[:4] + places[5:]:
            file.seek(offset)
            file.write(bytes(count))
    monkeypatch.setattr(tiff, "LARGE_BYTES", 0)
    with open_foreign(path, Wanted(scratch=tmp_path)) as source:
        np.testing.assert_array_equal(source.read((slice(33, 64), slice(48, 96))), image[33:64, 48:96])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("height", [1, 40, 43])
def test_a_png_taken_over_in_bands_is_the_same(tmp_path, monkeypatch, mode, height):
    """Whatever its pixels are, and whether bands fill it or not."""
    depth = np.uint16 if mode == "I;16" else np.uint8
    image = Image.fromarray(RANDOM.integers(0, np.iinfo(depth).max, (height, 30)).astype(depth))
    image = image if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "image.png")
    whole, _ = images.read_image(tmp_path / "image.png")
    monkeypatch.setattr(images, "BAND_PX", 4 * 30)
    in_bands, _ = images.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(in_bands, whole, strict=True)
    assert np.asarray(image).shape == whole.shape


def test_a_large_png_is_held_once_and_no_longer_than_it_is_open(tmp_path, monkeypatch):
    """Beside the memory that Pillow unpacks it into; who keeps what was opened does not keep its pixels."""
    monkeypatch.setattr(images, "BAND_PX", 1 << 16)
    pixels = np.zeros((2000, 2000), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    tracemalloc.start()
    try:
        with open_foreign(tmp_path / "image.png", Wanted(scratch=tmp_path)) as source:
            held, most = tracemalloc.get_traced_memory()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert source.shape == pixels.shape
    assert pixels.nbytes <= held <= most < 1.5 * pixels.nbytes
    assert left < 0.5 * pixels.nbytes


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 4), (1, 5), (300, 4)])
def test_a_window_beyond_an_image_is_its_mirror_image_and_0_farther_away(monkeypatch, shape):
    """For masks of objects all of it is 0; how opaque a voxel is stays as it is."""
    monkeypatch.setattr(padding, "MIRRORED_VX", 5)
    image = RANDOM.integers(1, 255, shape).astype(np.uint8)
    height, width = shape[:2]
    around = [(0, 12), (0, 12), (0, 0)][: len(shape)]
    mirrored = np.pad(image, [(0, 5), (0, 5), (0, 0)][: len(shape)], mode="reflect")
    expected = {"mirror": np.zeros((height + 12, width + 12, *shape[2:]), np.uint8), "zero": np.pad(image, around)}
    expected["mirror"][: height + 5, : width + 5] = mirrored
    if len(shape) == 3:
        image[..., 3] = 200
        for one in expected.values():
            one[..., 3] = 200
    for kind in expected:
        for rows, columns in (
            ((0, height + 12), (0, width + 12)),
            ((2, height + 9), (1, 3)),
            ((height + 6, height + 8), (0, 3)),
        ):
            part = slice(*rows), slice(*columns)
            np.testing.assert_array_equal(window(image, *part, kind), expected[kind][part])


def test_a_stack_is_longer_than_its_largest_image_where_another_ends_near_it():
    """Else what looks around the end of that one would see the end of the stack."""
    assert extent([64, 64]) == 64
    assert extent([64, 63, 10]) == 64 + padding.SPARE_VX
    assert extent([640, 640 - padding.SPARE_VX, 10]) == 640
