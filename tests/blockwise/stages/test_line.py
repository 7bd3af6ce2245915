"""The stages one after the other: the result is a property of the volume, not of the blocks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from blockwise.arrays.volume import Volume
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.errors import BadInput
from blockwise.executor import InProcess
from blockwise.grid import Voxels
from blockwise.kernels.scores.tables import score
from blockwise.kernels.tables import count_overlap
from blockwise.stage import Stage
from blockwise.stages.agglomerate.stage import read_dendrogram
from blockwise.store import open_store
from tests.support.volumes import cells, digest, line, store_volume, whole

SHAPE = (26, 33, 40)
BLOCKS: list[Voxels] = [SHAPE, (13, 17, 20), (9, 11, 14), (5, 33, 7), (2, 16, 40)]


def run(output: Path, stages: list[Stage]) -> None:
    """Run stages in this process with a store beside the output."""
    url = f"sqlite:///{output.parent / output.stem}.db"
    store = open_store(url)
    with InProcess(store) as executor:
        run_stages(stages, store, executor)
    store.close()


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, Volume]:
    """Affinities and truth."""
    folder = tmp_path_factory.mktemp("volume")
    affinities, labels = cells(SHAPE)
    return store_volume(folder / "affinities", affinities), store_volume(folder / "labels", labels)


@pytest.fixture(scope="module")
def in_one_block(volume: tuple[Volume, Volume], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one block over the whole volume."""
    output = tmp_path_factory.mktemp("one") / "out.zarr"
    run(output, line(output, volume[0], SHAPE, volume[1]))
    return output


@pytest.mark.parametrize("block", BLOCKS[1:], ids=str)
def test_blocks_change_nothing(
    block: Voxels, volume: tuple[Volume, Volume], in_one_block: Path, tmp_path: Path
) -> None:
    """Fragments, dendrogram, segments and scores are the same bytes for every block shape."""
    output = tmp_path / "out.zarr"
    run(output, line(output, volume[0], block, volume[1]))
    names = ["fragments", "segments/0.5"]
    assert [digest(Volume(path=output / n)) for n in names] == [digest(Volume(path=in_one_block / n)) for n in names]
    assert (output / "evaluation.json").read_text() == (in_one_block / "evaluation.json").read_text()


def test_the_line_finds_the_cells(in_one_block: Path) -> None:
    """The segmentation is close to the truth, and better than its fragments and than one object."""
    scores = json.loads((in_one_block / "evaluation.json").read_text())
    rows = scores["thresholds"]
    assert scores["best"]["voi_sum"] < 0.5 < rows[-1]["voi_sum"]
    assert rows[0]["voi_merge"] > 1
    assert scores["best_possible"]["voi_sum"] <= scores["best"]["voi_sum"]


def test_scores_from_tables_equal_scores_of_the_volume(volume: tuple[Volume, Volume], in_one_block: Path) -> None:
    """The row of a threshold is what the written segments and the labels give directly."""
    rows = json.loads((in_one_block / "evaluation.json").read_text())["thresholds"]
    row = next(row for row in rows if row["threshold"] == 0.5)
    segments, truth = whole(Volume(path=in_one_block / "segments/0.5")), whole(volume[1]).astype("u8")
    direct = score(count_overlap(segments, truth), (0,))
    for key in ("voi_split", "voi_merge", "voi_sum", "arand"):
        assert row[key] == pytest.approx(getattr(direct, key), abs=1e-9)
    assert (row["segments"], row["matched"]) == (direct.segments, direct.matched)


def test_fragment_numbers_are_their_smallest_voxels(in_one_block: Path) -> None:
    """`id - 1` is the smallest index of the fragment."""
    ids = whole(Volume(path=in_one_block / "fragments")).ravel()
    numbers, first = np.unique(ids, return_index=True)
    assert (numbers == first + 1).all()


def test_a_repeated_block_changes_nothing(volume: tuple[Volume, Volume], in_one_block: Path, tmp_path: Path) -> None:
    """Every block of every stage processed a second time, in reverse, leaves the same bytes."""
    output = tmp_path / "out.zarr"
    stages = line(output, volume[0], (13, 17, 20), volume[1])
    run(output, stages)
    store = open_store(f"sqlite:///{tmp_path / 'out'}.db")
    for stage in stages[1:]:
        for block in reversed(list(stage.grid().blocks())):
            stage.process(block, store)
        stage.finish(store)
    store.close()
    assert digest(Volume(path=output / "segments/0.5")) == digest(Volume(path=in_one_block / "segments/0.5"))
    assert (output / "evaluation.json").read_text() == (in_one_block / "evaluation.json").read_text()


