"""Labelled points and their CSV."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.errors import BadInput
from contraband.cli import call
from contraband.samples.points import (
    Points,
    as_labels,
    check_present,
    generate_class_points,
    generate_points,
    is_mask,
    read_points,
    write_points,
)
from tests.support.volumes import store_volume

LABELS = np.random.default_rng(0).integers(0, 3, (6, 20, 30)).astype(np.uint32)


def test_half_of_the_points_are_foreground_and_all_differ():
    """k of each kind, each voxel once, with the label of the volume."""
    points = generate_points(LABELS, 50, seed=3)
    assert (points.labels[:50] > 0).all()
    assert not points.labels[50:].any()
    assert len(np.unique(points.positions, axis=0)) == 100
    assert (LABELS[tuple(points.positions.T)] == points.labels).all()


def test_a_seed_gives_the_same_points_for_ever():
    """The same seed repeats, another differs."""
    first, same, other = (generate_points(LABELS, 9, seed).positions for seed in (1, 1, 2))
    assert (first == same).all()
    assert (first != other).any()


def test_points_of_somebody_are_not_replaced(in_tmp, capsys):
    """The same points again are no fault; others, which may have been labelled by hand, stay as they are."""
    store_volume(in_tmp / "vol.zarr" / "labels", LABELS)
    draw = ["points", "vol.zarr/labels", "points.csv", "--count", "3"]
    assert call(draw) == 0
    before = (in_tmp / "points.csv").read_bytes()
    assert call(draw) == 0
    assert call([*draw, "--seed", "1"]) == 2
    assert "points.csv: exists already, with other points" in capsys.readouterr().err
    assert (in_tmp / "points.csv").read_bytes() == before


def test_the_latest_label_of_a_voxel_counts():
    """A page appends lines, so that a label which was corrected is there twice; points that agree all stay."""
    positions = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 2], [0, 1, 3], [0, 1, 2]])
    found = Points(positions, np.array([1, 0, 0, 0, 1])).latest()
    assert found.positions.tolist() == [[0, 1, 2], [0, 1, 3], [0, 1, 3], [0, 1, 2]]
    assert found.labels.tolist() == [1, 0, 0, 1]


def test_points_survive_their_file(tmp_path):
    """Writing and reading returns the same points."""
    points = generate_points(LABELS, 5)
    write_points(points, tmp_path / "deep" / "points.csv")
    found = read_points(tmp_path / "deep" / "points.csv")
    assert (found.positions == points.positions).all()
    assert (found.labels == points.labels).all()


def test_columns_may_stand_in_any_order_and_z_may_be_missing(tmp_path):
    """A file for one section has no z."""
    (tmp_path / "p.csv").write_text("label,x,y\n1,5,4\n0,2.0,3\n\n")
    found = read_points(tmp_path / "p.csv")
    assert found.positions.tolist() == [[0, 4, 5], [0, 3, 2]]
    assert found.labels.tolist() == [1, 0]


TABLES = {
    "semicolons": b"z;y;x;label\n0;4;5;1\n",
    "tabs": b"z\ty\tx\tlabel\n0\t4\t5\t1\n",
    "byte order mark": b"\xef\xbb\xbfz,y,x,label\r\n0,4,5,1\r\n",
    "Unicode text of Excel": "z\ty\tx\tlabel\r\n0\t4\t5\t1\r\n".encode("utf-16"),
    "index of pandas": b",z,y,x,label\n0,0,4,5,1\n",
    "further columns": b"name,z,y,x,class,confidence\n'a',0,4,5,1,0.5\n",
    "empty lines of a spreadsheet": b"Z, Y, X, Label\n0,4,5,1\n,,,\n",
}


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_tables_of_other_programs_are_points(content, tmp_path):
    """Whatever stands between the columns, beside them and before the file."""
    (tmp_path / "p.csv").write_bytes(content)
    found = read_points(tmp_path / "p.csv")
    assert (found.positions.tolist(), found.labels.tolist()) == ([[0, 4, 5]], [1])


def test_the_file_of_a_spreadsheet_is_named(tmp_path):
    """An .xlsx that was renamed is no CSV that cannot be decoded."""
    (tmp_path / "p.csv").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(BadInput, match=r"the file of a spreadsheet.*save it as CSV"):
        read_points(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "header"),
        ("a,b\n", "header"),
        ("y,x,label\n", "no points"),
        ("y,x,x,label\n1,2,3,4\n", "header"),
        ("z;y;x;label\n1,5;2;3;1\n", "'1,5'"),
        ("y,x,label\n1,2\n", "line 2"),
        ("y,x,label\n1,b,0\n", "'b'"),
        ("y,x,label\n1,2.5,0\n", "whole"),
        ("y,x,label\n-1,2,0\n", "whole"),
        ("y,x,label\nnan,2,0\n", "number"),
    ],
)
def test_faults_of_a_file_are_named(tmp_path, text, part):
    """One line with the file and the line in it."""
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(BadInput, match=part):
        read_points(tmp_path / "p.csv")


def test_too_few_voxels_and_points_outside_are_refused(tmp_path):
    """What cannot be drawn or does not fit is bad input."""
    with pytest.raises(BadInput, match="background"):
        generate_points(np.ones((4, 4)), 2)
    with pytest.raises(BadInput, match="outside"):
        generate_points(LABELS, 40).check_inside((3, 20, 30), "p.csv")
    with pytest.raises(BadInput, match="no such file"):
        read_points(tmp_path / "none.csv")


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_voxels_that_are_not_labelled_are_no_points(dtype):
    """-1, and the largest number of an unsigned type, are neither foreground nor background."""
    labels = np.full((1, 4, 4), np.array(-1).astype(dtype))
    labels[0, 0] = 3
    labels[0, 1] = 0
    assert as_labels(labels, is_mask(labels))[0].tolist() == [[3] * 4, [0] * 4, [-1] * 4, [-1] * 4]
    drawn = generate_points(labels, 4)
    assert sorted(drawn.labels.tolist()) == [0] * 4 + [3] * 4


def test_a_mask_of_0_and_255_is_labelled():
    """255 alone means one object, as in an image."""
    mask = np.array([[[0, 255]]], np.uint8)
    assert as_labels(mask, is_mask(mask)).tolist() == [[[0, 255]]]
    assert not is_mask(np.array([[[0, 1, 255]]], np.uint8))


def test_drawn_classes_are_there_equally_often():
    """Each class that is labelled, the first ones once more where it does not divide; unknown is never drawn."""
    classes = np.full((2, 9, 9), -1)
    classes[0, :3] = 1
    classes[1, :2] = 2
    drawn = generate_class_points(classes, 11, seed=4)
    assert np.bincount(drawn.labels).tolist() == [0, 6, 5]
    assert (classes[tuple(drawn.positions.T)] == drawn.labels).all()
    assert len(np.unique(drawn.positions, axis=0)) == 11
    again = generate_class_points(classes, 11, seed=4)
    assert (again.positions == drawn.positions).all()
    with pytest.raises(BadInput, match="too few boundary voxels; got 18, wanted 20"):
        generate_class_points(classes, 40)


def test_a_column_may_be_called_class(tmp_path):
    """As files of classes have it; both columns at once are refused."""
    (tmp_path / "p.csv").write_text("y,x,class\n3,4,2\n")
    assert read_points(tmp_path / "p.csv").labels.tolist() == [2]
    (tmp_path / "p.csv").write_text("y,x,class,label\n3,4,2,2\n")
    with pytest.raises(BadInput, match="header"):
        read_points(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ([0, 1], None),
        ([1, 2, -1], None),
        ([0, 2], "got background, boundary"),
        ([1], "got inside"),
        ([1, 2, 5], "got 5"),
    ],
)
def test_classes_that_teach_nothing_are_refused(found, wanted):
    """Inside and one that is not must be there, and no number that is no class."""
    if wanted is None:
        check_present(np.array(found), "p.csv")
        return
    with pytest.raises(BadInput, match=wanted):
        check_present(np.array(found), "p.csv")
