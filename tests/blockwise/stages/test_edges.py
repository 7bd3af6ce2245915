"""Edges counted in blocks: as few rows as there are pairs of fragments, whatever the blocks cut through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockwise.engine.run import run_stages
from blockwise.errors import WorkFailed
from blockwise.executor import InProcess
from blockwise.grid import Block
from blockwise.kernels.components import PAIR, components, named_after, unique_pairs
from blockwise.kernels.graph.edges import merge_edges, rename_edges
from blockwise.kernels.synthetic.tissue import made_up_affinities
from blockwise.stages.edges import Edges, below
from blockwise.stages.tables import EDGES, JOINS, LINKS
from blockwise.store import Store, open_store
from tests.support.volumes import line, read, store_volume

SHAPE, BLOCK = (64, 96, 96), (32, 48, 48)


@pytest.fixture
def edges(tmp_path: Path, store: Store) -> Edges:
    """The stage, with all before it done, and nothing after."""
    affinities = store_volume(tmp_path / "affinities", made_up_affinities(5, (0, 0, 0), SHAPE), BLOCK)
    fragments, stage = line(tmp_path / "out.zarr", affinities, BLOCK)[:2]
    assert isinstance(stage, Edges)
    with InProcess(store) as executor:
        run_stages([fragments], store, executor)
    return stage


def counted(stage: Edges, block: Block) -> np.ndarray:
    """Edges between the provisional fragments of a block."""
    return stage.count(read(stage.fragments, below(block)), block)[EDGES]


def test_pieces_of_a_fragment_count_under_one_number(edges: Edges, store: Store):
    """A block has not many more rows than pairs of final fragments, though its surface cuts these into many pieces."""
    with InProcess(store) as executor:
        run_stages([edges], store, executor)
    final = components(unique_pairs(store.rows(JOINS)))
    blocks = list(edges.grid().blocks())
    pieces = [counted(edges, block) for block in blocks]
    stored = [store.get(EDGES, block.key) for block in blocks]
    wanted = [rename_edges(rows, *final) for rows in pieces]
    assert sum(map(len, pieces)) > 10 * sum(map(len, wanted))
    assert sum(map(len, stored)) < 1.5 * sum(map(len, wanted))
    assert (rename_edges(merge_edges(stored), *final) == rename_edges(merge_edges(pieces), *final)).all()


def test_rows_have_numbers_of_their_own_block(edges: Edges, store: Store):
    """One end at least, as one voxel of each pair is the block's own: what others call it is told by the joins."""
    with InProcess(store) as executor:
        run_stages([edges], store, executor)
    for block in edges.grid().blocks():
        own = np.unique(read(edges.fragments, block.write_roi))
        rows = store.get(EDGES, block.key)
        assert (np.isin(rows["u"], own) | np.isin(rows["v"], own)).all()


def test_a_block_whose_links_are_lost_is_named(edges: Edges, tmp_path: Path):
    """A store without them is told from one in which nothing goes on."""
    other = open_store(f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(WorkFailed, match="has no links from fragments"):
        edges.process(edges.grid().block_at(0), other)
    other.close()


def test_a_block_without_neighbours_counts_more_rows(edges: Edges, store: Store, tmp_path: Path):
    """As where `plan` tries a few blocks, and those behind them have no fragments yet."""
    block = edges.grid().block_at(0)
    other = open_store(f"sqlite:///{tmp_path}/other.db")
    other.put(LINKS, block.key, store.get(LINKS, block.key))
    sums = []
    for one in (other, store):
        edges.process(block, one)
        sums.append(one.get(EDGES, block.key)["sum"].sum())
    assert len(other.get(EDGES, block.key)) > len(store.get(EDGES, block.key))
    assert sums[0] > sums[1]  # edges within a fragment are no edges once it is known to be one
    other.close()


def test_a_component_is_named_after_the_smallest_of_the_own():
    """Also where others in it are smaller; ids that keep their name are left out."""
    pairs = np.array([(2, 7), (2, 9), (5, 8)], PAIR)
    old, new = named_after(np.array([5, 7, 9], np.uint64), pairs)
    assert dict(zip(old.tolist(), new.tolist(), strict=True)) == {2: 7, 9: 7, 8: 5}
    assert [len(some) for some in named_after(np.empty(0, np.uint64), np.empty(0, PAIR))] == [0, 0]
