"""A foreground channel of the network: stored beside the affinities, and the edge of all fragments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blockwise.arrays.volume import Volume, info
from blockwise.engine.run import run_stages
from blockwise.errors import BadInput
from blockwise.executor import InProcess
from blockwise.grid import Voxels
from blockwise.store import open_store
from contraband.models.networks import SegmentationNet
from contraband.models.settings import ModelSettings
from contraband.volumes.line import stages
from contraband.volumes.settings import VolumeSettings
from tests.support.tiny import MODELS
from tests.support.volumes import digest, store_volume, whole

SHAPE = (16, 20, 24)
OFFSETS = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]


def untrained(path: Path, out_channels: int, seed: int = 3, **model: Any) -> Path:
    """The checkpoint of a network with as many output channels, whose values spread widely."""
    torch.manual_seed(seed)
    settings = ModelSettings.parse({**MODELS[3], **model}, "test")
    weights = SegmentationNet(settings, "Simple", out_channels).state_dict()
    last = max(name for name in weights if name.startswith("head.") and name.endswith("weight"))
    weights[last] *= 40
    content: dict[str, Any] = {
        "format": 1,
        "kind": "segmentation",
        "model": settings.model_dump(mode="json"),
        "head": {"seg_head": "Simple", "out_channels": out_channels},
        "offsets": OFFSETS,
        "norm_factor": 1 / 255,
        "percentiles": None,
        "step": 1,
        "network": weights,
        "ema": weights,
        "optimizer": {},
        "seed": 0,
        "settings_hash": "",
        "history": torch.zeros(0),
    }
    torch.save(content, path)
    return path


def settings(folder: Path, name: str, out_channels: int, block: Voxels = SHAPE, **fragments: Any) -> VolumeSettings:
    """A volume that is predicted by the network."""
    raw = folder / "raw"
    if not raw.exists():
        store_volume(raw, np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8))
    checkpoint = untrained(folder / f"{out_channels}.pt", out_channels)
    return VolumeSettings.parse(
        {
            "volume": {"raw": str(raw)},
            "output": str(folder / f"{name}.zarr"),
            "blocks": {"shape": list(block)},
            "model": {"checkpoint": str(checkpoint), "tile": [8, 8, 8], "precision": "float32"},
            "fragments": fragments,
        },
        "test",
    )


def segmented(chosen: VolumeSettings) -> list[Volume]:
    """Affinities, foreground, fragments and segments of a whole run in this process."""
    store = open_store(chosen.store_url)
    with InProcess(store) as executor:
        run_stages(stages(chosen), store, executor)
    store.close()
    return [Volume(path=chosen.output / name) for name in ("affinities", "foreground", "fragments", "segments/0.5")]


def test_the_predicted_foreground_bounds_fragments_and_segments(tmp_path: Path) -> None:
    """The extra channel is an image of its own; what it leaves out is 0, the rest is not, whatever the blocks."""
    digests = set()
    for number, block in enumerate([SHAPE, (8, 10, 12), (5, 20, 9)]):
        wanted = settings(tmp_path, str(number), 4, block, foreground={"threshold": 0.45})
        affinities, foreground, *labelled = segmented(wanted)
        assert info(affinities).shape == (3, *SHAPE)
        assert info(foreground).shape == SHAPE
        above = whole(foreground) > int(0.45 * 255)
        assert 0.05 < above.mean() < 0.95
        for volume in labelled:
            assert np.array_equal(whole(volume) > 0, above)
        digests.add(tuple(digest(volume) for volume in (affinities, foreground, *labelled)))
    assert len(digests) == 1


def test_another_threshold_makes_fragments_stale_but_not_the_prediction(tmp_path: Path) -> None:
    """Fragments know the threshold of their foreground, and whether they have one."""
    plain, low, high = (
        stages(settings(tmp_path, "a", 4, **fragments))
        for fragments in ({}, {"foreground": {"threshold": 0.3}}, {"foreground": {"threshold": 0.4}})
    )
    assert plain[0].parameters() == low[0].parameters() == high[0].parameters()
    assert plain[1].parameters() != low[1].parameters() != high[1].parameters()
    assert low[1].inputs() == ()


def test_a_given_foreground_is_an_input(tmp_path: Path) -> None:
    """A foreground image that is named takes the place of the network's channel, and its content counts."""
    given = store_volume(tmp_path / "given", np.full(SHAPE, 200, np.uint8))
    line = stages(settings(tmp_path, "a", 4, foreground={"volume": str(given.path)}))
    assert line[1].inputs() == (given,)


def test_a_network_without_the_channel_is_refused(tmp_path: Path) -> None:
    """Foreground that nobody predicts or names is refused before anything is written, in one line."""
    with pytest.raises(BadInput, match=r"fragments\.foreground.*predicts no foreground.*name a volume"):
        stages(settings(tmp_path, "a", 3, foreground={}))
    affinities = store_volume(tmp_path / "affinities", np.zeros((3, *SHAPE), np.uint8))
    given = {"affinities": str(affinities.path), "output": str(tmp_path / "b.zarr")}
    chosen = VolumeSettings.parse({**given, "fragments": {"foreground": {}}}, "test")
    with pytest.raises(BadInput, match=r"fragments\.foreground\.volume.*path of a foreground image"):
        stages(chosen)


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
def test_a_threshold_is_a_fraction(threshold: float, tmp_path: Path) -> None:
    """A threshold outside 0 to 1 names its key."""
    with pytest.raises(BadInput, match=r"fragments\.foreground\.threshold"):
        settings(tmp_path, "a", 4, foreground={"threshold": threshold})
