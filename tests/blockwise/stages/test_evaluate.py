"""What is found beside the scores: false merges and their places, run lengths; truth smaller than the volume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest

from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from blockwise.kernels.graph.agglomeration import cut
from blockwise.stages.agglomerate.stage import read_dendrogram
from blockwise.stages.evaluate.stage import Evaluate, EvaluateSettings
from tests.blockwise.kernels.scores.test_run_length import slow_run_length
from tests.blockwise.stages.test_line import run
from tests.support.volumes import cells, line, store_volume, whole

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
    chosen = {key: changes.pop(key) for key in list(changes) if key in EvaluateSettings.model_fields}
    stages[-1] = stages[-1].model_copy(update={"settings": EvaluateSettings(**chosen), **changes})
    assert isinstance(stages[-1], Evaluate)
    run(output, stages)
    found: dict[str, Any] = json.loads((output / "evaluation.json").read_text())
    return found


def test_false_merges_do_not_depend_on_blocks(volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """Scores, objects, costs and places are the same for every block shape."""
    lists = [evaluated(tmp_path / f"{place}.zarr", volume, block)["false_merges"] for place, block in enumerate(BLOCKS)]
    assert len(lists[0]) > 5
    assert lists[1:] == lists[:1] * 3
    scores = [row["score"] for row in lists[0]]
    assert scores == sorted(scores, reverse=True)
    few = evaluated(tmp_path / "few.zarr", volume, SHAPE, false_merges=2)["false_merges"]
    assert few == lists[0][:2]


@pytest.mark.parametrize("dtype", ["int16", "int64", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("per_section", [False, True])
def test_voxels_that_are_not_labelled_do_not_count(
    dtype: str, per_section: bool, volume: tuple[Volume, Volume], tmp_path: Path
) -> None:
    """-1 and the largest number of an unsigned type: the scores are those of the same voxels ignored as 0."""
    known = whole(volume[1]).copy()
    known[:, 15:] = 0
    wanted = store_volume(tmp_path / "known", known.astype(dtype), **PLACE)
    unknown = known.astype(dtype)
    unknown[:, 15:] = np.array(-1).astype(dtype)
    found = store_volume(tmp_path / "unknown", unknown, **PLACE)
    best = [
        evaluated(tmp_path / f"{name}.zarr", (volume[0], labels), SHAPE, per_section=per_section)["thresholds"]
        for name, labels in {"a": wanted, "b": found}.items()
    ]
    assert best[0] == best[1]


@pytest.mark.parametrize("ignore", [(0,), (0, -7)])
def test_negative_labels_do_not_count(ignore: tuple[int, ...], volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """Any number below 0 means that a voxel is not labelled, as in training; it may be named, too."""
    known = whole(volume[1]).astype(np.int32)
    known[:, 15:] = 0
    wanted = store_volume(tmp_path / "known", known, **PLACE)
    known[:, 15:] = -7
    found = store_volume(tmp_path / "negative", known, **PLACE)
    assert (
        evaluated(tmp_path / "a.zarr", (volume[0], wanted), SHAPE)["best"]
        == evaluated(tmp_path / "b.zarr", (volume[0], found), SHAPE, ignore=ignore)["best"]
    )


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


def test_provisional_fragments_are_evaluated_by_their_final_numbers(
    volume: tuple[Volume, Volume], tmp_path: Path
) -> None:
    """Fragments get their final numbers on disk when segments are written; the evaluation does not wait for that."""
    path, block = walks(tmp_path, whole(volume[1])), (7, 11, 34)
    found = []
    for name in ("with", "without"):
        output = tmp_path / f"{name}.zarr"
        stages = line(output, volume[0], block, volume[1])
        stages[-1] = stages[-1].model_copy(update={"skeletons": path, "space": volume[0]})
        run(output, [stage for stage in stages if name == "with" or not stage.name.startswith("segment")])
        found.append((output / "evaluation.json").read_text())
    assert found[0] == found[1]


def walks(folder: Path, labels: np.ndarray) -> Path:
    """A graphml of random walks, one in each of some objects, of nodes inside voxels and a few outside the volume."""
    rng = np.random.default_rng(0)
    graph = networkx.Graph()
    for label in range(1, int(labels.max()) + 1, 2):
        inside = np.argwhere(labels == label)
        nodes = inside[rng.choice(len(inside), 12)]
        nodes[-1] += 100 * (label % 4 == 1)
        for step, index in enumerate(nodes):
            place = (index + rng.random(3)) * PLACE["voxel_size"] + PLACE["offset"]
            graph.add_node(f"{label}/{step}", **dict(zip("zyx", map(float, place), strict=True)))
            if step:
                graph.add_edge(f"{label}/{step - 1}", f"{label}/{step}")
    networkx.write_graphml(graph, folder / "skeletons.graphml")
    return folder / "skeletons.graphml"


def test_run_lengths_do_not_depend_on_blocks(volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """evaluation.json is the same for every block shape, and rises from fragments to objects before it falls."""
    path = walks(tmp_path, whole(volume[1]))
    found = [
        evaluated(tmp_path / f"{place}.zarr", volume, block, skeletons=path, space=volume[0])
        for place, block in enumerate(BLOCKS)
    ]
    assert found[1:] == found[:1] * 3
    lengths = [row["erl_fraction"] for row in found[0]["thresholds"]]
    assert lengths[0] == 0 < lengths[-1] < max(lengths) <= 1


def test_the_run_length_is_that_of_the_written_segments(volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """The row of a threshold is what the segments at the nodes' voxels give; edges that leave the volume are out."""
    path, output = walks(tmp_path, whole(volume[1])), tmp_path / "out.zarr"
    rows = evaluated(output, volume, (7, 11, 34), skeletons=path, space=volume[0])["thresholds"]
    row = next(row for row in rows if row["threshold"] == 0.5)
    graph, segments = networkx.read_graphml(path), whole(Volume(path=output / "segments/0.5"))
    nodes = {}
    for name, node in graph.nodes(data=True):
        place = np.array([node[axis] for axis in "zyx"])
        index = ((place - PLACE["offset"]) // PLACE["voxel_size"]).astype(int)
        if (index >= 0).all() and (index < SHAPE).all():
            nodes[name] = (len(nodes), int(segments[tuple(index)]), int(name.partition("/")[0]), place)
    edges = [(one, other) for one, other in graph.edges() if one in nodes and other in nodes]
    assert len(edges) < graph.number_of_edges()
    direct = slow_run_length(
        np.array([node[1] for node in nodes.values()]),
        np.array([node[2] for node in nodes.values()]),
        np.array([(nodes[one][0], nodes[other][0]) for one, other in edges]),
        np.array([np.linalg.norm(nodes[one][3] - nodes[other][3]) for one, other in edges]),
    )
    names = ("erl", "erl_fraction", "split_edges", "merged_edges", "omitted_edges")
    assert [row[name] for name in names] == pytest.approx(list(direct))
    assert row["split_edges"] > 0


def test_skeletons_are_enough_to_evaluate(volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """Without labels there are run lengths and no other scores, and the longest is the best."""
    path = walks(tmp_path, whole(volume[1]))
    found = evaluated(tmp_path / "out.zarr", volume, SHAPE, skeletons=path, space=volume[0], labels=None)
    with_labels = evaluated(tmp_path / "labels.zarr", volume, SHAPE, skeletons=path, space=volume[0])
    assert [row["erl"] for row in found["thresholds"]] == [row["erl"] for row in with_labels["thresholds"]]
    assert [row["segments"] for row in found["thresholds"]] == [row["segments"] for row in with_labels["thresholds"]]
    assert found["best"]["erl"] == max(row["erl"] for row in found["thresholds"])
    assert found["best"]["voi_sum"] is None
    assert found["false_merges"] == []


def test_a_changed_skeleton_file_makes_the_evaluation_stale(volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """The scores depend on the file's content, so they are not kept when it changes."""
    path = walks(tmp_path, whole(volume[1]))
    stage = line(tmp_path / "out.zarr", volume[0], SHAPE, volume[1])[-1]
    stage = stage.model_copy(update={"skeletons": path, "space": volume[0]})
    before = stage.parameters()
    path.write_text(path.read_text() + "\n")
    assert stage.parameters() != before
    assert "skeletons" not in stage.model_copy(update={"skeletons": None}).parameters()


def test_skeletons_outside_the_volume_are_refused(volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """A file in other units has no node in the volume; nothing is written."""
    path, output = tmp_path / "far.swc", tmp_path / "out.zarr"
    path.write_text("1 0 9000 9000 9000 1 -1\n")
    with pytest.raises(BadInput, match=r"far\.swc: no node lies in the volume; got 1 of 1 nodes outside"):
        evaluated(output, volume, SHAPE, skeletons=path, space=volume[0])
    assert not output.exists()
