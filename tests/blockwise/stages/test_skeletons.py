"""Skeleton files are read as they are meant, refused if they cannot be, and shared out to blocks."""

from __future__ import annotations

from pathlib import Path

import networkx
import numpy as np
import pytest

from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from blockwise.grid import Grid
from blockwise.stages.evaluate.skeletons import nodes_by_block, read_skeletons
from tests.support.volumes import store_volume

SWC = """# made by hand
1 0 30.5 20 10 1.0 -1
2 0 30.5 20 14 1.0 1   # x y z, as swc has it
3 0 33.5 24 10 1.0 1

10 0 0 0 0 1.0 -1
"""


def test_swc_and_graphml_say_the_same(tmp_path: Path) -> None:
    """Places are z, y, x; each component is a skeleton; edges have their length."""
    (tmp_path / "a.swc").write_text(SWC)
    graph = networkx.DiGraph()
    for name, (z, y, x) in {"a": (10, 20, 30.5), "b": (14, 20, 30.5), "c": (10, 24, 33.5), "d": (0, 0, 0)}.items():
        graph.add_node(name, z=z, y=y, x=x, color="red")
    graph.add_edges_from([("b", "a"), ("a", "b"), ("c", "a"), ("d", "d")])
    networkx.write_graphml(graph, tmp_path / "b.graphml")
    for name in ("a.swc", "b.graphml"):
        found = read_skeletons(tmp_path / name)
        assert found.places.tolist() == [[10, 20, 30.5], [14, 20, 30.5], [10, 24, 33.5], [0, 0, 0]]
        assert found.skeleton.tolist() == [0, 0, 0, 1]
        assert {frozenset(edge) for edge in found.edges.tolist()} == {frozenset((0, 1)), frozenset((0, 2))}
        assert sorted(found.lengths().tolist()) == [4, 5]


def test_left_out_nodes_take_their_edges_along(tmp_path: Path) -> None:
    """What remains keeps its component, and edges name the new rows."""
    (tmp_path / "a.swc").write_text(SWC)
    found = read_skeletons(tmp_path / "a.swc").only(np.array([True, False, True, True]))
    assert found.places.tolist() == [[10, 20, 30.5], [10, 24, 33.5], [0, 0, 0]]
    assert sorted(found.edges[0].tolist()) == [0, 1]
    assert len(found.edges) == 1
    assert found.skeleton.tolist() == [0, 0, 1]


def test_a_node_lies_in_the_voxel_that_holds_its_place(tmp_path: Path) -> None:
    """A voxel begins at its place: the offset itself is in the first, just below it is outside."""
    stored = store_volume(
        tmp_path / "raw", np.zeros((4, 4, 4), np.uint8), voxel_size=[40.0, 4.0, 8.0], offset=[400.0, -20.0, 0.0]
    )
    (tmp_path / "a.swc").write_text("1 0 15.9 -20 439.9 1 -1\n2 0 16 -20.1 440 1 1\n")
    voxels = read_skeletons(tmp_path / "a.swc").voxels(info(Volume(path=stored.path)))
    assert voxels.tolist() == [[0, 0, 1], [1, -1, 2]]


