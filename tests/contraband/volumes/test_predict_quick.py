"""Volumes predicted by a quick head: through the same stage as a network's, and the same whatever the blocks are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, info
from contraband.cli import call
from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.models.averaging.base import as_uint8
from contraband.models.classes import affinities_of
from contraband.quick.file import load_head
from contraband.volumes.settings import VolumeSettings
from tests.support.labelled import drawn, labelled_image, store_head
from tests.support.volumes import digest, store_volume, whole

SHAPE = (14, 50, 46)


def settings_file(folder: Path, name: str, **changes: object) -> str:
    """A VOLUME.yaml in the folder."""
    content = {
        "volume": {"raw": "vol.zarr/raw"},
        "model": {"head": "head.npz"},
        "output": f"{name}.zarr",
        "blocks": {"shape": [16, 64, 64]},
        "cluster": {"kind": "none"},
        **changes,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return f"{name}.yaml"


@pytest.fixture(params=[2, 3])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder with a volume and a head."""
    monkeypatch.chdir(tmp_path)
    store_volume(tmp_path / "vol.zarr" / "raw", labelled_image(SHAPE, seed=1)[0], voxel_size=[4, 2, 2])
    store_head(tmp_path / "head.npz", request.param, {2: "forest", 3: "logistic"}[request.param])
    return tmp_path


def test_blocks_do_not_change_what_a_head_predicts(folder: Path) -> None:
    """Blocks and tiles of any shape store the same bytes, and they are those of the whole volume in memory."""
    made = []
    for place, (block, tile) in enumerate([((16, 64, 64), None), ((8, 16, 24), None), ((14, 50, 16), [5, 7, 31])]):
        model = {"head": "head.npz", "tile": tile}
        name = settings_file(folder, f"out{place}", blocks={"shape": list(block)}, model=model)
        assert call(["predict-blockwise", name]) == 0
        made.append(Volume(path=folder / f"out{place}.zarr" / "affinities"))
    assert len({digest(volume) for volume in made}) == 1
    head, recipe = load_head(folder / "head.npz")
    features = recipe.gaussian.of(whole(Volume(path=folder / "vol.zarr" / "raw")), recipe.dims)
    expected = as_uint8(affinities_of(head.of_volume(features)[1], recipe.offsets))
    found = whole(made[0])
    assert info(made[0]).offsets == recipe.offsets
    assert len(np.unique(found)) > 50
    # beyond its border the volume is mirrored, so what joins it with nothing is not 0 there
    np.testing.assert_array_equal(found[:, 1:, 1:, 1:], expected[:, 1:, 1:, 1:])


@pytest.mark.parametrize("stretch", [None, "section", "volume"])
def test_a_run_predicts_what_was_seen_while_labelling(folder: Path, stretch: str | None) -> None:
    """The head of a labelling session, run blockwise, stores the affinities that the session showed, to the bit."""
    dims = load_head(folder / "head.npz")[1].dims
    classes = labelled_image(SHAPE, seed=1)[1]
    volume = VolumeSettings.parse({"output": "x.zarr", "fragments": {"per_section": dims == 2}}, "test")
    stored = Volume(path=folder / "vol.zarr" / "raw")
    session = LabelSession(stored, volume, LabelSettings(stretch=stretch))
    for voxel, label in zip(*drawn(classes, 5), strict=True):
        session.click(voxel, label)
    session.save_head(folder / "clicked.npz")
    blocks = {"shape": [8, 16, 24]}
    name = settings_file(folder, "out", blocks=blocks, model={"head": "clicked.npz"})
    assert call(["predict-blockwise", name]) == 0
    found = whole(Volume(path=folder / "out.zarr" / "affinities"))
    seen = session.affinities(Roi((0, 0, 0), SHAPE))
    np.testing.assert_array_equal(found[:, 1:, 1:, 1:], seen[:, 1:, 1:, 1:])


def test_a_head_goes_from_raw_to_segments_on_workers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`contraband run` does the whole line with two workers; run again it skips all, and the audit finds it whole."""
    dims = load_head(folder / "head.npz")[1].dims
    changes = {"fragments": {"per_section": dims == 2}, "blocks": {"shape": [16, 32, 32]}}
    name = settings_file(folder, "out", cluster={"workers": 2}, **changes)
    assert call(["run", name]) == 0
    segments = whole(Volume(path=folder / "out.zarr" / "segments" / "0.5"))
    assert len(np.unique(segments)) > 10
    capsys.readouterr()
    assert call(["run", name, "--json"]) == 0
    assert '"blocks_done": 0' in capsys.readouterr().out
    assert call(["audit", name, "--samples", "8"]) == 0


def test_another_head_makes_finished_blocks_stale(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A head that was fitted again is another model: the run says so; renamed it is the same."""
    dims = load_head(folder / "head.npz")[1].dims
    name = settings_file(folder, "out")
    assert call(["predict-blockwise", name]) == 0
    (folder / "head.npz").rename(folder / "renamed.npz")
    assert call(["predict-blockwise", settings_file(folder, "out", model={"head": "renamed.npz"})]) == 0
    store_head(folder / "renamed.npz", dims, each=21)
    capsys.readouterr()
    assert call(["predict-blockwise", name]) == 2
    assert "weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"head": "nosuch.npz"}, "nosuch.npz: no such head"),
        ({"head": "vol.yaml"}, "vol.yaml: is not a quick head"),
        ({"head": "head.npz", "output": "embeddings"}, "has no embeddings"),
        ({"head": "head.npz", "checkpoint": "x"}, "head are given"),
        ({"tile": [8, 8, 8]}, "none is given"),
    ],
)
def test_heads_that_cannot_work_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: dict, words: str
) -> None:
    """A missing file, another file, embeddings, two models and none: one line, exit 2, nothing written."""
    monkeypatch.chdir(tmp_path)
    store_volume(tmp_path / "vol.zarr" / "raw", labelled_image((4, 30, 30))[0])
    store_head(tmp_path / "head.npz", 3)
    assert call(["run", settings_file(tmp_path, "vol", output="out.zarr", model=model)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.npz", "vol.yaml", "vol.zarr"]
