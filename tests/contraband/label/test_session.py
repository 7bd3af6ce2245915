"""The labelling session: what is clicked, and what it makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput
from contraband.experiments.study.users import USERS, label_once
from contraband.label.record import Point, PointsRecord
from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.quick.file import load_head
from contraband.quick.predictor import QuickPredictor
from contraband.volumes.brightness import volume_levels
from contraband.volumes.settings import VolumeSettings
from tests.support.labelled import drawn, labelled_image
from tests.support.scores import variation_of_information
from tests.support.volumes import store_volume

FLAT = (1, 90, 100)
DEEP = (24, 60, 50)
SPACING = {FLAT: 6, DEEP: 14}


def session_on(raw, settings: LabelSettings | None = None, record: PointsRecord | None = None, **rules) -> LabelSession:
    """A session with the rules of fragments."""
    volume = VolumeSettings.parse({"output": "out.zarr", "fragments": rules}, "test")
    return LabelSession(raw, volume, settings, record)


def clicked(session: LabelSession, classes: np.ndarray, each: int) -> None:
    """So many points of each class."""
    for voxel, label in zip(*drawn(classes, each), strict=True):
        session.click(voxel, label)


def whole(session: LabelSession) -> Roi:
    """The whole image."""
    return Roi((0, 0, 0), session.shape)


@pytest.mark.parametrize("head", ["forest", "logistic"])
@pytest.mark.parametrize("shape", [FLAT, DEEP])
def test_a_few_clicks_segment_an_image(shape, head):
    """Twelve points of each class part the cells of a made-up image, in 2D and in 3D."""
    raw, classes, labels = labelled_image(shape, spacing=SPACING[shape])
    session = session_on(raw, LabelSettings(head=head))
    clicked(session, classes, 12)
    probabilities = session.predict(whole(session))
    assert ((probabilities.argmax(axis=0) == classes).mean()) > 0.8
    segments = session.segment(whole(session))
    assert segments.shape == shape
    alone = sum(variation_of_information(np.ones_like(labels), labels))
    assert sum(variation_of_information(segments, labels)) < alone / 5


@pytest.mark.parametrize("stretch", [None, "section"])
@pytest.mark.parametrize("shape", [FLAT, DEEP])
def test_what_is_seen_is_what_a_run_predicts(shape, stretch, tmp_path: Path):
    """The affinities of a box are those of the saved head on the whole volume, to the bit, stretched or not."""
    raw, classes, _ = labelled_image(shape)
    stored = store_volume(tmp_path / "vol.zarr" / "raw", raw)
    session = session_on(stored, LabelSettings(stretch=stretch))
    clicked(session, classes, 6)
    session.save_head(tmp_path / "head.npz")
    predictor = QuickPredictor(*load_head(tmp_path / "head.npz"))
    around = [(side, side) for side in predictor.context]
    if predictor.percentiles is not None:
        raw = volume_levels(stored, predictor.percentiles).apply(raw, np.arange(shape[0]))
    expected = predictor.quantised(np.pad(raw, around, mode="reflect"))
    begin, size = (shape[0] // 3, 11, 7), (shape[0] // 2 + 1, 40, 37)
    box = Roi(begin, size)
    np.testing.assert_array_equal(
        session.affinities(box)[:, 1 if shape[0] > 1 else 0 :, 1:, 1:],
        expected[(slice(None), *box.to_slices())][:, 1 if shape[0] > 1 else 0 :, 1:, 1:],
    )


def test_every_point_counts_and_undo_takes_it_back():
    """A further point changes the prediction; taken back, it is the one from before to the bit."""
    raw, classes, _ = labelled_image(FLAT)
    session = session_on(raw)
    clicked(session, classes, 3)
    before = session.predict(whole(session)).copy()
    session.click((0, 5, 5), 3 - int(classes[0, 5, 5]))
    assert np.any(session.predict(whole(session)) != before)
    assert session.undo() == Point((0, 5, 5), 3 - int(classes[0, 5, 5]))
    np.testing.assert_array_equal(session.predict(whole(session)), before)


def test_points_outlive_the_session(tmp_path: Path):
    """A session that begins with a file goes on from its points, as if it had been the same one."""
    raw, classes, _ = labelled_image(FLAT)
    path = tmp_path / "vol.points.csv"
    with PointsRecord(path, FLAT) as record:
        session = session_on(raw, record=record)
        clicked(session, classes, 4)
        before = session.predict(whole(session))
    with PointsRecord(path, FLAT) as record:
        again = session_on(raw, record=record)
        assert again.points == session.points
        np.testing.assert_array_equal(again.predict(whole(again)), before)


def test_nothing_is_predicted_from_one_class():
    """Without labels of two classes there is no prediction, no proposal and no score, and the message says so."""
    session = session_on(labelled_image(FLAT)[0])
    for label in (None, 1, 1):
        if label is not None:
            session.click((0, 3, 4), label)
        assert not session.is_ready
        assert session.score() is None
        for ask in (session.head, session.propose, lambda: session.predict(whole(session))):
            with pytest.raises(BadInput, match="all of one class"):
                ask()
    session.click((0, 3, 4), 2)  # another class at the same voxel replaces it
    assert not session.is_ready
    session.click((0, 30, 40), 1)
    assert session.is_ready


def test_proposals_balance_the_classes_and_differ():
    """Each proposal is of the class predicted that has the fewest labels, and lies away from points and proposals."""
    raw, classes, _ = labelled_image((1, 200, 220), spacing=7)
    session = session_on(raw)
    clicked(session, classes, 3)
    for voxel in drawn(classes, 3, seed=1)[0][:3]:  # of class 1
        session.click(voxel, 1)
    seen = [point.voxel for point in session.points]
    for _ in range(8):
        voxel, label = session.propose()
        counts = np.bincount([point.label for point in session.points], minlength=3)
        assert counts[label] == counts[1:].min()
        assert min(np.abs(np.subtract(voxel, other)).max() for other in seen) >= 4
        assert session.predict(Roi(voxel, (1, 1, 1))).argmax(axis=0).item() == label
        seen.append(voxel)
        session.click(voxel, int(classes[voxel]))


@pytest.mark.parametrize("user", USERS)
def test_every_kind_of_person_gets_a_segmentation(user):
    """Who mends what is wrong, who spreads clicks and who follows `n` all part the cells within thirty clicks."""
    raw, classes, labels = labelled_image(FLAT, spacing=SPACING[FLAT])
    session = session_on(raw, LabelSettings(head="logistic"))
    random = np.random.default_rng(0)
    for _ in range(30):
        label_once(session, classes, USERS[user], random)
    assert len(session.points) == 30
    alone = sum(variation_of_information(np.ones_like(labels), labels))
    assert sum(variation_of_information(session.segment(whole(session)), labels)) < alone / 3


def test_the_score_is_high_where_classes_can_be_told_and_sure_with_more_labels():
    """Labels that fit the image are told when left out, shuffled ones are not; more labels make it surer."""
    raw, classes, _ = labelled_image(FLAT)
    good, bad = session_on(raw), session_on(raw)
    clicked(good, classes, 5)
    few = good.score()
    clicked(good, np.where(classes == 2, 2, 1), 25)
    many = good.score()
    random = np.random.default_rng(0)
    for voxel, label in zip(drawn(classes, 25)[0], random.permutation(np.repeat([1, 2], 25)), strict=True):
        bad.click(voxel, int(label))
    wrong = bad.score()
    assert few is not None
    assert many is not None
    assert wrong is not None
    assert many.accuracy > 0.8
    assert wrong.accuracy < 0.7
    assert many.spread < few.spread
    assert 0 < many.spread < 0.2


def test_labels_of_background_leave_it_out_of_segments():
    """Once there are points of class 0, what lies outside of objects is 0; the rules of the run say so too."""
    raw, classes, labels = labelled_image(FLAT, spacing=20)
    dark = np.asarray(labels <= labels.max() // 2)
    raw = np.where(dark & (classes == 1), 30, raw).astype(np.uint8)
    classes = np.where(dark & (classes == 1), 0, classes)
    session = session_on(raw)
    clicked(session, np.where(classes == 0, 1, classes), 1)
    assert session.volume().fragments.background is None
    session.undo()
    session.undo()
    clicked(session, classes, 15)
    assert session.volume().fragments.background == 0.5
    assert session.volume().fragments.per_section
    segments = session.segment(whole(session))
    assert (segments[classes == 0] == 0).mean() > 0.9
    assert (segments[classes == 1] > 0).mean() > 0.8


@pytest.mark.parametrize(("voxel", "label"), [((1, 0, 0), 1), ((0, -1, 0), 1), ((0, 0, 100), 2), ((0, 0, 0), 3)])
def test_clicks_beside_the_image_are_refused(voxel, label):
    """A voxel outside and an unknown class are refused, and change nothing."""
    session = session_on(labelled_image(FLAT)[0])
    with pytest.raises(BadInput):
        session.click(voxel, label)
    assert session.points == ()


def test_boxes_outside_and_other_arrays_are_refused():
    """A box beyond the image, and an array that is no image, are refused in one line."""
    raw, classes, _ = labelled_image(FLAT)
    session = session_on(raw)
    clicked(session, classes, 2)
    with pytest.raises(BadInput, match="outside"):
        session.predict(Roi((0, 0, 0), (1, 90, 101)))
    for other in (np.zeros((4, 4)), np.zeros((1, 4, 4), complex), np.zeros((0, 4, 4))):
        with pytest.raises(BadInput, match="is no image"):
            session_on(other)
    with pytest.raises(BadInput, match="no such volume"):
        session_on(Volume(path=Path("nosuch")))
