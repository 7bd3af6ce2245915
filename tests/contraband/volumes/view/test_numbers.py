"""Segments whose threshold is moved, against those that a run writes."""

from __future__ import annotations

import json
import urllib.request

import numpy as np
import pytest

import contraband
from blockwise.arrays.volume import read
from blockwise.errors import BadInput
from contraband.volumes.monitor.serving import tunnel
from contraband.volumes.output import Output
from contraband.volumes.view.layers import LIVE
from contraband.volumes.view.numbers import open_live
from contraband.volumes.view.page import add_page
from contraband.volumes.view.picture import panels
from contraband.volumes.view.viewer import RunViewer, close_viewer
from tests.support.viewed import SHAPE, THRESHOLDS, viewed_run, viewed_settings
from tests.support.volumes import whole


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return viewed_run(tmp_path_factory.mktemp("viewed"))


@pytest.fixture
def live(settings):
    return open_live(settings)


def everything(live, factor=(1, 1, 1)):
    end = [-(-size // by) for size, by in zip(SHAPE, factor, strict=True)]
    return live.piece(np.zeros(3, int), np.array(end), factor)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_what_is_served_is_what_segment_writes(settings, live, threshold):
    """At a threshold that was written, every voxel has the number that is on disk."""
    live.set_threshold(threshold)
    assert (everything(live) == whole(Output(settings.output).segments(threshold))).all()


def test_any_other_threshold_is_that_of_a_result(settings, live):
    """At thresholds that nobody wrote, numbers are those that the result gives; moved there and back, too."""
    for threshold in (0.9, 0.45, 0.0, 0.45):
        live.set_threshold(threshold)
        assert (everything(live) == contraband.open_result(settings).segments(threshold)[...]).all()


def test_coarser_pieces_are_every_so_manyth_voxel(live):
    """A piece at a factor has the numbers of the first of the voxels that become one, also at the volume's end."""
    assert (everything(live, (3, 4, 1)) == everything(live)[::3, ::4]).all()


def test_one_object_is_cut_finer(settings, live):
    """It gets the numbers of its own threshold, all others keep theirs; at their threshold it is whole again."""
    live.set_threshold(0.3)
    before = everything(live)
    number = int(np.bincount(before.ravel().astype(np.int64)).argmax())
    live.cut_finer(number, 0.8)
    after = everything(live)
    mine = before == number
    assert (after[mine] == contraband.open_result(settings).segments(0.8)[...][mine]).all()
    assert (after[~mine] == before[~mine]).all()
    assert len(np.unique(after[mine])) > 1
    live.cut_finer(number, 0.3)
    assert (everything(live) == before).all()


def test_a_threshold_below_the_stop_is_refused(settings):
    """It cannot be had, and the numbers stay."""
    live = open_live(settings)
    live.stop = 0.2
    for threshold in (0.1, 1.01, float("nan")):
        with pytest.raises(BadInput, match="not available"):
            live.set_threshold(threshold)
    assert live.threshold == contraband.open_result(settings).evaluation["best"]["threshold"]


def test_nothing_is_written(settings):
    """Moving the threshold leaves the output as it is, to the last file."""
    before = {path: path.stat().st_mtime_ns for path in settings.output.rglob("*")}
    live = open_live(settings)
    live.set_threshold(0.77)
    everything(live)
    assert {path: path.stat().st_mtime_ns for path in settings.output.rglob("*")} == before


def test_before_agglomerate_there_are_no_segments(tmp_path):
    """A run that has come to edges has no live layer yet, and says so when a threshold is asked for."""
    settings = viewed_settings(tmp_path)
    contraband.run(settings, last="edges", progress=False)
    shown = RunViewer(settings, "127.0.0.1", 0)
    with pytest.raises(BadInput, match="cannot be chosen yet"):
        shown.set_threshold(0.5)
    assert LIVE not in shown.viewer.state.layers
    contraband.run(settings, last="agglomerate", progress=False)
    shown.refresh()
    assert [layer.name for layer in shown.viewer.state.layers if layer.visible] == ["raw", LIVE]
    close_viewer()


def test_the_page_says_what_is_shown_and_takes_changes(settings):
    """Facts are JSON: threshold, objects whose places have their number, false merges; a wrong change is a 400."""
    shown = RunViewer(settings, "127.0.0.1", 0)
    address = add_page(shown)

    def ask(change=None):
        data = None if change is None else json.dumps(change).encode()
        with urllib.request.urlopen(f"{address}{'facts' if data is None else 'change'}", data, timeout=30) as answer:
            return json.load(answer)

    facts = ask({"threshold": 0.6})
    stored = read(Output(settings.output).segments(0.6), whole_roi())
    assert facts["threshold"] == 0.6
    assert facts["share"] == 1
    assert all(stored[tuple(row["place"])] == int(row["number"]) for row in facts["objects"])
    sizes = {row["number"]: row["voxels"] for row in facts["objects"]}
    assert all((stored == int(number)).sum() == voxels for number, voxels in list(sizes.items())[:5])
    assert [row["voxel"] for row in facts["false_merges"]] == [
        row["voxel"] for row in contraband.open_result(settings).evaluation["false_merges"]
    ]
    for wrong in ({"threshold": 2}, {"threshold": "x"}, {"place": [0, 0]}, {"nothing": 1}, [1]):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask(wrong)
    assert ask() == facts
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(address.replace(shown.viewer.token, "guessed"), timeout=30)
    close_viewer()


def whole_roi():
    from funlib.geometry import Roi

    return Roi((0, 0, 0), SHAPE)


def test_the_tunnel_is_a_command():
    """The line for people on a login node forwards the port of the address."""
    assert tunnel("http://127.0.0.1:4711/view/abc/").startswith("ssh -N -L 4711:127.0.0.1:4711 ")


def test_the_picture_shows_raw_segments_and_truth(settings):
    """Without a browser: raw uses the range from dark to bright, segments are those of the best threshold."""
    found = panels(settings)
    best = contraband.open_result(settings).evaluation["best"]["threshold"]
    assert list(found) == ["raw", f"segments at {best:g}", "truth"]
    assert found["raw"].min() == 0
    assert found["raw"].max() == 1
    middle = contraband.open_result(settings).segments(best)[SHAPE[0] // 2]
    assert (found[f"segments at {best:g}"] == middle).all()
