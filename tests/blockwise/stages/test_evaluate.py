"""What is found beside the scores: false merges and their places; truth that is smaller than the volume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise.kernels.agglomeration import cut
from blockwise.stages.agglomerate import read_dendrogram
from blockwise.stages.evaluate import Evaluate
from blockwise.volume import Volume, Voxels
from tests.blockwise.stages.test_line import run
from tests.volumes import cells, line, store_volume, whole

SHAPE = (22, 30, 34)
BLOCKS: list[Voxels] = [SHAPE, (11, 15, 17), (7, 11, 34), (3, 30, 9)]
PLACE = {"voxel_size": [40.0, 4.0, 8.0], "offset": [400.0, -20.0, 0.0]}


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, Volume]:
    """Affinities and truth."""
    folder = tmp_path_factory.mktemp("volume")
    affinities, labels = cells(SHAPE, seed=4, spacing=9)
    stored = store_volume(folder / "affinities", affinities, **PLACE)
    return stored, store_volume(folder / "labels", labels, **PLACE)


def evaluated(output: Path, volume: tuple[Volume, Volume], block: Voxels, **changes: Any) -> dict[str, Any]:
    """evaluation.json of a run over the volume."""
    stages = line(output, volume[0], block, volume[1])
    stages[-1] = stages[-1].model_copy(update=changes)
    assert isinstance(stages[-1], Evaluate)
    run(output, stages)
    found: dict[str, Any] = json.loads((output / "evaluation.json").read_text())
    return found


def test_false_merges_do_not_depend_on_blocks(volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """Scores, objects, costs and places are the same for every block shape."""
    lists = [
        evaluated(tmp_path / f"{place}.zarr", volume, block)["false_merges"] for place, block in enumerate(BLOCKS)
    ]
    assert len(lists[0]) > 5
    assert lists[1:] == lists[:1] * 3
    scores = [row["score"] for row in lists[0]]
    assert scores == sorted(scores, reverse=True)
    few = evaluated(tmp_path / "few.zarr", volume, SHAPE, false_merges=2)["false_merges"]
    assert few == lists[0][:2]


def test_a_false_merge_is_at_its_place(volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """Just above its score the two fragments are apart, each in its object; below they are one; there they touch."""
    output = tmp_path / "out.zarr"
    rows = evaluated(output, volume, (11, 15, 17), least_voxels=20)["false_merges"]
    fragments, labels = whole(Volume(path=output / "fragments")), whole(volume[1])
    tree = read_dendrogram(Volume(path=output / "agglomeration"))
    for row in rows:
        above, below = cut(tree, row["score"]), cut(tree, np.nextafter(row["score"], 0))
        places = np.searchsorted(tree.fragment, row["fragments"])
        assert len(set(above[places])) == 2
        assert len(set(below[places])) == 1
        if np.count_nonzero(tree.score == row["score"]) == 1:
            assert above[places].tolist() == row["clusters"]
            for cluster, truth, voxels in zip(row["clusters"], row["truth"], row["voxels"], strict=True):
                inside = np.isin(fragments, tree.fragment[above == cluster])
                shared = np.bincount(labels[inside])
                assert shared[truth] == voxels == shared.max() >= 20
        z, y, x = row["voxel"]
        assert fragments[z, y, x] in row["fragments"]
        before = {fragments[z - 1, y, x], fragments[z, y - 1, x], fragments[z, y, x - 1]}
        assert {fragments[z, y, x], *before} >= set(row["fragments"])
        assert row["place"] == [400 + 40 * (z + 0.5), -20 + 4 * (y + 0.5), 8 * (x + 0.5)]
