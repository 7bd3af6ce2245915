"""The merging as a stage: in boxes, with other statistics, and by waterz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockwise.errors import BadInput
from blockwise.executor import InProcess
from blockwise.kernels import boxes
from blockwise.kernels.agglomeration import Dendrogram
from blockwise.run import run_stages
from blockwise.stage import pack
from blockwise.stages.agglomerate import read_dendrogram
from blockwise.stages.region_graph import split
from blockwise.store import open_store
from blockwise.volume import Volume, Voxels
from tests.volumes import cells, line, store_volume

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
    for name, memory in (("b", "400kB"), ("c", "60kB")):
        in_boxes = run(tmp_path / f"{name}.zarr", affinities, BLOCK, statistic=statistic, memory=memory)
        assert same(in_boxes, at_once)
    assert same(run(tmp_path / "d.zarr", affinities, BLOCK, statistic=statistic), at_once)


def test_a_killed_run_goes_on_with_the_next_box(
    affinities: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes solved before the end of a run are not solved again, and nothing of them stays in the store."""
    undisturbed = run(tmp_path / "a.zarr", affinities, BLOCK)
    solve, calls = boxes.solve_box, []

    def dies(*given: object) -> object:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return solve(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(boxes, "solve_box", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b.zarr", affinities, BLOCK, memory="100kB")
    assert same(run(tmp_path / "b.zarr", affinities, BLOCK, memory="100kB"), undisturbed)
    store = open_store(f"sqlite:///{tmp_path / 'b'}.db")
    leaves, spans = split(*sizes(store), 100_000)
    kinds = ("merges", "links", "bins", "done")
    left = [table for kind in kinds for _, table in store.tables(f"boxes of 100000, {kind}")]
    store.close()
    assert len(leaves) > 4
    assert len(calls) == len(spans) + 1
    assert left
    assert not any(map(len, left))


def sizes(store: object) -> tuple[np.ndarray, np.ndarray]:
    from blockwise.stages.region_graph import RegionGraph

    nothing = np.empty(0, np.uint64)
    return RegionGraph(store, (nothing, nothing), False).sizes()  # type: ignore[arg-type]


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


def test_a_statistic_that_cannot_be_had_is_refused(affinities: Volume, tmp_path: Path) -> None:
    """Unknown names, waterz in more than one block or with a name it would compile, and no amount of memory."""
    for merging, text in {
        ("statistic", "median"): r"agglomerate\.statistic.*median.*quantile_<q>.*waterz:<name>",
        ("statistic", "quantile_33"): r"agglomerate\.statistic.*quantile_33",
        ("statistic", "waterz:mean"): r"waterz works on a volume in one block.*blocks\.shape: \[26, 33, 40\]",
        ("statistic", "waterz:max"): "not among those waterz ships",
        ("memory", "lots"): r"agglomerate\.memory.*lots.*8GB",
    }.items():
        with pytest.raises(BadInput, match=text):
            line(tmp_path / "out.zarr", affinities, BLOCK, merging=dict([merging]))[2].check()
