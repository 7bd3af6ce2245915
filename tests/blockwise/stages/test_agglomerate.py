"""The merging as a stage: in boxes, with other statistics, and by waterz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockwise.arrays.volume import Volume
from blockwise.engine.run import run_stages
from blockwise.errors import BadInput
from blockwise.executor import InProcess
from blockwise.grid import Block, Voxels, pack
from blockwise.kernels.graph.agglomeration import Dendrogram
from blockwise.stages.agglomerate import boxes
from blockwise.stages.agglomerate.region_graph import split
from blockwise.stages.agglomerate.stage import read_dendrogram
from blockwise.stages.tables import merges_of
from blockwise.store import Store, open_store
from tests.support.volumes import cells, line, store_volume

SHAPE, BLOCK = (26, 33, 40), (9, 11, 14)


@pytest.fixture(scope="module")
def affinities(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """Cells with affinities of nine levels, so that edges tie."""
    data = cells(SHAPE, spacing=6)[0] // 28 * 28
    return store_volume(tmp_path_factory.mktemp("volume") / "affinities", data)


def run(output: Path, affinities: Volume, block: Voxels, **merging: str) -> Dendrogram:
    """The dendrogram of the line up to agglomerate."""
    store = open_store(f"sqlite:///{output.with_suffix('.db')}")
    stages = line(output, affinities, block, stop=0.05, merging=merging, cap=None)
    with InProcess(store) as executor:
        run_stages(stages[:3], store, executor)
    store.close()
    return read_dendrogram(Volume(path=output / "agglomeration"))


def same(one: Dendrogram, other: Dendrogram) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@pytest.mark.parametrize("statistic", ["mean", "max", "quantile_50"])
def test_boxes_and_blocks_change_nothing(affinities: Volume, statistic: str, tmp_path: Path) -> None:
    """One block at once and many blocks in boxes that fit into little memory give the same bytes."""
    at_once = run(tmp_path / "a.zarr", affinities, SHAPE, statistic=statistic)
    assert np.count_nonzero(at_once.score) > 100
    for name, memory in (("b", "600kB"), ("c", "60kB")):
        in_boxes = run(tmp_path / f"{name}.zarr", affinities, BLOCK, statistic=statistic, memory=memory)
        assert same(in_boxes, at_once)
    assert same(run(tmp_path / "d.zarr", affinities, BLOCK, statistic=statistic), at_once)


def test_a_killed_run_goes_on_with_the_next_box(
    affinities: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes marked before the end of a run are not solved again, and nothing of them stays in the store."""
    undisturbed = run(tmp_path / "a.zarr", affinities, BLOCK)
    process, calls = boxes.Leaves.process, []

    def dies(stage: boxes.Leaves, block: Block, store: Store) -> None:
        calls.append(block.key)
        if len(calls) == 3:
            raise KeyboardInterrupt
        process(stage, block, store)

    monkeypatch.setattr(boxes.Leaves, "process", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b.zarr", affinities, BLOCK, memory="100kB")
    assert same(run(tmp_path / "b.zarr", affinities, BLOCK, memory="100kB"), undisturbed)
    store = open_store(f"sqlite:///{tmp_path / 'b'}.db")
    leaves = store.totals("agglomerate/leaves").done
    assert len(calls) == leaves + 1 > 4
    assert store.totals("agglomerate/1").done
    assert not list(store.each(merges_of(0)))
    store.close()


def test_leaves_are_boxes_that_fit() -> None:
    """Every block is in one leaf, leaves fit where more than one block is in them, and boxes hold theirs."""
    keys = np.array([pack((z, y, x)) for z in range(3) for y in range(4) for x in range(5)])
    amounts = np.random.default_rng(0).integers(1, 100, len(keys))
    leaves, spans = split(keys, amounts, 300)
    assert sorted(np.concatenate(leaves).tolist()) == keys.tolist()
    weight = dict(zip(keys.tolist(), amounts.tolist(), strict=True))
    assert all(len(leaf) == 1 or sum(weight[key] for key in leaf.tolist()) <= 300 for leaf in leaves)
    assert [first for first, end in spans if end - first == 1] == list(range(len(leaves)))
    assert spans[-1] == (0, len(leaves))


def test_waterz_gives_the_mean_dendrogram(tmp_path: Path) -> None:
    """On affinities of 16 bits without ties, waterz:mean merges what mean merges, at the same scores."""
    data = np.random.default_rng(0).integers(0, 65536, (3, 14, 15, 16)).astype(np.uint16)
    stored = store_volume(tmp_path / "affinities", data)
    ours, theirs = (
        run(tmp_path / f"{name}.zarr", stored, (14, 15, 16), statistic=name) for name in ("mean", "waterz:mean")
    )
    assert np.array_equal(ours.fragment, theirs.fragment)
    assert np.array_equal(ours.parent, theirs.parent)
    assert np.allclose(ours.score, theirs.score, atol=1e-6)
    assert np.count_nonzero(ours.score) > 100


def test_waterz_in_blocks_is_refused(affinities: Volume, tmp_path: Path) -> None:
    """Its merges depend on how the volume is cut up, so they are had in one block only."""
    one, many = (
        line(tmp_path / "out.zarr", affinities, block, merging={"statistic": "waterz:mean"})[2]
        for block in (SHAPE, BLOCK)
    )
    one.check()
    text = r"agglomerate\.statistic: waterz works on a volume in one block.*blocks\.shape: \[26, 33, 40\]"
    with pytest.raises(BadInput, match=text):
        many.check()
