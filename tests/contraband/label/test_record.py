"""Labelled points on disk: none is lost, none is torn, and one process writes at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from blockwise.errors import BadInput
from contraband.label.record import Point, PointsRecord
from contraband.samples.points import read_points
from tests.support.paths import ROOT

SHAPE = (4, 50, 60)

WRITER = """
import sys
from pathlib import Path
from contraband.label.record import Point, PointsRecord
with PointsRecord(Path(sys.argv[1]), (4, 50, 60)) as record:
    for number in range(100_000):
        point = Point((number % 4, number // 60 % 50, number % 60), number % 3)
        record.add(point)
        if number % 7 == 6:
            record.undo()
        print(len(record.points), flush=True)
"""


def rows(path: Path) -> list[list[int]]:
    """What trainings read of the file."""
    found = read_points(path)
    return [[*map(int, voxel), int(label)] for voxel, label in zip(found.positions, found.labels, strict=True)]


def writing(path: Path) -> subprocess.Popen[str]:
    """Another process that labels into the file as fast as it can."""
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_points_are_what_trainings_read(tmp_path):
    """The file has a line for each point, in the order of the clicks; undone ones go to the file beside it."""
    path = tmp_path / "vol.points.csv"
    with PointsRecord(path, SHAPE) as record:
        assert not path.exists()
        assert record.undo() is None
        record.add(Point((0, 1, 2), 1))
        record.add(Point((3, 49, 59), 2))
        record.add(Point((1, 1, 1), 0))
        assert rows(path) == [[0, 1, 2, 1], [3, 49, 59, 2], [1, 1, 1, 0]]
        assert record.undo() == Point((1, 1, 1), 0)
        assert rows(path) == [[0, 1, 2, 1], [3, 49, 59, 2]]
    assert (tmp_path / "vol.points.undone.csv").read_text() == "1,1,1,0\n"
    with PointsRecord(path, SHAPE) as record:
        assert record.points == (Point((0, 1, 2), 1), Point((3, 49, 59), 2))
        record.undo()
        record.undo()
        assert record.points == ()
    with PointsRecord(path, SHAPE) as record:
        assert record.points == ()
        record.add(Point((0, 0, 0), 1))
    assert rows(path) == [[0, 0, 0, 1]]


def test_settling_leaves_the_latest_class_of_a_voxel(tmp_path):
    """Of two points at one voxel the later one is left, in the file as well."""
    with PointsRecord(tmp_path / "p.csv", SHAPE) as record:
        for label in (1, 2):
            record.add(Point((0, 0, 0), label))
            record.add(Point((0, 0, label), label))
        record.settle()
        record.add(Point((1, 0, 0), 0))
    assert rows(tmp_path / "p.csv") == [[0, 0, 0, 2], [0, 0, 1, 1], [0, 0, 2, 2], [1, 0, 0, 0]]


def test_a_file_is_never_seen_without_points(tmp_path, monkeypatch):
    """Whoever reads while the first point is set finds no file or that point, at whatever moment it is looked."""
    path = tmp_path / "p.csv"
    sync, seen = os.fsync, []

    def look(descriptor):
        seen.append(rows(path) if path.exists() else None)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    with PointsRecord(path, SHAPE) as record:
        record.add(Point((0, 0, 1), 1))
        assert list(seen) == [None, [[0, 0, 1, 1]]]
        record.add(Point((0, 0, 2), 2))
    assert len(seen) == 3


@pytest.mark.parametrize("after", [1, 30, 200])
def test_a_kill_loses_no_point(tmp_path, after):
    """After kill -9 the file holds every point whose click had returned, at most one more, and no half line."""
    path = tmp_path / "p.csv"
    with writing(path) as process:
        assert process.stdout is not None
        counts = [int(process.stdout.readline()) for _ in range(after)]
        os.kill(process.pid, signal.SIGKILL)
        counts += [int(line) for line in process.stdout]
    assert process.returncode == -signal.SIGKILL
    with PointsRecord(path, SHAPE) as record:
        # what was killed within a click may have added its point, or taken one back already
        assert abs(len(record.points) - counts[-1]) <= 1
        assert len(rows(path)) == len(record.points)


def test_a_second_writer_is_refused(tmp_path):
    """While one process labels into a file, another is told so and writes nothing; after its end it may."""
    path = tmp_path / "p.csv"
    with writing(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(BadInput, match="is being labelled by another process"), PointsRecord(path, SHAPE):
            pass
        process.kill()
    with PointsRecord(path, SHAPE) as record:
        record.add(Point((0, 0, 0), 1))


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (Point((4, 0, 0), 1), "outside the volume"),
        (Point((0, -1, 0), 1), "outside the volume"),
        (Point((0, 0, 60), 2), "outside the volume"),
        (Point((0, 0, 0), 3), "of no class"),
        (Point((0, 0, 0), -1), "of no class"),
    ],
)
def test_points_outside_are_refused(tmp_path, point, words):
    """A point outside of the volume, or of no class, is refused in one line and leaves no file."""
    with PointsRecord(tmp_path / "p.csv", SHAPE) as record:
        with pytest.raises(BadInput, match=words):
            record.add(point)
        assert record.points == ()
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("y,x,label\n1,1,1\n", "no usable header"),
        ("nonsense", "no usable header"),
        ("z,y,x,label\n1,1,1,7\n", "of no class"),
        ("z,y,x,label\n9,1,1,1\n", "outside the volume"),
        ("z,y,x,label\n1,1,1\n1,1,1,1\n", "line 2"),
    ],
)
def test_files_of_something_else_are_refused_and_left_alone(tmp_path, content, words):
    """Another header, another class, a point outside and a bad line are refused; the file stays as it is."""
    path = tmp_path / "p.csv"
    path.write_text(content)
    with pytest.raises(BadInput, match=words), PointsRecord(path, SHAPE):
        pass
    assert path.read_text() == content


@pytest.mark.parametrize(("tail", "kept"), [("2,3,4,1", 2), ("2,3,4,", 1), ("2,3", 1), ("2", 1)])
def test_a_torn_last_line_is_left_out(tmp_path, tail, kept):
    """A line that a power cut tore is no point; a whole one without its end of line is."""
    path = tmp_path / "p.csv"
    path.write_text("z,y,x,label\n1,1,1,1\n" + tail)
    with PointsRecord(path, SHAPE) as record:
        assert len(record.points) == kept
        record.add(Point((0, 0, 0), 0))
    assert len(rows(path)) == kept + 1


def test_a_missing_folder_is_said(tmp_path):
    """A file whose folder is not there is refused before anything is clicked."""
    with pytest.raises(BadInput, match="folder is not there"), PointsRecord(tmp_path / "no" / "p.csv", SHAPE):
        pass
