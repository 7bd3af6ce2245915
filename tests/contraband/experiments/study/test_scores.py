"""Scores of objects and pixels, against other implementations and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import variation_of_information as theirs

from contraband.experiments.study import scores
from contraband.experiments.study.data import Images
from contraband.experiments.study.data_settings import StudyData
from tests.support.discs import discs

NUCLEI = StudyData.parse({"file": "a.npz"}, "data")
MEMBRANES = StudyData.parse({"file": "a.npz", "kind": "membranes"}, "data")


def certain(classes: np.ndarray) -> np.ndarray:
    """Probabilities of 0 and 1 that say these classes."""
    return np.stack([classes == one for one in range(3)]).astype(np.float32)


def test_true_classes_give_perfect_scores():
    """Told the true classes of discs, every disc is found, and average precision is 1; told nothing, none is."""
    raw, labels = discs()
    classes = scores.classes_of(labels, NUCLEI)
    assert scores.score(certain(classes), Images(raw, labels), NUCLEI) == {"f1": 1.0, "ap": 1.0}
    found = scores.score(np.zeros((3, *raw.shape), np.float32), Images(raw, labels), NUCLEI)
    assert found["f1"] == 0
    assert found["ap"] == pytest.approx((classes == 2).mean())


def test_otsu_finds_bright_discs():
    """Without a label, most discs are found, and dark ground is background of nuclei, boundary of membranes."""
    raw, labels = discs()
    said = scores.otsu(raw, NUCLEI)
    assert scores.score(said, Images(raw, labels), NUCLEI)["f1"] > 0.9
    assert (scores.otsu(raw, MEMBRANES)[2] == said[0]).all()


def test_an_object_counts_above_half_overlap():
    """Of two found and two true objects one overlaps enough: F1 is a half, whatever the images."""
    truth = np.array([[[1, 1, 1, 0, 2, 2, 2, 2]], [[0] * 8]])
    found = np.array([[[5, 5, 0, 0, 0, 0, 9, 9]], [[0] * 8]])
    assert scores.f1_of_objects(found, truth) == 0.5
    assert scores.f1_of_objects(found * 0, truth) == 0
    assert scores.f1_of_objects(truth, truth) == 1
    assert scores.f1_of_objects(truth[1:], truth[1:]) == 1


def test_average_precision_is_that_of_every_threshold():
    """Equal to the sum over thresholds, done the slow way, within the steps of probability."""
    random = np.random.default_rng(0)
    truth = random.random((2, 30, 30)) < 0.2
    said = (random.random(truth.shape) * 0.6 + truth * random.random(truth.shape) * 0.4).astype(np.float32)
    area = recall = 0.0
    for threshold in np.sort(np.floor(said.ravel() * scores.LEVELS))[::-1]:
        chosen = np.floor(said * scores.LEVELS) >= threshold
        new = truth[chosen].sum() / truth.sum()
        area += (new - recall) * truth[chosen].mean()
        recall = new
    assert scores.average_precision(said, truth) == pytest.approx(area)
    assert scores.average_precision(said, truth & False) == 0


def test_voi_is_that_of_scikit_image():
    """The mean over images of split and merge, where the truth is not 0."""
    random = np.random.default_rng(0)
    truth, found = random.integers(0, 5, (3, 20, 20)), random.integers(1, 7, (3, 20, 20))
    expected = [sum(theirs(t, f, ignore_labels=(0,))) for t, f in zip(truth, found, strict=True)]
    assert scores.voi(found, truth) == pytest.approx(np.mean(expected))
    assert scores.voi(truth, truth) == 0


def test_cells_fill_their_images():
    """The boundary goes to the nearest cell; an image in which nothing is inside is one cell."""
    classes = np.ones((2, 9, 21), np.int8)
    classes[0, :, 10] = 2
    classes[1] = 2
    found = scores.cells(certain(classes))
    assert (found > 0).all()
    assert [len(np.unique(section)) for section in found] == [2, 1]
    said = scores.score(certain(classes), Images(classes, np.where(classes == 1, 1, 0)), MEMBRANES)
    assert said["voi"] == 0
    assert said["ap"] < 1


def test_labels_apart_in_an_image_are_two_objects():
    """A body that a section cuts twice is counted as two."""
    labels = np.array([[[4, 0, 4, 7]]])
    assert scores.connected(labels).tolist() == [[[1, 0, 2, 3]]]
