"""Exports as programs see them that others wrote, in an environment of their own: `make readers` makes it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import contraband as cb
from tests.support.paths import ROOT
from tests.support.volumes import cells, store_volume

READERS = ROOT / ".venv-readers"
pytestmark = pytest.mark.skipif(
    not (READERS / ".installed").exists(), reason="make readers installs what opens exports"
)
SHAPE = (10, 70, 66)
COARSE = (10, 35, 33)
SIZES = ([40, 10, 10], [40, 20, 20])
CORNER = [80.0, 20.0, 30.0]
CENTRES = ([100.0, 25.0, 35.0], [100.0, 30.0, 40.0])
"""Of the first voxel of both levels, in nanometres."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What was exported, by its kind; `raw` and `segments` as they are in the run, as .npy."""
    folder = tmp_path_factory.mktemp("foreign")
    affinities, _ = cells(SHAPE)
    place = {"voxel_size": [40, 10, 10], "offset": CORNER, "units": ["nm"] * 3}
    store_volume(folder / "vol.zarr" / "affinities", affinities, SHAPE, **place)
    store_volume(folder / "vol.zarr" / "raw", affinities[0], SHAPE, **place)
    settings = cb.load_settings(
        {
            "volume": {"raw": folder / "vol.zarr" / "raw"},
            "affinities": folder / "vol.zarr" / "affinities",
            "output": folder / "a.zarr",
            "blocks": {"shape": [5, 32, 40]},
            "segment": {"numbers": "compact"},
            "cluster": {"kind": "none"},
        }
    )
    names = {"0.4": "old.ome.zarr", "0.5": "new.ome.zarr"}
    found = {
        version: cb.export(settings, folder / names[version], ome_version=version, progress=False) for version in names
    }
    found["tiff"] = cb.export(settings, folder / "a.ome.tif", progress=False)
    found["precomputed"] = cb.export(settings, folder / "a.precomputed", progress=False)
    np.save(folder / "raw.npy", affinities[0])
    np.save(folder / "segments.npy", cb.open_result(settings).stored("segments/0.5")[...])
    return found | {name: folder / f"{name}.npy" for name in ("raw", "segments")}


def opened(reader: str, path: Path) -> list[dict[str, Any]]:
    """What a program finds in a file or folder."""
    script = ROOT / "tests" / "support" / "opening.py"
    done = subprocess.run(
        [READERS / "bin" / "python", "-I", script, reader, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def arrays(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By their names."""
    return {one.pop("name"): one for one in found}


def expected(path: Path, dtype: str | None = None, level: int = 0) -> dict[str, Any]:
    """What is to be found of the finest level of an .npy, or of the levels above it all but the voxels."""
    values = np.load(path)
    values = values.astype(dtype or values.dtype)
    about = {"dtype": values.dtype.name, "axes": "zyx", "scale": SIZES[level], "begin": CENTRES[level]}
    if level:
        return {**about, "shape": list(COARSE)}
    return {**about, "shape": list(SHAPE), "sha256": hashlib.sha256(values.tobytes()).hexdigest()}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("reader", ["ome-zarr-py", "napari-ome-zarr", "ngff-zarr", "tensorstore", "bioio"])
def test_an_ome_zarr_is_what_was_exported(made: dict[str, Path], reader: str, version: str) -> None:
    """Voxels, type, axes, size and place of image and labels, on both levels; as much of it as the program tells."""
    path = made[version]
    found = arrays(opened(reader, path))
    wanted = {
        f"{name}/{level}": expected(made[origin], level=level)
        for name, origin in ((path.name, "raw"), ("segments_0.5", "segments"))
        for level in (0, 1)
        if reader != "bioio" or (name == path.name and not level)
    }
    assert found.keys() == wanted.keys()
    for name, told in found.items():
        compared = [key for key, value in told.items() if key in wanted[name] and value not in (None, [])]
        assert {"shape", "dtype", "axes"} <= set(compared)
        assert {key: told[key] for key in compared} == {key: wanted[name][key] for key in compared}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_ome_zarr_is_valid(made: dict[str, Path], version: str) -> None:
    """By ome-zarr-models, image and labels each as what they are; by yaozarrs, which looks at the arrays, too."""
    models = [(one["model"], one["version"]) for one in opened("ome-zarr-models", made[version])]
    assert models == [("Image", version), ("ImageLabel", version)]
    assert opened("yaozarrs", made[version])


@pytest.mark.parametrize("reader", ["tifffile", "bioio"])
def test_a_tiff_is_what_was_exported(made: dict[str, Path], reader: str) -> None:
    """Voxels, type, axes and the size of voxels in nanometres."""
    (found,) = opened(reader, made["tiff"])
    wanted = expected(made["segments"])
    assert {key: found[key] for key in wanted if key != "begin"} == {
        key: wanted[key] for key in wanted if key != "begin"
    }
    assert set(found.get("units", ["nm"])) == {"nm"}


@pytest.mark.parametrize("reader", ["tensorstore", "cloud-volume"])
def test_a_precomputed_volume_is_what_was_exported(made: dict[str, Path], reader: str) -> None:
    """Voxels, size and the corner of the first voxel in nanometres."""
    found = arrays(opened(reader, made["precomputed"]))
    assert found[f"{made['precomputed'].name}/0"] == expected(made["segments"], "uint64") | {"begin": CORNER}


def test_cloud_volume_finds_the_surface_of_each_segment(made: dict[str, Path]) -> None:
    """Each lies around its segment, to half a section."""
    boxes = arrays(opened("cloud-volume", made["precomputed"]))["surfaces"]["boxes"]
    segments = np.load(made["segments"])
    assert {*map(int, boxes)} == {*np.unique(segments).tolist()} - {0}
    for number, (low, high) in boxes.items():
        places = np.argwhere(segments == int(number))
        corners = (places.min(0) * SIZES[0] + CORNER)[::-1], ((places.max(0) + 1) * SIZES[0] + CORNER)[::-1]
        np.testing.assert_allclose([low, high], corners, atol=20.01)
