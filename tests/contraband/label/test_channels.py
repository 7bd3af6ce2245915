"""Raw with several channels, labelled: features of each, the same as in a run, and shown in colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput
from contraband.cli import call
from contraband.label.labelling import write_run
from contraband.label.page import LabelPage
from contraband.label.record import PointsRecord
from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.quick.file import load_head
from contraband.quick.predictor import QuickPredictor
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.view.viewer import close_viewer, open_server
from tests.support.labelled import drawn, labelled_image
from tests.support.trained import store_network
from tests.support.volumes import whole

FLAT = (1, 90, 100)
DEEP = (24, 60, 50)


pytestmark = pytest.mark.usefixtures("one_thread")


def colours(shape) -> tuple[np.ndarray, np.ndarray]:
    """Raw (3, z, y, x) and classes: membranes in channel 2, noise in 1, and in 0 whether a voxel lies on the right."""
    raw, classes, _ = labelled_image(shape, spacing=9)
    noise = np.random.default_rng(5).integers(0, 255, shape).astype(np.uint8)
    right = np.broadcast_to(np.where(np.arange(shape[2]) < shape[2] // 2, 40, 200), shape)
    return np.stack([right + noise // 16, noise, raw]).astype(np.uint8), classes


def session_on(raw, channels, record=None, **settings) -> LabelSession:
    """A session that sees these channels of raw."""
    content = {"output": "out.zarr", "volume": {"channels": channels}}
    return LabelSession(raw, VolumeSettings.parse(content, "test"), LabelSettings(**settings), record)


def stored(folder: Path, raw: np.ndarray) -> Volume:
    """Raw on disk."""
    zarr.open_group(str(folder / "vol.zarr"), mode="a").create_array("raw", data=raw)
    return Volume(path=folder / "vol.zarr" / "raw")


def clicked(session: LabelSession, classes: np.ndarray, each: int = 8) -> LabelSession:
    """The session with so many points of each class."""
    for voxel, label in zip(*drawn(classes, each), strict=True):
        session.click(voxel, int(label))
    return session


@pytest.mark.parametrize("stretch", [None, "section"])
@pytest.mark.parametrize("channels", [None, [2, 0], [2]])
@pytest.mark.parametrize("shape", [FLAT, DEEP])
def test_every_channel_has_features_of_its_own(tmp_path, shape, channels, stretch):
    """Those of each channel alone, in the order of the settings, whether raw is stored or in memory."""
    raw, _ = colours(shape)
    box = Roi((0, 5, 7), (1, 20, 21))
    chosen = channels or [0, 1, 2]
    alone = [session_on(raw[one], None, stretch=stretch).image.features(box) for one in chosen]
    for volume in (raw, stored(tmp_path, raw)):
        image = session_on(volume, channels, stretch=stretch).image
        assert image.count == len(alone[0]) * len(chosen)
        np.testing.assert_array_equal(image.features(box), np.concatenate(alone))


def test_what_lies_in_two_channels_is_learnt():
    """Which half a membrane lies in takes both channels: three classes that neither can tell alone."""
    raw, classes = colours(FLAT)
    classes = np.where((classes == 1) & (raw[0] < 120), 0, classes)
    told = []
    for channels in ([0], [2], [2, 0]):
        session = clicked(session_on(raw, channels), classes, 12)
        told.append((session.predict(Roi((0, 0, 0), FLAT)).argmax(0) == classes).mean())
    assert told[2] > 0.75
    assert max(told[:2]) < told[2] - 0.1


@pytest.mark.parametrize("channels", [None, [2, 0]])
@pytest.mark.parametrize("shape", [FLAT, DEEP])
def test_a_run_predicts_what_was_seen(tmp_path, monkeypatch, shape, channels):
    """The settings that the session writes keep the channels, and a run stores the affinities of the session."""
    monkeypatch.chdir(tmp_path)
    raw, classes = colours(shape)
    volume = stored(tmp_path, raw)
    content = {
        "volume": {"raw": "vol.zarr/raw", "channels": channels},
        "output": "out.zarr",
        "blocks": {"shape": [8, 32, 32]},
        "cluster": {"kind": "none"},
    }
    with PointsRecord(tmp_path / "points.csv", shape) as record:
        session = clicked(session_on(volume, channels, record, stretch="volume"), classes)
        settings = write_run(Path("vol.yaml"), content, session, record)
    assert call(["predict-blockwise", str(settings)]) == 0
    made = whole(Volume(path=Path("out.zarr/affinities")))
    seen = session.affinities(Roi((0, 0, 0), shape))
    inner = (slice(None), slice(1 if shape[0] > 1 else 0, None), slice(1, None), slice(1, None))
    np.testing.assert_array_equal(made[inner], seen[inner])
    head = yaml.safe_load(settings.read_text())["model"]["head"]
    assert QuickPredictor(*load_head(Path(head))).in_channels == len(channels or [0, 1, 2])


def test_the_viewer_shows_the_channels(tmp_path):
    """Up to three in colours, those of the settings; one alone in grey."""
    raw, _ = colours(FLAT)
    volume = stored(tmp_path, raw)
    wanted = {(2, 0): ["first(channel=2)", "second(channel=0)"], (1,): ["normalized(channel=1)"], None: ["(channel=2)"]}
    for channels, words in wanted.items():
        session = session_on(volume, channels and list(channels))
        viewer = open_server("127.0.0.1", 0)
        try:
            LabelPage(viewer, volume, session, lambda: "")
            shader = viewer.state.layers["raw"].layer.shader
            assert all(word in shader for word in words)
        finally:
            close_viewer()


def test_channels_that_cannot_be_shown_are_refused(tmp_path, monkeypatch, capsys):
    """In one line: a channel that is not there, an encoder of one channel, and a training on some channels only."""
    monkeypatch.chdir(tmp_path)
    raw, _ = colours(FLAT)
    for array, channels in ((raw, [3]), (raw[0], [1])):
        with pytest.raises(BadInput, match=r"volume\.channels"):
            session_on(array, channels)
    store_network(tmp_path / "encoder", 2)
    with pytest.raises(BadInput, match="sees another number of channels; got 1, wanted 2"):
        session_on(raw, [0, 1], features="embeddings", encoder=tmp_path / "encoder")
    assert session_on(raw, [1], features="embeddings", encoder=tmp_path / "encoder").image.channels == (1,)
    stored(tmp_path, raw)
    (tmp_path / "vol.yaml").write_text(
        yaml.safe_dump({"volume": {"raw": "vol.zarr/raw", "channels": [2, 0]}, "output": "out.zarr"})
    )
    before = sorted(tmp_path.rglob("*"))
    assert call(["label", "vol.yaml", "--train"]) == 2
    assert "volume.channels: --train trains on all channels of raw in their order" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
