"""Exports as programs see them that others wrote, in an environment of their own: `make readers` makes it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Roi

import contraband as cb
from blockwise.arrays.volume import Volume, create, write
from blockwise.kernels.shrink import shrink_majority, shrink_mean
from tests.support.paths import ROOT
from tests.support.volumes import cells, store_volume, whole

READERS = ROOT / ".venv-readers"
pytestmark = pytest.mark.skipif(
    not (READERS / ".installed").exists(), reason="make readers installs what opens exports"
)


@dataclass(frozen=True)
class Case:
    """A volume to export, and what is to be found of it."""

    shape: tuple[int, int, int]
    channels: int | None
    """Of raw; None: it has no axis of them."""
    corner: tuple[float, float, float]
    """Of the first voxel, in nanometres, a whole number of voxels of the smallest level."""
    levels: int

    @property
    def sizes(self) -> list[list[float]]:
        """Nanometres of a voxel of each level: z is left as it is until y and x are as long."""
        return [[40.0, 10.0 * 2**level, 10.0 * 2**level] for level in range(self.levels)]

    @property
    def centres(self) -> list[list[float]]:
        """Of the first voxel of each level, in nanometres."""
        return [[at + size / 2 for at, size in zip(self.corner, sizes, strict=True)] for sizes in self.sizes]


CASES = {"grey": Case((10, 70, 66), None, (80, 20, 40), 2), "colours": Case((6, 140, 132), 3, (80, 40, 120), 3)}


def store_raw(path: Path, affinities: np.ndarray, case: Case, about: dict[str, Any]) -> None:
    """Raw as an import leaves it."""
    data = affinities[0] if case.channels is None else affinities[: case.channels]
    volume = Volume(path=path)
    create(volume, data.shape, str(data.dtype), case.shape, attributes=about)
    write(volume, Roi((0, 0, 0), case.shape), data)


@pytest.fixture(scope="module", params=CASES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, dict[str, Path]]:
    """What was exported, by its kind; `segments` as they are in the run, as .npy."""
    case = CASES[request.param]
    folder = tmp_path_factory.mktemp("foreign")
    affinities, _ = cells(case.shape)
    about = {"voxel_size": [40, 10, 10], "offset": list(case.corner), "units": ["nm"] * 3}
    store_volume(folder / "vol.zarr" / "affinities", affinities, case.shape, **about)
    store_raw(folder / "vol.zarr" / "raw", affinities, case, about)
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
    np.save(folder / "raw.npy", whole(Volume(path=folder / "vol.zarr" / "raw")))
    np.save(folder / "segments.npy", cb.open_result(settings).stored("segments/0.5")[...])
    return case, found | {name: folder / f"{name}.npy" for name in ("raw", "segments")}


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


def pyramid(path: Path, case: Case) -> list[np.ndarray]:
    """All levels of raw or segments, made smaller as a whole."""
    found = [np.load(path)]
    shrink = shrink_mean if path.stem == "raw" else shrink_majority
    for _ in range(1, case.levels):
        found.append(shrink(found[-1], (1, 2, 2)))
    return found


def expected(case: Case, path: Path, dtype: str | None = None) -> list[dict[str, Any]]:
    """What is to be found of each level of raw or segments."""
    told = []
    for values, size, centre in zip(pyramid(path, case), case.sizes, case.centres, strict=True):
        stored = np.ascontiguousarray(values.astype(dtype or values.dtype))
        about = {"axes": "zyx" if stored.ndim == 3 else "czyx", "scale": size, "begin": centre}
        digest = hashlib.sha256(stored.tobytes()).hexdigest()
        told.append({**about, "shape": list(stored.shape), "dtype": stored.dtype.name, "sha256": digest})
    return told


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("reader", ["ome-zarr-py", "napari-ome-zarr", "ngff-zarr", "tensorstore", "bioio"])
def test_an_ome_zarr_is_what_was_exported(made: tuple[Case, dict[str, Path]], reader: str, version: str) -> None:
    """Voxels, type, axes, size and place of image and labels, on all levels; as much of it as the program tells."""
    case, paths = made
    path = paths[version]
    found = arrays(opened(reader, path))
    images = {path.name: "raw"} if reader == "bioio" else {path.name: "raw", "segments_0.5": "segments"}
    wanted = {
        f"{name}/{level}": told
        for name, origin in images.items()
        for level, told in enumerate(expected(case, paths[origin]))
    }
    assert found.keys() == wanted.keys()
    for name, told in found.items():
        compared = [key for key, value in told.items() if key in wanted[name] and value not in (None, [])]
        assert {"shape", "dtype", "axes", "sha256"} <= set(compared)
        assert {key: told[key] for key in compared} == {key: wanted[name][key] for key in compared}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("reader", ["ome-zarr-py", "napari-ome-zarr"])
def test_channels_are_shown_in_colours(made: tuple[Case, dict[str, Path]], reader: str, version: str) -> None:
    """One is white, three are red, green and blue; nearly all voxels lie between the values that are told."""
    case, paths = made
    told = opened(f"{reader} colours", paths[version])
    raw = np.load(paths["raw"]).reshape(case.channels or 1, -1)
    black, white = ([0, 0, 0], [1, 1, 1])
    ends = [white] if case.channels is None else [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert [channel["colours"] for channel in told] == [[black, end] for end in ends]
    limits = np.percentile(raw, (0.1, 99.9), axis=1).T
    np.testing.assert_allclose([channel["limits"] for channel in told], limits)
    assert all(channel["is_visible"] for channel in told)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_ome_zarr_is_valid(made: tuple[Case, dict[str, Path]], version: str) -> None:
    """By ome-zarr-models, image and labels each as what they are; by yaozarrs, which looks at the arrays, too."""
    path = made[1][version]
    models = [(one["model"], one["version"]) for one in opened("ome-zarr-models", path)]
    assert models == [("Image", version), ("ImageLabel", version)]
    assert opened("yaozarrs", path)


@pytest.mark.parametrize("reader", ["tifffile", "bioio"])
def test_a_tiff_is_what_was_exported(made: tuple[Case, dict[str, Path]], reader: str) -> None:
    """Voxels, type, axes and the size of voxels in nanometres."""
    case, paths = made
    (found,) = opened(reader, paths["tiff"])
    wanted = expected(case, paths["segments"])[0]
    assert {key: found[key] for key in wanted if key != "begin"} == {
        key: wanted[key] for key in wanted if key != "begin"
    }
    assert set(found.get("units", ["nm"])) == {"nm"}


@pytest.mark.parametrize("reader", ["tensorstore", "cloud-volume"])
def test_a_precomputed_volume_is_what_was_exported(made: tuple[Case, dict[str, Path]], reader: str) -> None:
    """Voxels, size and the corner of the first voxel in nanometres, on all levels."""
    case, paths = made
    found = arrays(opened(reader, paths["precomputed"]))
    found.pop("surfaces", None)
    wanted = expected(case, paths["segments"], "uint64")
    assert found == {
        f"{paths['precomputed'].name}/{level}": told | {"begin": list(case.corner)} for level, told in enumerate(wanted)
    }


def test_cloud_volume_finds_the_surface_of_each_segment(made: tuple[Case, dict[str, Path]]) -> None:
    """Each lies around its segment, to half a section."""
    case, paths = made
    boxes = arrays(opened("cloud-volume", paths["precomputed"]))["surfaces"]["boxes"]
    segments = np.load(paths["segments"])
    assert {*map(int, boxes)} == {*np.unique(segments).tolist()} - {0}
    size = case.sizes[0]
    for number, (low, high) in boxes.items():
        places = np.argwhere(segments == int(number))
        corners = (places.min(0) * size + case.corner)[::-1], ((places.max(0) + 1) * size + case.corner)[::-1]
        np.testing.assert_allclose([low, high], corners, atol=20.01)
