"""`contraband evaluate` where the truth is a box in the volume, or skeletons, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise.arrays.volume import Volume
from blockwise.kernels.scores.tables import score
from blockwise.kernels.tables import count_overlap
from tests.end_to_end.test_run import contraband, done
from tests.support.volumes import cells, store_volume, whole

SHAPE = (24, 40, 48)
BOX = (slice(5, 19), slice(7, 33), slice(26, 48))
SIZE, OFFSET = [40.0, 4.0, 4.0], [800.0, -40.0, 12.0]
SETTINGS = """
volume:      {{labels: {folder}/vol.zarr/labels, skeletons: {folder}/truth.swc}}
affinities:  {folder}/vol.zarr/affinities
output:      {folder}/{name}.zarr
blocks:      {{shape: {block}}}
segment:     {{thresholds: [0.3, 0.5]}}
evaluate:    {{partial: true, least_voxels: 10, false_merges: 5}}
cluster:     {{kind: {kind}, workers: 2, threads: 1}}
"""
SCORES = ("voi_split", "voi_merge", "voi_sum", "arand")
COUNTS = ("segments", "truth_objects", "matched", "precision", "recall", "f1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Affinities of a volume, the truth of a box in it, and a skeleton of which one end is outside."""
    path = tmp_path_factory.mktemp("partial")
    affinities, labels = cells(SHAPE)
    begin = [offset + axis.start * size for offset, axis, size in zip(OFFSET, BOX, SIZE, strict=True)]
    store_volume(path / "vol.zarr" / "affinities", affinities, voxel_size=SIZE, offset=OFFSET)
    store_volume(path / "vol.zarr" / "labels", labels[BOX], voxel_size=SIZE, offset=begin)
    places = np.array([(3, 4, 5), (9, 4, 5), (9, 30, 40), (9, 30, 90)]) * SIZE + OFFSET
    lines = [f"{number} 0 {x} {y} {z} 1 {number - 1 or -1}" for number, (z, y, x) in enumerate(places, start=1)]
    (path / "truth.swc").write_text("\n".join(lines))
    return path


def evaluated(folder: Path, name: str, block: tuple[int, ...], kind: str = "none") -> dict[str, Any]:
    """What `contraband evaluate` says last."""
    path = folder / f"{name}.yaml"
    path.write_text(SETTINGS.format(folder=folder, name=name, block=list(block), kind=kind))
    found: dict[str, Any] = json.loads(done("evaluate", path, "--json").stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def in_one_block(folder: Path) -> dict[str, Any]:
    """The evaluation of one block over the whole volume."""
    return evaluated(folder, "one", SHAPE)


def test_scores_of_a_part_are_those_of_the_box(folder: Path, in_one_block: dict[str, Any]) -> None:
    """Truth with another offset is laid where it belongs, and nothing outside it counts."""
    truth = whole(Volume(path=folder / "vol.zarr" / "labels")).astype(np.uint64)
    for threshold in (0.3, 0.5):
        segments = whole(Volume(path=folder / "one.zarr" / "segments" / str(threshold)))[BOX]
        direct = score(count_overlap(np.ascontiguousarray(segments), truth), (0,))
        row = next(row for row in in_one_block["thresholds"] if row["threshold"] == threshold)
        assert [row[key] for key in SCORES] == pytest.approx([getattr(direct, key) for key in SCORES], abs=1e-9)
        assert [row[key] for key in COUNTS] == [getattr(direct, key) for key in COUNTS]
    assert in_one_block["best"]["voi_sum"] < 1


@pytest.mark.parametrize(("block", "kind"), [((5, 16, 13), "none"), ((12, 20, 24), "local")], ids=str)
def test_blocks_outside_the_truth_change_nothing(
    block: tuple[int, ...], kind: str, folder: Path, in_one_block: dict[str, Any]
) -> None:
    """Scores, false merges and run lengths are the same where some blocks hold no truth, and on workers."""
    assert evaluated(folder, "-".join(map(str, block)), block, kind) == in_one_block


def test_a_skeleton_is_scored_inside_the_volume(folder: Path, in_one_block: dict[str, Any]) -> None:
    """The edge that leaves the volume is left out: the longest run is as long as the two others."""
    merged_all = max(in_one_block["thresholds"], key=lambda row: float(row["erl"]))
    lengths = np.linalg.norm(np.diff(np.array([(3, 4, 5), (9, 4, 5), (9, 30, 40)]) * SIZE, axis=0), axis=1)
    assert merged_all["erl"] == pytest.approx(lengths.sum())
    assert merged_all["erl_fraction"] == pytest.approx(1)


def test_the_table_says_where_to_look(folder: Path, in_one_block: dict[str, Any]) -> None:
    """The command prints the false merges and the run lengths of a finished run."""
    text = done("evaluate", folder / "one.yaml").stdout
    first = in_one_block["false_merges"][0]
    assert "first merges of two true objects" in text
    assert ", ".join(map(str, first["voxel"])) in text
    assert len(in_one_block["false_merges"]) == 5
    assert "ERL" in text


def test_the_part_that_is_scored_is_said(folder: Path, in_one_block: dict[str, Any]) -> None:
    """Labels of another extent need no key of their own, and a line names the voxels that both have."""
    result = contraband("evaluate", folder / "one.yaml", "--json")
    ends = ", ".join(f"{axis} {part.start}:{part.stop}" for axis, part in zip("zyx", BOX, strict=True))
    assert result.returncode == 0
    assert f"scored is what both have, voxels {ends}" in result.stderr
