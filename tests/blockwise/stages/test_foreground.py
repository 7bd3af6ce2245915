"""Fragments stay within a foreground that is given with a threshold, whatever the blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from blockwise.arrays.volume import Volume
from blockwise.engine.run import run_stages
from blockwise.errors import BadInput
from blockwise.executor import InProcess
from blockwise.grid import Voxels
from blockwise.stages.foreground import ForegroundSettings, check_foreground, full_value, is_foreground
from blockwise.store import open_store
from tests.support.volumes import cells, digest, line, store_volume, whole

SHAPE = (14, 20, 22)
BLOCKS: list[Voxels] = [SHAPE, (7, 10, 11), (5, 9, 22), (3, 20, 8)]


def likely() -> np.ndarray:
    """Foreground probabilities, uint8, in smooth patches."""
    field = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal(SHAPE), 2)
    return np.rint(np.clip(0.5 + field / field.std() / 2, 0, 1) * 255).astype(np.uint8)


def segmented(
    folder: Path, name: str, block: Voxels, foreground: np.ndarray, wanted: ForegroundSettings | None
) -> list[Volume]:
    """Fragments and segments of the cells, in blocks."""
    affinities = store_volume(folder / f"{name}-affinities", cells(SHAPE)[0])
    likelihood = store_volume(folder / f"{name}-foreground", foreground)
    output = folder / f"{name}.zarr"
    store = open_store(f"sqlite:///{folder / name}.db")
    with InProcess(store) as executor:
        run_stages(line(output, affinities, block, likelihood=likelihood, foreground=wanted), store, executor)
    store.close()
    return [Volume(path=output / part) for part in ("fragments", "segments/0.5")]


def test_blocks_do_not_change_what_a_foreground_leaves(tmp_path: Path) -> None:
    """Voxels with at most the threshold are 0, no others, and every block shape gives the same bytes."""
    foreground, wanted = likely(), ForegroundSettings(threshold=0.4)
    digests = set()
    for number, block in enumerate(BLOCKS):
        made = segmented(tmp_path, str(number), block, foreground, wanted)
        for volume in made:
            assert np.array_equal(whole(volume) > 0, foreground > 0.4 * 255)
        digests.add(tuple(digest(volume) for volume in made))
    assert len(digests) == 1
    assert 0.2 < (foreground > 0.4 * 255).mean() < 0.8


def test_a_foreground_that_no_settings_ask_for_is_left_alone(tmp_path: Path) -> None:
    """Only a threshold makes background."""
    fragments, _ = segmented(tmp_path, "all", SHAPE, likely(), None)
    assert (whole(fragments) > 0).all()


def test_thresholds_are_fractions_of_the_full_value() -> None:
    """8 and 16 bits and floats agree about what is foreground, and the threshold itself is background."""
    levels = np.array([0, 51, 102, 153, 255], np.uint8)
    for values in (levels, levels.astype(np.uint16) * 257, levels / np.float64(255)):
        assert is_foreground(values, 0.4).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("dtype", "largest", "full"),
    [
        ("uint8", 1, 1),
        ("uint8", 2, None),
        ("uint8", 255, None),
        ("uint16", 1, 1),
        ("uint16", 255, 255),
        ("uint16", 256, None),
        ("uint8", 0, None),
        ("bool", 1, None),
        ("float32", 1, None),
    ],
)
def test_a_foreground_of_0_and_1_is_recognised(dtype: str, largest: int, full: int | None, tmp_path: Path) -> None:
    """By its largest number, wherever that lies; then the same voxels are foreground as in the full range."""
    data = np.zeros(SHAPE, dtype)
    data[-1, -3:, -2:] = largest
    stored = store_volume(tmp_path / "foreground", data, (5, 6, 7))
    check_foreground(stored)
    assert full_value(stored, Volume(path=tmp_path / "fragments")).full == full
    if full or dtype in ("bool", "float32"):
        assert (is_foreground(data, 0.5, full) == (data > 0)).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((3, *SHAPE), np.uint8), "has the wrong type for a foreground"),
        (np.zeros(SHAPE, np.int32), "has the wrong type for a foreground"),
    ],
)
def test_an_unusable_foreground_is_refused(data: np.ndarray, message: str, tmp_path: Path) -> None:
    """Channels, or a type without a full value are refused in one line."""
    with pytest.raises(BadInput, match=message):
        check_foreground(store_volume(tmp_path / "foreground", data))
