"""The viewer, asked as a browser would ask it."""

from __future__ import annotations

import io
import json
import sys
import urllib.error
import urllib.request
import zlib

import numpy as np
import pytest
from funlib.geometry import Roi

import contraband
from blockwise.arrays.info import Info
from blockwise.arrays.volume import Volume, create, write
from blockwise.errors import BadInput
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.view.layers import find_layers
from contraband.volumes.view.pieces import StoredPieces
from contraband.volumes.view.viewer import RunViewer, close_viewer
from tests.support.viewed import SHAPE, viewed_run


def make(path, shape=(6, 7, 8), dtype="uint64", voxel_size=(40, 4, 4), offset=(80, 8, 0)):
    """A volume of random numbers and its content."""
    data = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    like = Info(shape, np.dtype(dtype), voxel_size, offset, ("nm",) * 3, (), (), (), None, {})
    create(Volume(path=path), shape, dtype, (4, 4, 4), like=like)
    write(Volume(path=path), Roi((0, 0, 0), shape[-3:]), data)
    return data


@pytest.fixture
def run(tmp_path):
    """What a run leaves, and its raw volume elsewhere."""
    contents = {
        "raw": make(tmp_path / "in.zarr" / "raw", dtype="uint8"),
        "affinities": make(tmp_path / "out.zarr" / "affinities", (3, 6, 7, 8), "uint8"),
        "fragments": make(tmp_path / "out.zarr" / "fragments"),
        "segments/0.5": make(tmp_path / "out.zarr" / "segments" / "0.5"),
    }
    return tmp_path / "out.zarr", {"raw": tmp_path / "in.zarr" / "raw"}, contents


def settings_of(run):
    """Settings of which only the places are used."""
    return VolumeSettings(output=run[0], volume={"raw": run[1]["raw"]}, model={"checkpoint": run[0]})


@pytest.fixture
def viewer(run):
    """A viewer on a free port of this machine."""
    yield RunViewer(settings_of(run), "127.0.0.1", 0).viewer
    close_viewer()


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def test_the_page_is_there_and_listens_on_this_machine_only(viewer):
    """The link that is printed opens a page, and it is a loopback address."""
    url = viewer.get_viewer_url()
    assert url.startswith("http://127.0.0.1:")
    assert b"<html" in fetch(url).lower()


def test_all_that_exists_is_a_layer(run, viewer):
    """One layer each for raw, affinities, fragments and segments, and none for labels that are not there."""
    assert [layer.name for layer in viewer.state.layers] == list(run[2])
    assert list(find_layers(run[0], {**run[1], "labels": run[0] / "nothing"})) == list(run[2])


def test_pieces_are_the_voxels_of_the_volume(run, viewer):
    """A piece that the browser asks for has the right voxels, at the right place, in the right size."""
    host = viewer.get_viewer_url().split("/v/")[0]
    for layer in viewer.state.layers:
        key = layer.layer.source[0].url.split("/")[-1]
        described = json.loads(fetch(f"{host}/neuroglancer/info/{key}"))
        extra = [0] * (len(described["shape"]) - 3)
        assert [int(at) for at in described["voxelOffset"]] == [*extra, 2, 2, 0]
        assert described["coordinateSpace"]["z"][0] == pytest.approx(40e-9)
        begin, end = [*extra, 1, 2, 3], [*(1 for _ in extra), 4, 6, 8]
        place = ",".join(map(str, begin)) + "/" + ",".join(map(str, end))
        scale = ",".join("1" for _ in begin)
        packed = fetch(f"{host}/neuroglancer/npz/{key}/{scale}/{place}")
        found = np.load(io.BytesIO(zlib.decompress(packed)), allow_pickle=False)
        part = tuple(slice(low, high) for low, high in zip(begin, end, strict=True))
        assert (found == run[2][layer.name][part]).all()


