"""Folds of labels, and the loss at those that were left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from contraband.experiments.study.folding import folds_of, loss_at
from contraband.samples.points import Points


def points(*labels: int) -> Points:
    """A point for each label."""
    return Points(np.arange(3 * len(labels)).reshape(-1, 3), np.array(labels))


def test_each_label_is_left_out_once():
    """Learnt and left out are all points; every class is parted evenly, and no fold lacks a class to learn from."""
    given = points(*[0] * 6, *[1] * 5, *[2] * 5)
    left_out = []
    for learnt, left in folds_of(given, 3, draw=4):
        assert len(learnt) + len(left) == 16
        assert set(learnt.labels) == {0, 1, 2}
        assert np.bincount(left.labels, minlength=3).min() >= 1
        left_out += left.positions[:, 0].tolist()
    assert sorted(left_out) == given.positions[:, 0].tolist()


def test_the_only_label_of_a_class_is_never_left_out():
    """With one point of a class, every fold learns from it."""
    for learnt, left in folds_of(points(0, 0, 0, 1), 2, draw=0):
        assert set(learnt.labels) == {0, 1}
        assert 1 not in left.labels


def test_folds_are_those_of_the_draw():
    """The same draw is parted in the same way."""
    given = points(*[0] * 8, *[1] * 8)
    first, again, other = ([left.positions.tolist() for _, left in folds_of(given, 2, draw)] for draw in (1, 1, 2))
    assert first == again != other


def test_classes_weigh_the_same_in_the_loss():
    """Four labels of a class told with 0.5 and one of another told for sure: the log of 2, whatever their numbers."""
    said = np.array([[0.5, 0.5, 0]] * 4 + [[0, 1, 0]])
    assert loss_at(said, np.array([0, 0, 0, 0, 1])) == pytest.approx(math.log(2))
    assert loss_at(np.array([[1.0, 0, 0]]), np.array([2])) == pytest.approx(math.log(1000))
