"""Simulated users in front of a few images."""

from __future__ import annotations

import numpy as np
import pytest

from contraband.experiments.study.clicks import Sitting, chosen_images
from contraband.experiments.study.data import classes_of
from contraband.experiments.study.data_settings import StudyData
from contraband.experiments.study.rows import Row
from contraband.experiments.study.settings import StudySettings
from contraband.experiments.study.study import Study
from contraband.experiments.study.users import USERS, section_box
from contraband.label.settings import LabelSettings
from tests.contraband.experiments.study.test_settings import plain
from tests.contraband.experiments.study.test_study import CLICKS, written
from tests.support.discs import discs


def sitting(user: str, draw: int = 3) -> Sitting:
    """A user in front of two images of discs."""
    raw, labels = discs(2)
    classes = classes_of(labels, StudyData.parse({"file": "discs.npz"}, "data"))
    return Sitting(raw, classes, LabelSettings(head="logistic", seed=draw), user, draw)


@pytest.mark.parametrize("user", USERS)
def test_fewer_clicks_are_the_beginning_of_more(tmp_path, user):
    """Clicks say what is there, are the same whenever they are made, and 5 of 12 are the first 5 of 12."""
    someone = sitting(user)
    few, many = someone.clicks(tmp_path / "a.json", 5, 12), someone.clicks(tmp_path / "a.json", 12, 12)
    again = someone.clicks(tmp_path / "b.json", 5, 5)
    assert few.points.positions.tolist() == many.points.positions[:5].tolist() == again.points.positions.tolist()
    assert (someone.classes[tuple(many.points.positions.T)] == many.points.labels).all()
    assert 0 < few.seconds < many.seconds
    other = sitting(user, draw=4).clicks(tmp_path / "c.json", 12, 12)
    assert other.points.positions.tolist() != many.points.positions.tolist()


def test_users_click_as_they_are_called(tmp_path):
    """Who spreads labels every class as often; who mends clicks on what the session told wrongly before."""
    spread = sitting("spreads").clicks(tmp_path / "spreads.json", 12, 12).points
    assert np.bincount(spread.labels).tolist() == [4, 4, 4]
    someone = sitting("mends")
    mended = someone.clicks(tmp_path / "mends.json", 12, 12).points
    for number in range(4, 12):
        before = someone.after(someone.clicks(tmp_path / "mends.json", number, 12))
        z, y, x = mended.positions[number]
        told = before.predict(section_box(before, int(z)))[:, 0, y, x].argmax()
        assert told != mended.labels[number]


def test_draws_are_clicked_in_other_images():
    """So many of all images, others for each draw; all of them if there are no more."""
    assert len(set(chosen_images(50, 6, 0).tolist())) == 6
    assert chosen_images(50, 6, 0).tolist() == chosen_images(50, 6, 0).tolist() != chosen_images(50, 6, 1).tolist()
    assert chosen_images(4, 6, 0).tolist() == [0, 1, 2, 3]


def test_labels_of_a_round_of_clicks_lie_in_the_images_of_its_draw(in_tmp):
    """Clicks of a user, and points that are drawn for an arm without one, lie in the same few images."""
    arms = {"n": {"method": "session", "user": "follows"}, "forest": {"method": "quick", "features": "gaussian"}}
    written(arms)
    content = plain(arms=arms, rounds={"main": CLICKS}, claims=[], data__discs={"file": "discs.npz"})
    content["data"]["discs"]["least_correlation"] = 1.0
    study = Study(StudySettings.parse(content, "study"))
    seen = set(chosen_images(len(study.data("discs").train_classes), 2, 1).tolist())
    for arm in arms:
        labels = study.labels(Row("main", "discs", arm, 12, 1, 0))
        assert len(labels) == 12
        assert set(labels.positions[:, 0].tolist()) <= seen
        assert (study.data("discs").train_classes[tuple(labels.positions.T)] == labels.labels).all()
