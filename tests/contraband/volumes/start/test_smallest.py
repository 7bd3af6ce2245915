"""What `contraband start` takes for too small to be an object, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from blockwise.arrays.volume import Volume
from contraband.cli import call
from contraband.interface import load_settings
from tests.support.discs import discs
from tests.support.nuclei import THICKNESS, nuclei
from tests.support.volumes import whole


def started(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, int]:
    """What a start says, and the voxels that it takes for too few."""
    assert call(["start", *arguments, "--json"]) == 0
    said = capsys.readouterr().out
    return said, json.loads(said.splitlines()[-1])["min_voxels"]


def neuropil(size: int, width: int) -> np.ndarray:
    """A stack (z, y, x) uint8 of bright cells, about so many voxels wide, with thin dark lines between, and noise."""
    random = np.random.default_rng(0)
    seeds = random.uniform(0, size, (int((size / width) ** 2), 2))
    places = np.stack(np.mgrid[:size, :size], -1).reshape(-1, 2)
    far = np.sort(np.linalg.norm(places[:, None] - seeds[None], axis=2), axis=1)
    section = np.where(far[:, 1] - far[:, 0] < 2.5, 60.0, 180.0).reshape(size, size)
    stack = np.repeat(ndimage.gaussian_filter(section, 0.7)[None], 12, axis=0)
    return (stack + random.normal(0, 8, stack.shape)).clip(0, 255).astype(np.uint8)


def test_debris_among_nuclei_becomes_background(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Specks of a few voxels are no objects of a first segmentation; the settings say from which size on they are."""
    raw, labels = discs(6)
    is_free = ndimage.distance_transform_edt(labels == 0) > 6
    specks = np.zeros(raw.shape, bool)
    for number, (z, y, x) in enumerate(np.argwhere(is_free & (np.indices(raw.shape)[1:] % 9 == 4).all(0))):
        if number % 5 == 0:
            specks[z, y : y + 2, x : x + 2] = True
    raw[specks & (labels == 0)] = 250
    np.save("a.npy", raw)
    said, least = started(capsys, "a.npy", "--kind", "nuclei")
    settings = load_settings("a.yaml")
    assert settings.segment.min_voxels == least == round(np.pi * (settings.model.classical.radius / 4) ** 2)
    assert (
        f"too small   fewer than {least} voxels, a disc a quarter as wide: joins a neighbour or is background" in said
    )
    lines = Path("a.yaml").read_text().splitlines()
    (at,) = [number for number, line in enumerate(lines) if "min_voxels:" in line]
    assert lines[at - 1].lstrip().startswith("#")
    _, before = np.unique(whole(Volume(path=Path("out/a.zarr/fragments"))), return_counts=True)
    _, counts = np.unique(whole(Volume(path=Path("out/a.zarr/segments/0.5"))), return_counts=True)
    assert before.min() < least <= counts.min()
    assert f"{len(counts) - 1} objects at threshold 0.5" in said


def test_what_is_too_small_grows_with_the_objects(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of objects twice as wide about four times as many voxels in 2D, and about eight times as many in 3D."""
    raw, _ = discs(4)
    found = {}
    for by in (1, 2):
        np.save(f"flat{by}.npy", np.kron(raw, np.ones((1, by, by), np.uint8)))
        found[by] = started(capsys, f"flat{by}.npy", "--dry-run")[1]
    assert 2.5 < found[2] / found[1] < 6
    for radius in (8, 16):
        np.save(f"deep{radius}.npy", nuclei((16, 96, 96), radius)[0])
        size = ("--voxel-size", f"{THICKNESS},1,1", "--units", "um")
        found[radius] = started(capsys, f"deep{radius}.npy", *size, "--dry-run")[1]
    assert 5 < found[16] / found[8] < 12


@pytest.mark.parametrize("width", [12, 24])
def test_between_membranes_their_distance_decides(in_tmp: Path, capsys: pytest.CaptureFixture[str], width: int) -> None:
    """A ball that fits between two membranes, not one as thick as a membrane; all pieces that are left are as large."""
    np.save("a.npy", neuropil(160, width))
    size = ("--voxel-size", "10,10,10", "--units", "nm")
    said, least = started(capsys, "a.npy", "--kind", "membranes", *size)
    assert "a ball as wide as what lies between membranes" in said
    assert np.pi / 6 * (0.5 * width) ** 3 < least < np.pi / 6 * (1.3 * width) ** 3
    _, counts = np.unique(whole(Volume(path=Path("out/a.zarr/segments/0.5"))), return_counts=True)
    assert counts.min() >= least