def test_nothing_is_read_before_it_is_looked_at(run, viewer, monkeypatch):
    """Opening the viewer reads metadata, and no piece of a layer."""
    monkeypatch.setattr(StoredPieces, "piece", lambda *_: pytest.fail("read too early"))
    RunViewer(settings_of(run), "127.0.0.1", 0)


def test_without_neuroglancer_the_extra_is_named(run, monkeypatch):
    """Where it is not installed, the message says what to install."""
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    with pytest.raises(BadInput, match=r"contraband\[view\]"):
        RunViewer(settings_of(run), "127.0.0.1", 0)


def test_nothing_to_show_is_said(tmp_path):
    """An output that no run has written yet is bad input."""
    with pytest.raises(BadInput, match="nothing to show yet"):
        find_layers(tmp_path / "out.zarr", {})


def test_a_port_in_use_is_said(run, viewer):
    """A taken port is one clear line."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadInput, match=r"--port: cannot listen.*use --port 0"):
            RunViewer(settings_of(run), "127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("bind", ["203.0.113.7", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_said(run, viewer, bind):
    """It is no fault of the port, and another port would not help."""
    with pytest.raises(BadInput, match="--bind: cannot listen"):
        RunViewer(settings_of(run), bind, 0)


def test_signed_labels_can_be_shown(tmp_path):
    """Segmentations are unsigned for the browser, whatever the file says."""
    make(tmp_path / "a.zarr" / "labels", dtype="int64")
    volume = Volume(path=tmp_path / "a.zarr" / "labels")
    assert StoredPieces(volume, is_image=False).dtype == np.uint64


def test_layers_appear_while_a_run_goes_on(run):
    """What is made later becomes a layer, and takes the place of the one that was switched on; the rest stays."""
    shown = RunViewer(settings_of(run), "127.0.0.1", 0)
    with shown.viewer.txn() as state:
        state.layers["affinities"].visible = True
    make(run[0] / "segments" / "0.7")
    shown.refresh()
    layers = {layer.name: layer.visible for layer in shown.viewer.state.layers}
    close_viewer()
    assert layers == {"raw": True, "affinities": True, "fragments": False, "segments/0.5": True, "segments/0.7": False}


def test_a_place_outside_is_refused(run):
    """A link to a voxel that the volume does not have is bad input, and the view stays where it is."""
    shown = RunViewer(settings_of(run), "127.0.0.1", 0)
    with pytest.raises(BadInput, match="outside of the volume"):
        shown.go([0, 0, 99])
    shown.go([1, 2, 3])
    assert [float(at) for at in shown.viewer.state.position] == [1 + 2 + 0.5, 2 + 2 + 0.5, 3.5]
    close_viewer()


def test_corrections_are_listed_with_their_places_and_shown_at_once(tmp_path):
    """Two objects that are joined while the page is open are one on it, under the numbers that are then written."""
    settings = viewed_run(tmp_path)
    try:
        viewer = RunViewer(settings, "127.0.0.1", 0)
        assert viewer.facts()["corrections"] == []
        viewer.set_threshold(settings.segment.thresholds[0])
        (one, other) = (tuple(row["place"]) for row in viewer.objects()[:2])
        contraband.correct(settings, join=[",".join(map(str, (*one, *other)))])
        viewer.refresh()
        assert [(row["kind"], row["pair"]) for row in viewer.facts()["corrections"]] == [("join", (one, other))]
        assert viewer.live is not None
        whole = viewer.live.piece(np.zeros(3, int), np.array(SHAPE), (1, 1, 1))
        assert whole[one] == whole[other] != 0
        assert np.array_equal(whole, contraband.open_result(settings).segments(settings.segment.thresholds[0])[:])
        contraband.correct(settings, undo=1)
        viewer.refresh()
        apart = viewer.live.piece(np.zeros(3, int), np.array(SHAPE), (1, 1, 1))
        assert apart[one] != apart[other]
        assert viewer.facts()["corrections"] == []
    finally:
        close_viewer()
