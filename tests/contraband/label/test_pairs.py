"""Pairs of one object and of two: on disk, and what they teach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.errors import BadInput
from contraband.label.pairs import HEADER, LabelPair, PairsRecord, pairs_beside, read_pairs
from contraband.label.record import Point
from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.volumes.settings import VolumeSettings

SHAPE = (1, 60, 64)
SAME = LabelPair((0, 1, 2), (0, 1, 6), True)
OTHER = LabelPair((0, 5, 5), (0, 8, 5), False)


def session_on(raw: np.ndarray, head: str = "logistic", pairs: PairsRecord | None = None) -> LabelSession:
    """A session in memory, but for its pairs."""
    volume = VolumeSettings.parse({"output": "out.zarr"}, "test")
    return LabelSession(raw, volume, LabelSettings(head=head), pairs=pairs)


def two_cells() -> np.ndarray:
    """Two bright halves with a dark membrane between them, and a shadow across the left one that is none."""
    raw = np.full(SHAPE, 190.0)
    raw[:, :, 31:34] = 70
    raw[:, 29:32, :31] = 120
    raw += np.random.default_rng(0).normal(0, 4, SHAPE)
    return raw.astype(np.uint8)


def test_a_pair_is_on_the_disk_and_undone_from_there(tmp_path: Path):
    """Each pair is a line when `add` returns; undone, it goes to a file beside it; a new session goes on from there."""
    path = pairs_beside(tmp_path / "vol.raw.points.csv")
    assert path.name == "vol.raw.pairs.csv"
    record = PairsRecord(path, SHAPE)
    assert not path.exists()
    record.add(SAME)
    record.add(OTHER)
    assert read_pairs(path) == [SAME, OTHER]
    assert record.undo() == OTHER
    assert read_pairs(path) == [SAME]
    assert path.with_suffix(".undone.csv").read_text() == "0,5,5,0,8,5,0\n"
    session = session_on(two_cells(), pairs=PairsRecord(path, SHAPE))
    session.click((0, 30, 32), 2)
    assert session.undo() == Point((0, 30, 32), 2)
    assert session.undo() == SAME
    assert session.undo() is None
    assert read_pairs(path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nonsense", "no usable header"),
        (f"{HEADER}\n1,2\n", "line 2"),
        (f"{HEADER}\n0,0,0,0,60,0,1\n", "outside the volume"),
        (f"{HEADER}\n0,1,1,0,1,1,1\n", "of one voxel"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path: Path, content, words):
    """Another header, a line that is no pair, a voxel outside and a pair of one voxel are refused in one line."""
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(BadInput, match=words):
        PairsRecord(tmp_path / "p.csv", SHAPE)


def test_a_torn_last_line_is_left_out(tmp_path: Path):
    """A line that has no end is no pair, and the next one is written in its place."""
    path = tmp_path / "p.csv"
    path.write_text(f"{HEADER}\n0,1,2,0,1,6,1\n0,5,5,0")
    record = PairsRecord(path, SHAPE)
    assert record.pairs == (SAME,)
    record.add(OTHER)
    assert read_pairs(path) == [SAME, OTHER]


def test_the_weakest_voxel_between_is_taught():
    """It is inside in one object, and between two the likelier of background and boundary; neighbours have none."""
    said = np.array([[0.0, 0.9, 0.1], [0.3, 0.3, 0.4], [0.0, 0.8, 0.2]])
    assert SAME.line == [(0, 1, 3), (0, 1, 4), (0, 1, 5)]
    assert SAME.taught(said) == [Point((0, 1, 4), 1)]
    other = SAME._replace(is_same=False)
    assert other.taught(said) == [Point((0, 1, 4), 2)]
    assert other.taught(said[:, [2, 1, 0]]) == [Point((0, 1, 4), 0)]
    assert other.taught(np.array([[0.0, 1.0, 0.0]] * 3)) == [Point((0, 1, 3), 2)]
    assert LabelPair((0, 1, 2), (0, 1, 3), True).taught(np.zeros((0, 3))) == []


@pytest.mark.parametrize("head", ["logistic", "forest"])
def test_pairs_part_and_join_objects(head):
    """A shadow that was taken for a membrane is inside after a pair across it; undone, all is as before."""
    session = session_on(two_cells(), head)
    box = Roi((0, 0, 0), SHAPE)
    for voxel, label in {(0, 10, 10): 1, (0, 50, 50): 1, (0, 30, 10): 2, (0, 10, 32): 2}.items():
        session.click(voxel, label)
    before = session.predict(box).copy()
    assert before[1, 0, 30, 20] < 0.5
    session.undo()
    session.undo()
    session.click((0, 10, 32), 2)
    plain = session.predict(box).copy()
    session.pair((0, 20, 20), (0, 40, 20), True)
    joined = session.predict(box).copy()
    assert joined[1, 0, 29:32, 15:25].mean() > max(0.5, plain[1, 0, 29:32, 15:25].mean())
    session.pair((0, 20, 20), (0, 20, 45), False)
    assert session.predict(box)[1, 0, 15:25, 32].mean() < 0.5
    assert [point.label for point in session.implied([Point((0, 10, 10), 1), Point((0, 10, 32), 2)])] == [1] * 4 + [
        1,
        2,
    ]
    session.undo()
    session.undo()
    np.testing.assert_array_equal(session.predict(box), plain)
