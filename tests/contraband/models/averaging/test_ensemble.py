"""Several checkpoints: the mean of what each stores alone, how far they are apart, and which do not go together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import contraband as cb
from blockwise.arrays.volume import Volume, info
from blockwise.engine.fingerprint import fingerprint
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from contraband.volumes.line import stages
from contraband.volumes.settings import VolumeSettings
from tests.contraband.volumes.test_foreground import OFFSETS, SHAPE, untrained
from tests.support.volumes import digest, store_volume, whole

SHORT_UP = {"kernel_size_up": [[[3, 3, 3]]]}
"""A network that loses 7 voxels on each side, and not 8 as the others."""


@pytest.fixture
def checkpoints(tmp_path: Path) -> list[Path]:
    """Three networks of one kind of output, one of which needs less context."""
    channels = len(OFFSETS) + 1
    made = [untrained(tmp_path / f"{seed}.pt", channels, seed) for seed in (3, 4)]
    return [*made, untrained(tmp_path / "short.pt", channels, 5, **SHORT_UP)]


def settings(
    folder: Path, name: str, checkpoint: Path | Sequence[Path], block: Voxels = SHAPE, **model: Any
) -> VolumeSettings:
    """Raw of noise into affinities and foreground, in this process."""
    if not (folder / "raw").exists():
        store_volume(folder / "raw", np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8))
    named = str(checkpoint) if isinstance(checkpoint, Path) else [str(one) for one in checkpoint]
    return VolumeSettings.parse(
        {
            "volume": {"raw": str(folder / "raw")},
            "output": str(folder / f"{name}.zarr"),
            "blocks": {"shape": list(block)},
            "model": {"checkpoint": named, "tile": [8, 8, 8], "precision": "float32", **model},
            "cluster": {"kind": "none"},
        },
        "test",
    )


def stored(chosen: VolumeSettings, *names: str) -> list[np.ndarray]:
    """What predict stores under some names."""
    cb.run(chosen, last="predict", progress=False)
    return [whole(Volume(path=chosen.output / name)).astype(float) for name in names]


def test_the_mean_and_the_spread_are_those_of_each_alone(tmp_path: Path, checkpoints: list[Path]) -> None:
    """Up to the rounding of what each stores by itself, also where they need different contexts."""
    names = ("affinities", "foreground")
    alone = [stored(settings(tmp_path, one.stem, one), *names) for one in checkpoints]
    together = settings(tmp_path, "together", checkpoints, disagreement=True)
    affinities, foreground, disagreement = stored(together, *names, "disagreement")
    assert np.abs(affinities - np.mean([one[0] for one in alone], axis=0)).max() <= 1
    assert np.abs(foreground - np.mean([one[1] for one in alone], axis=0)).max() <= 1
    spread = 2 * np.std([one[0] for one in alone], axis=0).max(axis=0)
    assert np.abs(disagreement - spread).max() <= 2
    assert disagreement.max() > 50
    assert info(Volume(path=together.output / "disagreement")).dtype == np.uint8


def test_neither_blocks_nor_the_order_of_names_change_a_byte(tmp_path: Path, checkpoints: list[Path]) -> None:
    """Of the affinities and of the disagreement; the order is no part of what they are remembered by."""
    made = [
        settings(tmp_path, str(number), named, block, disagreement=True)
        for number, (named, block) in enumerate(
            [(checkpoints, SHAPE), (checkpoints[::-1], SHAPE), (checkpoints, (5, 20, 9)), (checkpoints, (8, 10, 12))]
        )
    ]
    for chosen in made:
        stored(chosen)
    for name in ("affinities", "disagreement"):
        assert len({digest(Volume(path=chosen.output / name)) for chosen in made}) == 1
    assert len({fingerprint(stages(chosen)[0], {})[0] for chosen in made[:2]}) == 1


def test_each_network_is_asked_about_orientations(tmp_path: Path, checkpoints: list[Path]) -> None:
    """The mean of means."""
    alone = [stored(settings(tmp_path, one.stem, one, augment="flips"), "affinities")[0] for one in checkpoints[:2]]
    (together,) = stored(settings(tmp_path, "together", checkpoints[:2], augment="flips"), "affinities")
    assert np.abs(together - np.mean(alone, axis=0)).max() <= 1


def test_disagreement_is_part_of_what_a_prediction_is_remembered_by(tmp_path: Path, checkpoints: list[Path]) -> None:
    """Else the volume would be missing where affinities are finished."""
    digests = [
        fingerprint(stages(settings(tmp_path, "a", checkpoints, disagreement=wanted))[0], {})[0]
        for wanted in (False, True)
    ]
    assert digests[0] != digests[1]


def test_networks_of_different_outputs_are_refused(tmp_path: Path, checkpoints: list[Path]) -> None:
    """In one line that says which and what, before anything is written."""
    other = untrained(tmp_path / "other.pt", len(OFFSETS))
    chosen = settings(tmp_path, "a", [*checkpoints, other])
    with pytest.raises(BadInput, match=r"checkpoint, number 4: cannot be averaged.*has foreground differ") as raised:
        cb.run(chosen, progress=False)
    assert "\n" not in str(raised.value)
    assert not chosen.output.exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"checkpoint": "a.pt", "disagreement": True}, "disagreement needs two checkpoints or more, got 1"),
        ({"checkpoint": ["a.pt", "b.pt"], "output": "embeddings"}, "embeddings of several checkpoints have no mean"),
        ({"checkpoint": []}, "model.checkpoint: is neither a path nor a list of paths"),
        ({"checkpoint": 3}, "model.checkpoint: is neither a path nor a list of paths"),
        ({"checkpoint": ["a.pt", "s3://b"]}, "model.checkpoint: s3://b is an address"),
    ],
)
def test_what_has_no_mean_is_refused(model: dict[str, Any], message: str) -> None:
    """By the settings."""
    with pytest.raises(BadInput, match=message):
        VolumeSettings.parse({"volume": {"raw": "raw"}, "output": "out.zarr", "model": model}, "test")