@pytest.mark.parametrize("redo", ["fragments", "edges", "agglomerate", "segment", "evaluate"])
def test_a_stage_made_anew_changes_nothing(
    redo: str, volume: tuple[Volume, Volume], in_one_block: Path, tmp_path: Path
) -> None:
    """Redone on a finished run, where the fragments already have their final numbers, a stage gives the same."""
    output = tmp_path / "out.zarr"
    stages = line(output, volume[0], (13, 17, 20), volume[1])
    run(output, stages)
    store = open_store(f"sqlite:///{tmp_path / 'out'}.db")
    with InProcess(store) as executor:
        run_stages(stages, store, executor, RunOptions(redo=redo))
    store.close()
    for name in ("fragments", "segments/0.5"):
        assert digest(Volume(path=output / name)) == digest(Volume(path=in_one_block / name))
    assert np.array_equal(
        read_dendrogram(Volume(path=output / "agglomeration")).fragment,
        read_dendrogram(Volume(path=in_one_block / "agglomeration")).fragment,
    )


def test_another_threshold_only_relabels(volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """A further threshold on a finished run leaves every other stage alone, and cuts nest."""
    output = tmp_path / "out.zarr"
    run(output, line(output, volume[0], (13, 17, 20)))
    store = open_store(f"sqlite:///{tmp_path / 'out'}.db")
    with InProcess(store) as executor:
        results = run_stages(line(output, volume[0], (13, 17, 20), threshold=0.3), store, executor)
    store.close()
    assert [result.blocks_done for result in results] == [0, 0, 0, 8]
    fine, coarse = (whole(Volume(path=output / "segments" / name)).ravel() for name in ("0.5", "0.3"))
    pairs = np.unique(np.stack([fine, coarse]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1]
    assert len(np.unique(coarse)) < len(np.unique(fine))


@pytest.mark.parametrize("block", [(1, 20, 24), (3, 7, 24), (4, 20, 9)], ids=str)
def test_sections_stand_alone(block: Voxels, tmp_path: Path) -> None:
    """With `per_section` no segment spans two sections, background is 0, and blocks change nothing."""
    affinities, labels = cells((4, 20, 24), spacing=6)
    affinities[:, :, :5] = 0
    stored = store_volume(tmp_path / "affinities", affinities[1:])
    digests = []
    for name, shape in (("a", (4, 20, 24)), ("b", block)):
        output = tmp_path / f"{name}.zarr"
        run(output, line(output, stored, shape, per_section=True, background=0.2))
        segments = whole(Volume(path=output / "segments/0.5"))
        digests.append(digest(Volume(path=output / "segments/0.5")))
    assert digests[0] == digests[1]
    assert (segments[:, :4] == 0).all()
    assert (segments[:, 8:] > 0).any()
    sections = [set(np.unique(section)) - {0} for section in segments]
    assert sum(map(len, sections)) == len(set.union(*sections))
    assert labels.shape == segments.shape


def test_masked_voxels_are_background(tmp_path: Path) -> None:
    """Where the mask is 0 there is neither fragment nor segment."""
    affinities, _ = cells((12, 16, 16))
    mask = np.ones((12, 16, 16), np.uint8)
    mask[:, 5:9] = 0
    stored, masked = store_volume(tmp_path / "affinities", affinities), store_volume(tmp_path / "mask", mask)
    output = tmp_path / "out.zarr"
    run(output, line(output, stored, (6, 8, 16), mask=masked))
    for name in ("fragments", "segments/0.5"):
        assert ((whole(Volume(path=output / name)) > 0) == (mask > 0)).all()


def test_float_affinities_are_refused(tmp_path: Path) -> None:
    """Sums of floats depend on their order, so affinities must be quantised; nothing is written."""
    affinities = cells((8, 8, 8))[0].astype(np.float32) / 255
    stored = store_volume(tmp_path / "affinities", affinities)
    output = tmp_path / "out.zarr"
    with pytest.raises(BadInput, match=r"affinities.*float32.*uint8 or uint16.*--quantise"):
        run(output, line(output, stored, (8, 8, 8)))
    assert not output.exists()


def test_a_block_that_shares_shards_is_refused(volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """Two blocks that write one shard would lose data silently; the line suggests a shape that fits."""
    output = tmp_path / "out.zarr"
    run(output, line(output, volume[0], (13, 17, 20)))
    with pytest.raises(BadInput, match=r"blocks\.shape.*\[13, 17, 20\].*use \[13, 17, 20\]"):
        line(output, volume[0], (10, 17, 20))[0].check()


def test_a_threshold_below_the_stop_is_refused(volume: tuple[Volume, Volume], tmp_path: Path) -> None:
    """The dendrogram ends at `stop`; a lower threshold would silently give the same segments as the stop."""
    with pytest.raises(BadInput, match=r"segment\.thresholds.*0\.05.*at least 0\.1"):
        line(tmp_path / "out.zarr", volume[0], SHAPE, threshold=0.05, stop=0.1)[3].check()
