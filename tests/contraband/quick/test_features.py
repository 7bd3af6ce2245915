"""What quick heads are shown besides Gaussian features: embeddings of an encoder, the same for every region."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput
from contraband.cli import call
from contraband.label.image import FeatureImage
from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.quick.file import Recipe, fingerprint, load_head
from contraband.volumes.settings import VolumeSettings
from tests.support.labelled import drawn, labelled_image
from tests.support.tiny import MODELS
from tests.support.trained import store_network
from tests.support.volumes import store_volume, whole

SHAPES = {2: (2, 61, 70), 3: (14, 40, 46)}


pytestmark = pytest.mark.usefixtures("one_thread")


def labelled_session(folder: Path, dims: int, features: str, each: int = 8) -> LabelSession:
    """A session on a stored volume, with points of both classes."""
    raw, classes, _ = labelled_image(SHAPES[dims], spacing=9)
    store_volume(folder / "vol.zarr" / "raw", raw)
    store_network(folder / "encoder", dims)
    volume = VolumeSettings.parse({"output": "out.zarr", "fragments": {"per_section": dims == 2}}, "test")
    settings = LabelSettings(features=features, encoder=folder / "encoder")
    session = LabelSession(Volume(path=folder / "vol.zarr" / "raw"), volume, settings)
    for voxel, label in zip(*drawn(classes, each), strict=True):
        session.click(voxel, label)
    return session


@pytest.mark.parametrize("features", ["embeddings", "both"])
@pytest.mark.parametrize("dims", [2, 3])
def test_embeddings_are_those_of_the_whole_image(tmp_path, dims, features):
    """Voxel by voxel, in a box and in tiles a session sees the same numbers."""
    session = labelled_session(tmp_path, dims, features)
    box = Roi((0, 3, 5), (SHAPES[dims][0], 20, 17))
    found = session.image.features(box)
    channels = MODELS[dims]["num_fmaps"]
    assert len(found) == session.image.count == channels + ({2: 28, 3: 27}[dims] if features == "both" else 0)
    for voxel in ((1, 4, 6), (1, 22, 21)):
        here = (slice(None), *np.subtract(voxel, box.begin))
        np.testing.assert_allclose(session.image.features_at(voxel), found[here], atol=2e-4, rtol=1e-3)
    tiled = np.empty_like(found)
    for tile, values in session.image.over_tiles(box, np.copy):
        tiled[(slice(None), *(tile - box.begin).to_slices())] = values
    np.testing.assert_allclose(tiled, found, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_head_on_embeddings_predicts_blockwise(tmp_path, monkeypatch, dims):
    """A run with the file of the head stores what the session saw, but for rounding, whatever the blocks are."""
    monkeypatch.chdir(tmp_path)
    session = labelled_session(tmp_path, dims, "both")
    session.save_head(tmp_path / "head.npz")
    made = []
    for name, shape in (("a", [16, 64, 64]), ("b", [8, 24, 32])):
        content = {
            "volume": {"raw": "vol.zarr/raw"},
            "model": {"head": "head.npz"},
            "output": f"{name}.zarr",
            "blocks": {"shape": shape},
            "cluster": {"kind": "none"},
        }
        Path(f"{name}.yaml").write_text(yaml.safe_dump(content))
        assert call(["predict-blockwise", f"{name}.yaml"]) == 0
        made.append(whole(Volume(path=Path(f"{name}.zarr/affinities"))).astype(int))
    seen = session.affinities(Roi((0, 0, 0), session.shape))
    for one in made:
        assert np.abs(one - seen)[:, 1 if dims == 3 else 0 :, 1:, 1:].max() <= 1


def test_another_encoder_is_refused(tmp_path):
    """A head knows its encoder by its weights, not by its place; one that is gone or changed is said in a line."""
    session = labelled_session(tmp_path, 2, "embeddings")
    session.save_head(tmp_path / "head.npz")
    head, recipe = load_head(tmp_path / "head.npz")
    assert fingerprint(head, recipe) == fingerprint(head, recipe.model_copy(update={"encoder": Path("elsewhere")}))
    assert fingerprint(head, recipe) != fingerprint(head, recipe.model_copy(update={"weights": "others"}))
    volume = VolumeSettings.parse({"output": "out.zarr"}, "test")
    raw = labelled_image(SHAPES[3])[0]
    with pytest.raises(BadInput, match="does not fit"):
        LabelSession(raw, volume, LabelSettings(features="embeddings", encoder=tmp_path / "encoder"))
    flat = raw[:1]
    with pytest.raises(BadInput, match="stretched otherwise"):
        LabelSession(
            flat, volume, LabelSettings(features="embeddings", encoder=tmp_path / "encoder", stretch="section")
        )
    store_network(tmp_path / "encoder", 2, seed=1)
    with pytest.raises(BadInput, match="is not the encoder"):
        FeatureImage(flat, recipe)


def test_files_of_gaussian_heads_say_nothing_of_encoders():
    """What was written before there were embeddings is read as it was, with the same fingerprint."""
    told = Recipe(dims=2).told()
    assert set(told) == {"dims", "gaussian", "percentiles", "offsets"}
    assert Recipe.parse(json.loads(json.dumps(told)), "test") == Recipe(dims=2)
