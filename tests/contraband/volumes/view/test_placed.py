"""Where arrays are drawn whose offset is no whole number of voxels."""

from __future__ import annotations

import time

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.arrays.info import Info
from blockwise.arrays.volume import Volume, create, info, write
from contraband.label.viewing import under_mouse
from contraband.volumes.view.layers import image_layer, stored_volume
from contraband.volumes.view.source import coordinates, first_voxel
from tests.support.browser import opened_browser, picture

PATIENCE_S = 60
PX_PER_VOXEL = 40
SIZES = (0.5, 0.108, 0.108)  # um


def edge(path, voxels, channels=()):
    """An image that is bright from its sixth column on, `voxels` away from the origin along z, y, x."""
    data = np.zeros((*channels, 4, 16, 16), "uint8")
    data[..., 5:] = 255
    offset = tuple(size * at for size, at in zip(SIZES, voxels, strict=True))
    create(Volume(path=path), data.shape, "uint8", (4, 16, 16), like=found(data.shape, offset))
    write(Volume(path=path), Roi((0, 0, 0), (4, 16, 16)), data)
    return Volume(path=path)


def found(shape, offset):
    return Info(shape, np.dtype("uint8"), SIZES, offset, ("um",) * 3, (), (), (), None, {})


def left_of_the_bright(driver):
    """The first bright column of the picture, in pixels from the left; None while there is none."""
    columns = np.flatnonzero(picture(driver)[200:400].min(axis=(0, 2)) > 200)
    return int(columns[0]) if columns.size else None


@pytest.fixture(scope="module")
def browser():
    """A browser before an empty viewer, and that viewer."""
    import neuroglancer

    neuroglancer.set_server_bind_address("127.0.0.1", 0)
    viewer = neuroglancer.Viewer()
    with viewer.txn() as state:
        state.display_dimensions = ["x", "y", "z"]
        state.show_axis_lines = state.show_default_annotations = state.show_scale_bar = False
        state.cross_section_scale = 1 / PX_PER_VOXEL
        state.layout = "xy"
    with opened_browser((900, 600)) as driver:
        driver.get(viewer.get_viewer_url())
        yield driver, viewer
    neuroglancer.server.stop()


def drawn_at(browser, volume):
    """Where the edge of an image is drawn, in pixels, with one place in the middle of the view."""
    driver, viewer = browser
    source = stored_volume(volume, is_image=True)
    with viewer.txn() as state:
        state.layers.clear()
    with viewer.txn() as state:
        state.layers["image"] = image_layer("raw", volume, source)
        state.dimensions = coordinates(info(volume))
        state.position = [2.0, 8.0, 7.0]
    end = time.monotonic() + PATIENCE_S
    before = None
    while time.monotonic() < end:
        time.sleep(0.5)
        at = left_of_the_bright(driver)
        if at is not None and at == before:
            return at
        before = at
    return pytest.fail("no edge is on the screen")


@pytest.mark.parametrize("channels", [(), (2,)], ids=["plain", "channels"])
@pytest.mark.parametrize("part", [0.5, -0.25])
def test_parts_of_voxels_are_on_the_screen(part, channels, browser, tmp_path):
    """An image that begins between the voxels of another is drawn there, not up to half a voxel beside it."""
    whole = drawn_at(browser, edge(tmp_path / "whole.zarr", (0, 0, 0), channels))
    moved = drawn_at(browser, edge(tmp_path / "moved.zarr", (0, 0, part), channels))
    assert moved - whole == pytest.approx(part * PX_PER_VOXEL, abs=1.5)


@pytest.mark.parametrize(("voxels", "is_moved"), [((1, 9, 0), False), ((0.5, 9.26, 0), True)])
def test_sources_and_positions_say_the_same_place(voxels, is_moved, tmp_path):
    """Rounding makes no parts of voxels; where there are some, whole and part add up to the place."""
    volume = edge(tmp_path / "a.zarr", voxels)
    source = stored_volume(volume, is_image=True)
    layer = image_layer("raw", volume, source)
    transform = layer.source[0].transform
    assert (transform is not None) == is_moved
    parts = transform.matrix[:, -1] if is_moved else np.zeros(3)
    assert source.voxel_offset + parts == pytest.approx(voxels)
    assert first_voxel(info(volume)) == pytest.approx(voxels)


def test_the_voxel_under_the_mouse_is_counted_from_where_the_image_begins():
    """Half a voxel to the left of a border that lies between the voxels of others is the voxel before it."""

    class Seen:
        mouse_voxel_coordinates = (0.5, 3.4, 3.6)
        viewer_state = type("State", (), {"dimensions": None})

    assert tuple(under_mouse(Seen, (0.5, 0.5, 0.5))) == (0, 2, 3)