def test_every_inner_node_goes_to_one_block() -> None:
    """Nodes of each block are those in its write region; nodes outside the volume go nowhere."""
    grid = Grid("evaluate", (10, 11, 12), (4, 5, 7))
    voxels = np.random.default_rng(0).integers(-3, 15, (300, 3))
    seen = []
    for key, table, _ in nodes_by_block(voxels, grid):
        block = grid.block_at(key)
        places = np.stack([table[axis] for axis in "zyx"], 1)
        assert (voxels[table["node"]] == places).all()
        assert all(block.write_roi.contains(place) for place in places.tolist())
        seen += table["node"].tolist()
    assert sorted(seen) == np.flatnonzero(((voxels >= 0) & (voxels < grid.volume)).all(1)).tolist()
    assert list(nodes_by_block(voxels - 100, grid)) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "1 0 0 0 0 1 -1", r"got \.txt, wanted \.graphml or \.swc"),
        ("a.swc", "1 0 0 0\n", "line 1: has too few columns; got 4, wanted 7"),
        ("a.swc", "1 0 0 zero 0 1 -1\n", "line 1: is no row of numbers; got 1 0 0 zero 0 1 -1"),
        ("a.swc", "1 0 0 nan 0 1 -1\n", "line 1: node 1 has no place"),
        ("a.swc", "1 0 0 0 0 1 5\n", "line 1: parent 5 of node 1 is no node"),
        ("a.swc", "1.5 0 0 0 0 1 -1\n", "an id is no whole number"),
        (
            "a.swc",
            "1 0 0 0 0 1 -1\n2 0 0 0 0 1 1\n2 0 4 0 0 1 1\n",
            "line 3: node 2 is given twice; got also in line 2",
        ),
        ("a.swc", "# nothing\n", "holds no nodes"),
        ("a.graphml", "<graphml", "cannot be read"),
    ],
)
def test_files_that_make_no_sense_are_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    """The file, the fault and what is wanted are named."""
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=message):
        read_skeletons(tmp_path / name)
    with pytest.raises(BadInput, match="no such file"):
        read_skeletons(tmp_path / f"missing-{Path(name).stem}.swc")


HEADED = "# SCALE 2 2 2\n# OFFSET 100 200 300\n1 0 3 2 1 1 -1\n2 0 4 2 1 1 1\n"


@pytest.mark.parametrize(
    ("data", "places", "skeletons"),
    [
        (b"\xef\xbb\xbf# Windows\r\n1 0 3 2 1 1 -1\r\n2 0 4 2 1 1 1\r\n", [[1, 2, 3], [1, 2, 4]], 1),
        ("# µm\n1 0 3 2 1 1 -1\n2 0 4 2 1 1 1\n".encode("latin-1"), [[1, 2, 3], [1, 2, 4]], 1),
        ("1 0 3 2 1 1 -1\n2 0 4 2 1 1 1\n".encode("utf-16"), [[1, 2, 3], [1, 2, 4]], 1),
        (b"1.0 0 3 2 1 1 -1.0\n2.0 0 4 2 1 1 1.0\n", [[1, 2, 3], [1, 2, 4]], 1),
        (b"1 0 3 2 1 1 0\n2 0 4 2 1 1 1\n", [[1, 2, 3], [1, 2, 4]], 1),
        (b"0 0 3 2 1 1 -1\n1 0 4 2 1 1 0\n", [[1, 2, 3], [1, 2, 4]], 1),
        (b"2 0 4 2 1 1 1\n1 0 3 2 1 1 -1\n", [[1, 2, 4], [1, 2, 3]], 1),
        (b"1 0 3 2 1 1 -1\n2 0 4 2 1 1 1\n1 0 5 2 1 1 -1\n2 0 6 2 1 1 1\n", [[1, 2, n] for n in (3, 4, 5, 6)], 2),
        (HEADED.encode(), [[302, 204, 106], [302, 204, 108]], 1),
        ((HEADED + "# next\n1 0 5 2 1 1 -1\n").encode(), [[302, 204, 106], [302, 204, 108], [1, 2, 5]], 2),
        ((HEADED + "# OFFSET 0 0 0\n1 0 5 2 1 1 -1\n").encode(), [[302, 204, 106], [302, 204, 108], [1, 2, 5]], 2),
        (b"# SCALE of the image\n1 0 3 2 1 1 -1\n", [[1, 2, 3]], 1),
    ],
    ids=[
        "byte order mark",
        "Latin-1",
        "UTF-16",
        "ids as floats",
        "root with parent 0",
        "ids from 0",
        "child first",
        "two neurons",
        "headers",
        "headers of the first neuron only",
        "headers of both",
        "header without numbers",
    ],
)
def test_swc_is_read_as_programs_write_it(
    data: bytes, places: list[list[float]], skeletons: int, tmp_path: Path
) -> None:
    """Nodes lie where they are meant, and neurons of one file are not mixed up."""
    (tmp_path / "a.swc").write_bytes(data)
    found = read_skeletons(tmp_path / "a.swc")
    assert found.places.tolist() == places
    assert len(set(found.skeleton.tolist())) == skeletons
    assert len(found.edges) == len(places) - skeletons
