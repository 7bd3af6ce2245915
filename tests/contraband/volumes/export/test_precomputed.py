"""Segments for Neuroglancer, read back by tensorstore; surfaces that are closed and enclose just their voxels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import contraband as cb
from contraband.cli import call
from tests.support.volumes import cells, store_volume

SHAPE = (10, 70, 66)
SIZE = (40, 10, 10)
OFFSET = np.array([2, 4, 2])
"""Along x, y, z, in voxels."""


def settings(folder: Path, block: tuple[int, int, int] = (5, 32, 40)) -> cb.VolumeSettings:
    """A small volume in this process."""
    if not (folder / "vol.zarr").exists():
        affinities, _ = cells(SHAPE)
        place = {"voxel_size": list(SIZE), "offset": [80, 40, 20], "units": ["nm"] * 3}
        store_volume(folder / "vol.zarr" / "affinities", affinities, SHAPE, **place)
    return cb.load_settings(
        {
            "affinities": folder / "vol.zarr" / "affinities",
            "output": folder / f"{'-'.join(map(str, block))}.zarr",
            "blocks": {"shape": block},
            "cluster": {"kind": "none"},
        }
    )


def mesh(folder: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (x, y, z) and triangles of a segment, all pieces together."""
    vertices, faces, count = [], [], 0
    for name in json.loads((folder / "mesh" / f"{number}:0").read_text())["fragments"]:
        data = (folder / "mesh" / name).read_bytes()
        (own,) = np.frombuffer(data, "<u4", 1)
        vertices.append(np.frombuffer(data, "<f4", 3 * own, 4).reshape(-1, 3))
        faces.append(np.frombuffer(data, "<u4", offset=4 + 12 * own).reshape(-1, 3) + count)
        count += int(own)
    return np.concatenate(vertices), np.concatenate(faces)


def test_a_precomputed_volume_holds_segments_and_their_surfaces(tmp_path):
    """tensorstore reads every voxel at its place; each surface is closed, and lies around its object."""
    tensorstore = pytest.importorskip("tensorstore", reason="tensorstore is optional")
    pytest.importorskip("zmesh", reason="zmesh is optional")
    chosen = settings(tmp_path)
    target = cb.export(chosen, tmp_path / "a.precomputed", compact=True, progress=False)
    named = cb.open_result(chosen).stored("segments/0.5")[...]
    numbers, dense = np.unique(np.append(named, 0), return_inverse=True)
    segments = dense[:-1].reshape(SHAPE)
    found = [
        tensorstore.open(
            {
                "driver": "neuroglancer_precomputed",
                "kvstore": {"driver": "file", "path": f"{target}/"},
                "scale_index": scale,
            }
        ).result()
        for scale in range(2)
    ]
    assert tuple(found[0].domain.origin) == (2, 4, 2, 0)
    assert tuple(found[1].domain.origin) == (1, 2, 2, 0)
    np.testing.assert_array_equal(found[0][..., 0].read().result().transpose(), segments)
    described = json.loads((target / "info").read_text())
    assert described["mesh"] == "mesh"
    assert described["scales"][0]["resolution"] == [10, 10, 40]
    for number in range(1, len(numbers)):
        vertices, faces = mesh(target, number)
        places = np.argwhere(segments == number)[:, ::-1]
        low, high = (places.min(0) + OFFSET) * SIZE[::-1], (places.max(0) + OFFSET + 1) * SIZE[::-1]
        np.testing.assert_allclose(vertices.min(0), low, atol=20.01)
        np.testing.assert_allclose(vertices.max(0), high, atol=20.01)
        _, same = np.unique(np.round(vertices, 2), axis=0, return_inverse=True)
        edges = np.sort(np.concatenate([same.ravel()[faces][:, pair] for pair in ([0, 1], [1, 2], [2, 0])]), axis=1)
        edges = edges[edges[:, 0] != edges[:, 1]]
        assert (np.unique(edges, axis=0, return_counts=True)[1] % 2 == 0).all()
        a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
        volume = (a * np.cross(b, c)).sum() / 6
        assert 0.5 * len(places) * 4000 < volume < 1.1 * len(places) * 4000


def test_without_tensorstore_it_is_refused_in_a_line(tmp_path, capsys, monkeypatch):
    """One line that says what to install, exit code 2, and nothing written."""
    import sys

    monkeypatch.setitem(sys.modules, "tensorstore", None)
    (tmp_path / "vol.yaml").write_text(settings(tmp_path).model_dump_json(), encoding="utf-8")
    assert call(["export", str(tmp_path / "vol.yaml"), str(tmp_path / "a.precomputed")]) == 2
    assert (
        'tensorstore: is not installed, and precomputed segments need it; pip install "contraband[export]"'
        in capsys.readouterr().err
    )
    assert not list(tmp_path.glob("*a.precomputed*"))
