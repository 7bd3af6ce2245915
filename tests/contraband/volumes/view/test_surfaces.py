"""The surface of one object, against its voxels."""

from __future__ import annotations

import numpy as np
import pytest

from contraband.volumes.view import surfaces
from contraband.volumes.view.surfaces import surface


def unpacked(packed):
    """Vertices (n, 3) and triangles (m, 3) of a surface."""
    count = int(np.frombuffer(packed, "<u4", 1)[0])
    vertices = np.frombuffer(packed, "<f4", 3 * count, 4).reshape(-1, 3).astype(np.float64)
    return vertices, np.frombuffer(packed, "<u4", offset=4 + 12 * count).reshape(-1, 3)


def enclosed(vertices, triangles):
    """The volume that a closed surface encloses: a sixth of the sum of its triangles' determinants."""
    return abs(np.linalg.det(vertices[triangles]).sum()) / 6


def looked(data, asked=None):
    def load(begin, end, factor):
        if asked is not None:
            asked.append(tuple(int(at) for at in begin))
        steps = zip(begin, end, factor, strict=True)
        return data[tuple(slice(int(low * by), int(high * by), by) for low, high, by in steps)]

    return load


def test_the_surface_encloses_the_object():
    """A box over many blocks, up to the end of the volume, has its size, its place and voxels that are not cubes."""
    data = np.zeros((70, 150, 200), np.uint64)
    data[10:70, 20:130, 30:180] = 5
    vertices, triangles = unpacked(surface(looked(data), data.shape, 5, (10, 20, 30), (2.0, 1.0, 1.0)))
    assert vertices.min(0).tolist() == [20, 20, 30]
    assert vertices.max(0).tolist() == [140, 130, 180]
    assert enclosed(vertices, triangles) == pytest.approx(120 * 110 * 150, rel=0.01)
    assert triangles.max() < len(vertices)


def test_only_the_blocks_of_the_object_are_read():
    """Of a large volume, a thin object that winds through it costs its own blocks and their neighbours."""
    data = np.zeros((64, 640, 640), np.uint64)
    data[30:34, 60:68, :] = 7
    asked = []
    vertices, _ = unpacked(surface(looked(data, asked), data.shape, 7, (30, 60, 0), (1, 1, 1)))
    assert vertices[:, 2].max() == 640
    assert len(asked) == len(set(asked)) == 20


def test_a_large_volume_is_looked_at_in_steps(monkeypatch):
    """Beyond the largest side, the surface is coarser and still at its place."""
    monkeypatch.setattr(surfaces, "LARGEST_VX", 50)
    data = np.zeros((40, 200, 200), np.uint64)
    data[8:32, 40:160, 40:160] = 3
    vertices, triangles = unpacked(surface(looked(data), data.shape, 3, (8, 40, 40), (1, 1, 1)))
    assert enclosed(vertices, triangles) == pytest.approx(24 * 120 * 120, rel=0.1)
    assert np.abs(vertices.min(0) - (8, 40, 40)).max() <= 4


def test_what_is_not_there_has_no_surface():
    """A number that is not at its place gives an empty surface."""
    data = np.ones((10, 10, 10), np.uint64)
    assert surface(looked(data), data.shape, 2, (0, 0, 0), (1, 1, 1)) == b"\0\0\0\0"
