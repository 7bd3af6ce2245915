"""Embeddings that are stored are read where one looks, if they are those that would be computed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput
from contraband.cli import call
from contraband.label.page import LabelPage
from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.label.stored import stored_embeddings
from contraband.volumes.settings import VolumeSettings
from tests.support.labelled import drawn, labelled_image
from tests.support.trained import store_network
from tests.support.volumes import store_volume, whole

SHAPES = {2: (2, 61, 70), 3: (14, 40, 46)}


pytestmark = pytest.mark.usefixtures("one_thread")


def embedded(folder: Path, dims: int, **model) -> Path:
    """A stored volume and its embeddings by a network, made by a run; the output."""
    store_volume(folder / "vol.zarr" / "raw", labelled_image(SHAPES[dims], spacing=9)[0])
    store_network(folder / "encoder", dims)
    content = {
        "volume": {"raw": str(folder / "vol.zarr" / "raw")},
        "model": {"checkpoint": str(folder / "encoder"), "output": "embeddings", "precision": "float32"} | model,
        "output": str(folder / "emb.zarr"),
        "blocks": {"shape": [8, 32, 32]},
        "cluster": {"kind": "none"},
    }
    (folder / "emb.yaml").write_text(yaml.safe_dump(content))
    assert call(["predict-blockwise", str(folder / "emb.yaml")]) == 0
    return folder / "emb.zarr"


def session_on(folder: Path, dims: int, features: str = "embeddings", each: int = 8) -> LabelSession:
    """A session on that volume, with points of both classes."""
    volume = VolumeSettings.parse({"output": "out.zarr", "fragments": {"per_section": dims == 2}}, "test")
    settings = LabelSettings(features=features, encoder=folder / "encoder")
    session = LabelSession(Volume(path=folder / "vol.zarr" / "raw"), volume, settings)
    for voxel, label in zip(*drawn(labelled_image(SHAPES[dims], spacing=9)[1], each), strict=True):
        session.click(voxel, label)
    return session


@pytest.mark.parametrize("features", ["embeddings", "both"])
@pytest.mark.parametrize("dims", [2, 3])
def test_stored_embeddings_are_shown_as_computed_ones_are(tmp_path, dims, features):
    """The head is the same to the bit, what is shown the same but for the rounding of float16, and it is read."""
    output = embedded(tmp_path, dims)
    computing, reading = (session_on(tmp_path, dims, features) for _ in range(2))
    raw = Volume(path=tmp_path / "vol.zarr" / "raw")
    stored = stored_embeddings(output, raw, reading.image)
    asked = []
    reading.image.stored = lambda box: asked.append(box) or stored(box)
    box = Roi((0, 3, 5), (SHAPES[dims][0], 30, 33))
    np.testing.assert_allclose(stored(box), computing.image.features(box)[-len(stored(box)) :], atol=2e-4, rtol=1e-3)
    np.testing.assert_allclose(reading.predict(box), computing.predict(box), atol=0.02)
    assert asked
    for name, session in (("a", computing), ("b", reading)):
        session.save_head(tmp_path / f"{name}.npz")
    with np.load(tmp_path / "a.npz") as one, np.load(tmp_path / "b.npz") as other:
        assert all(one[key].tobytes() == other[key].tobytes() for key in one.files)


def test_embeddings_that_are_others_are_refused(tmp_path):
    """Of another encoder, of raw that has changed, of other numbers, or not there: in a line."""
    output = embedded(tmp_path, 2)
    raw = Volume(path=tmp_path / "vol.zarr" / "raw")
    image = session_on(tmp_path, 2).image

    def refused(output: Path, image, wanted: str) -> None:
        with pytest.raises(BadInput, match=wanted) as caught:
            stored_embeddings(output, raw, image)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "vol.zarr", image, "holds no embeddings")
    store_network(tmp_path / "encoder", 2, seed=1)
    refused(output, session_on(tmp_path, 2).image, "holds embeddings of another encoder")
    embeddings = Volume(path=output / "embeddings")
    values = whole(embeddings)
    store_network(tmp_path / "encoder", 2)
    zarr.open_array(str(embeddings.path), mode="r+")[:] = values * np.float16(1.1)
    refused(output, image, "holds other embeddings than are computed here, at voxel")
    shutil.rmtree(raw.path)
    store_volume(raw.path, labelled_image(SHAPES[2], seed=1)[0])
    refused(output, image, "holds embeddings of other raw than .*, or it has changed since")


def test_embeddings_that_have_gaps_are_refused(tmp_path):
    """Where a run has left out tiles there are none."""
    output = embedded(tmp_path, 2, skip_constant=True)
    raw = Volume(path=tmp_path / "vol.zarr" / "raw")
    with pytest.raises(BadInput, match="computed otherwise, with skip_constant"):
        stored_embeddings(output, raw, session_on(tmp_path, 2).image)


def test_the_command_says_whether_embeddings_are_read(tmp_path, monkeypatch, capsys):
    """Its own output's if they fit, or named ones; others that are named are refused before anything is written."""
    monkeypatch.chdir(tmp_path)
    embedded(tmp_path, 2)

    def interrupted(page: LabelPage) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LabelPage, "run", interrupted)
    label = ["label", "emb.yaml", "--encoder", "encoder", "--set", "fragments.per_section=true"]
    assert call(label) == 0
    assert "embeddings are read from " in capsys.readouterr().out
    Path("out.yaml").write_text(Path("emb.yaml").read_text().replace("emb.zarr", "out.zarr"))
    label[1] = "out.yaml"
    assert call(label) == 0
    assert "embeddings are" not in capsys.readouterr().out
    assert call([*label, "--embeddings", "emb.zarr"]) == 0
    assert "embeddings are read from emb.zarr" in capsys.readouterr().out
    store_network(tmp_path / "encoder", 2, seed=1)
    assert call(["label", "emb.yaml", *label[2:]]) == 0
    assert "embeddings are computed where one looks: " in capsys.readouterr().out
    before = sorted(tmp_path.rglob("*"))
    assert call([*label, "--embeddings", "emb.zarr"]) == 2
    assert "holds embeddings of another encoder" in capsys.readouterr().err
    assert call(["label", "out.yaml", "--embeddings", "emb.zarr"]) == 2
    assert "--embeddings: of which encoder?" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
