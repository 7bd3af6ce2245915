"""Orientations averaged: the affinities of turned images come to the voxels that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import contraband as cb
from blockwise.arrays.volume import Volume
from blockwise.engine.fingerprint import fingerprint
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from contraband.models.averaging.augmented import oriented
from contraband.models.averaging.turns import Orientations, turns
from contraband.models.predictor import load_predictor
from contraband.volumes.line import stages
from contraband.volumes.settings import VolumeSettings
from tests.contraband.volumes.test_foreground import OFFSETS, untrained
from tests.support.networks import Differences, differences_file
from tests.support.volumes import digest, store_volume, whole

SHAPE: Voxels = (12, 18, 20)
NEAR_AND_FAR = [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [0, 0, -5], [0, 5, 0], [-3, 0, 0], [0, -2, -2], [0, 2, -2]]
IN_SECTIONS = [offset for offset in NEAR_AND_FAR if not offset[0]]


def settings(
    folder: Path, network: Differences, offsets: Sequence[Sequence[int]], block: Voxels = SHAPE, **model: Any
) -> VolumeSettings:
    """Raw of noise into affinities by a network file, in an output that is named after what is told."""
    if not (folder / "raw").exists():
        store_volume(folder / "raw", np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8))
    flat = len(network.context) == 2
    told = {
        "network": str(differences_file(folder / "net.pt2", network)),
        "context": [0, *network.context] if flat else list(network.context),
        "input": {"axes": "bcyx" if flat else "bczyx"},
        "offsets": offsets,
        "tile": [4, 8, 10],
        "stride": [1, 2, 2],
        **model,
    }
    name = f"{model.get('augment', 'none')}-{block[0]}"
    return VolumeSettings.parse(
        {
            "volume": {"raw": str(folder / "raw")},
            "output": str(folder / f"{name}.zarr"),
            "blocks": {"shape": list(block)},
            "model": told,
            "cluster": {"kind": "none"},
        },
        "test",
    )


def predicted(chosen: VolumeSettings) -> Path:
    """The output of predict."""
    cb.run(chosen, last="predict", progress=False)
    return chosen.output


@pytest.mark.parametrize("augment", ["flips", "rotations"])
@pytest.mark.parametrize(("dims", "offsets"), [(3, NEAR_AND_FAR), (2, IN_SECTIONS)])
def test_a_network_that_turns_with_the_image_keeps_its_values(
    tmp_path: Path, augment: str, dims: int, offsets: list[list[int]]
) -> None:
    """To the bit, foreground too, for offsets of any length and both signs: each affinity is brought to its pair."""
    network = Differences(offsets, dims, has_foreground=True)
    outputs = [predicted(settings(tmp_path, network, offsets, augment=one)) for one in ("none", augment)]
    for name in ("affinities", "foreground"):
        plain, turned = (whole(Volume(path=output / name)) for output in outputs)
        assert np.array_equal(plain, turned)
        assert plain.std() > 10


def test_orientations_do_not_depend_on_blocks(tmp_path: Path) -> None:
    """Tiles are anchored at the volume, with what is around them."""
    network = Differences(NEAR_AND_FAR)
    blocks: list[Voxels] = [SHAPE, (5, 18, 7), (4, 8, 9)]
    made = [predicted(settings(tmp_path, network, NEAR_AND_FAR, block, augment="rotations")) for block in blocks]
    assert len({digest(Volume(path=output / "affinities")) for output in made}) == 1


@pytest.mark.parametrize("augment", ["flips", "rotations"])
def test_the_mean_is_that_of_whole_volumes_turned_one_by_one(tmp_path: Path, augment: Orientations) -> None:
    """A network does not turn with its image: what each image of the whole says is brought back and averaged."""
    torch.set_num_threads(1)
    plain = load_predictor(untrained(tmp_path / "net.pt", len(OFFSETS) + 1), "affinities", device="cpu")
    found = oriented(plain, augment)
    tile = found.fit_output((4, 6, 8))
    raw = np.random.default_rng(1).integers(0, 256, [n + 2 * c for n, c in zip(tile, found.context, strict=True)])
    total = np.zeros((len(OFFSETS) + 1, *tile))
    seen = list(turns(augment, is_flat=False))
    for turn in seen:
        said = turn.undo(plain(np.ascontiguousarray(turn.apply(raw))))
        for channel, offset in enumerate([*OFFSETS, [0, 0, 0]]):
            axis = int(np.argmax(np.abs(offset)))
            source = {0: 0, 1: 2, 2: 1}[axis] if turn.swapped else axis
            is_back = any(offset) and turn.mirrored[source]
            # the pair of a voxel and the one before it is told at the one before, where the axis is mirrored
            from_here = np.roll(said[source if any(offset) else channel], 1 if is_back else 0, axis)
            around = [(have - want) // 2 for have, want in zip(from_here.shape, tile, strict=True)]
            total[channel] += from_here[tuple(slice(a, a + n) for a, n in zip(around, tile, strict=True))]
    assert len(seen) == (8 if augment == "flips" else 16)
    np.testing.assert_allclose(found(raw), total / len(seen), atol=1e-5, rtol=0)
    assert np.abs(found(raw) - oriented(plain, "none")(raw[tuple(slice(2, -2) for _ in range(3))])).max() > 0.01


def test_images_are_those_of_the_axes_of_the_network() -> None:
    """Each once: sections are not mirrored in z; the images of a cube with y and x alike are 16."""
    shown = np.arange(27).reshape(3, 3, 3)
    for augment, is_flat, count in [("flips", True, 4), ("flips", False, 8), ("rotations", True, 8)]:
        seen = list(turns(augment, is_flat))  # type: ignore[arg-type]
        assert len({turn.apply(shown).tobytes() for turn in seen}) == count
        assert all(np.array_equal(turn.undo(turn.apply(shown)), shown) for turn in seen)
        assert not seen[0].swapped
        assert not any(seen[0].mirrored)


REFUSED: dict[str, tuple[str, list[list[int]], str]] = {
    "swapped": ("rotations", [[0, -1, 0], [0, 0, -1], [0, 0, -4]], r"neighbour at \[0, 0, -4\].*use flips"),
    "mirrored": ("flips", [[0, -1, 0], [0, 0, -1], [0, -2, -2]], r"neighbour at \[0, -2, -2\].*augment: none"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_offsets_that_no_image_tells_of_are_refused(tmp_path: Path, name: str) -> None:
    """In one line, before anything is written."""
    augment, offsets, message = REFUSED[name]
    network = Differences(
        offsets, context=[0, 4, 4]
    )  # else rotations would be refused for looking further along one axis
    chosen = settings(tmp_path, network, offsets, augment=augment)
    with pytest.raises(BadInput, match=message) as raised:
        cb.run(chosen, progress=False)
    assert "\n" not in str(raised.value)
    assert not chosen.output.exists()


@pytest.mark.parametrize("model", [{"output": "embeddings"}, {"checkpoint": None, "head": "head.npz"}])
def test_what_has_no_affinities_of_a_network_has_no_orientations(model: dict[str, Any]) -> None:
    """Embeddings do not turn with an image, and a quick head's features do so already."""
    told = {"checkpoint": "net.pt", "augment": "flips", **model}
    with pytest.raises(BadInput, match="augment: flips is for affinities of a checkpoint or a network file"):
        VolumeSettings.parse({"volume": {"raw": "raw"}, "output": "out.zarr", "model": told}, "test")


def test_orientations_are_part_of_what_a_prediction_is_remembered_by(tmp_path: Path) -> None:
    """None, as there always was, is not told."""
    network = Differences(OFFSETS)
    for augment, told in (("none", None), ("flips", "flips")):
        stage = stages(settings(tmp_path, network, OFFSETS, augment=augment))[0]
        assert fingerprint(stage, {})[1].get("predict.augment") == told
