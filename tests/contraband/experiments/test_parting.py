"""Labels dealt out to folds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from blockwise.errors import BadInput
from contraband.experiments.parting import GAP_VX, deal, part_volume


def scribbles() -> np.ndarray:
    """Strokes in a volume: two of class 0, three of class 1, one long one of class 2, each on its own."""
    classes = np.full((6, 40, 60), -1, np.int8)
    for number, (z, y, label) in enumerate([(0, 2, 0), (0, 12, 1), (2, 2, 1), (2, 12, 0), (5, 30, 1)]):
        classes[z, y, 5 : 15 + number] = label
    classes[4, 20, 2:58] = 2
    return classes


def test_points_are_dealt_out_evenly():
    """Each kind by an order of its own, and the folds are of equal size."""
    kinds = np.repeat([0, 1, 2], [5, 5, 2])
    fold = deal(kinds, 3, lambda kind: np.random.default_rng([kind]))
    assert np.bincount(fold).tolist() == [4, 4, 4]
    assert all(np.ptp(np.bincount(fold[kinds == kind], minlength=3)) <= 1 for kind in range(3))
    other = deal(kinds, 3, lambda kind: np.random.default_rng([kind, 1]))
    assert other.tolist() != fold.tolist()


@pytest.mark.parametrize("is_flat", [True, False])
@pytest.mark.parametrize("folds", [2, 3])
def test_every_label_is_left_out_once_and_blobs_stay_together(folds, is_flat):
    """What is small is left out as a whole, the rest in pieces; every fold learns every class; the seed decides."""
    classes = scribbles()
    parted = part_volume(classes, folds, 0, is_flat, "labels")
    known = classes >= 0
    assert (sum(parted.left_out(number).astype(int) for number in range(folds)) == known).all()
    for number in range(folds):
        learnt, left = parted.learnt(number), parted.left_out(number)
        assert not (learnt & left).any()
        assert set(classes[learnt].tolist()) == {0, 1, 2}
    blobs = ndimage.label(known)[0]
    whole = [blob for blob in range(1, blobs.max() + 1) if (classes[blobs == blob] == 1).all()]
    assert len(whole) == 3
    assert all(len(set(parted.fold[blobs == blob].tolist())) == 1 for blob in whole)
    assert (parted.fold == part_volume(classes, folds, 0, is_flat, "labels").fold).all()


def test_next_to_what_is_left_out_nothing_is_learnt():
    """One blob of all labels is cut, and between what is learnt and what is left out lies a gap."""
    classes = np.random.default_rng(0).integers(0, 3, (1, 40, 40)).astype(np.int8)
    parted = part_volume(classes, 2, 0, True, "labels")
    for number in range(2):
        apart = ndimage.distance_transform_edt(~parted.left_out(number))
        learnt = parted.learnt(number)
        assert apart[learnt].min() > GAP_VX
        assert learnt.sum() > 0.3 * classes.size


def test_patches_and_images_are_left_out_as_a_whole():
    """Two patches and two folds: each is left out once, and nothing is cut."""
    classes = np.full((3, 30, 30), -1, np.int8)
    classes[0, :20, :20] = np.random.default_rng(0).integers(0, 3, (20, 20))
    classes[2, 5:25, 5:25] = np.random.default_rng(1).integers(0, 3, (20, 20))
    parted = part_volume(classes, 2, 0, True, "labels")
    assert {tuple(set(parted.fold[z][classes[z] >= 0].tolist())) for z in (0, 2)} == {(0,), (1,)}


def test_fewer_pieces_than_folds_are_refused():
    """A single voxel cannot be left out twice."""
    classes = np.full((1, 5, 5), -1, np.int8)
    classes[0, 2, 2] = 1
    with pytest.raises(BadInput, match="has fewer pieces of labels than folds; got 1, wanted at least 2"):
        part_volume(classes, 2, 0, True, "labels")


def test_objects_are_dealt_out_whole():
    """In a dense box of touching objects, with fibres through all of it, none is cut, and every fold has some."""
    objects = np.zeros((12, 40, 40), np.int64)
    objects[:, 2:30:4, :] = np.arange(1, 8)[:, None]
    objects[:, 31:] = np.arange(8, 18).repeat(4)
    classes = np.minimum(objects, 1)
    parted = part_volume(classes, 3, 0, False, "labels", objects)
    left = [set(objects[parted.left_out(number) & (objects > 0)].tolist()) for number in range(3)]
    assert sorted(number for some in left for number in some) == list(range(1, 18))
    for number in range(3):
        assert left[number]
        assert not left[number] & set(objects[parted.learnt(number)].tolist())
        assert set(classes[parted.learnt(number)].tolist()) == set(classes[parted.left_out(number)].tolist()) == {0, 1}
        apart = ndimage.distance_transform_edt(~parted.left_out(number))
        assert apart[parted.learnt(number)].min() > GAP_VX


def test_an_object_in_several_scribbles_is_left_out_with_all_of_them():
    """Two strokes across one object go together; strokes without an object are dealt out too."""
    objects = np.full((3, 20, 30), -1, np.int64)
    for z, y, number in ((0, 2, 1), (2, 15, 1), (0, 10, 2), (1, 5, 3), (1, 15, 4)):
        objects[z, y, 2:8] = number
        objects[z, y, 8:12] = 0
    objects[2, 2, 2:20] = 0
    parted = part_volume(np.minimum(objects, 1), 2, 0, False, "labels", objects)
    assert parted.pieces >= 5
    assert (parted.fold[objects >= 0] >= 0).all()
    assert len(set(parted.fold[0, 2, 2:12].tolist() + parted.fold[2, 15, 2:12].tolist())) == 1


def test_fewer_objects_than_folds_are_refused():
    """One object cannot be left out twice without being cut."""
    objects = np.zeros((1, 20, 20), np.int64)
    objects[0, 5:15, 5:15] = 1
    with pytest.raises(BadInput, match="has fewer objects than folds, and no object is cut; got 1, wanted at least 2"):
        part_volume(objects, 2, 0, True, "labels", objects)
