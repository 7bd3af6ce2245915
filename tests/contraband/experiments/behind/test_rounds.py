"""Rounds of the training behind a session: what is trained, how it is judged, and what a box is told for."""

from __future__ import annotations

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput
from contraband.experiments.behind.network import TrainedNetwork
from contraband.experiments.behind.params import default_params
from contraband.experiments.behind.rounds import TrainingRound, check_enough, chosen_step, read_report
from contraband.label.behind import RoundReport
from contraband.label.proposals import LabelScore
from contraband.label.record import Point
from contraband.label.session import LabelSession
from contraband.models.predictor import load_predictor
from contraband.models.settings import ModelSettings
from contraband.models.unet import UNet
from contraband.samples.points import Points
from contraband.volumes.settings import VolumeSettings
from tests.support.labelled import labelled_image
from tests.support.trained import SHAPES, affinities_without, labelled_plan

pytestmark = pytest.mark.usefixtures("one_thread")


def silent(doing: str, step: int, total: int) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.slow
def test_a_round_judges_network_and_head_by_the_same_folds(tmp_path, dims):
    """Each label is left out once, of both; the network is kept, its folds are not, and nothing is trained twice."""
    plan, points = labelled_plan(tmp_path, dims)
    told: list[tuple[str, int]] = []
    first = TrainingRound(plan, points, [], lambda doing, step, _: told.append((doing, step)))
    report = first.run()
    assert read_report(plan) == report
    assert report.step in (3, 6)
    for one in (report.trained, report.quick):
        assert one.labels == len(points)
        assert len(one.of_folds) == 3
        assert 0 <= one.accuracy <= 1
        assert 0 < one.spread < 1
    steps = [("an encoder, without labels", 4), *((f"fold {number} of 3", 6) for number in (1, 2, 3))]
    assert [one for one in told if one in steps] == steps
    assert told[-1] == ("all labels", report.step)
    kept = {path.name for path in plan.folder.iterdir()}
    assert kept == {"encoder", report.network, "report.json"}
    again = TrainingRound(plan, points[:-1], [], lambda doing, step, _: told.append((doing, step))).run()
    assert [doing for doing, _ in told].count("an encoder, without labels") == 4
    assert {path.name for path in plan.folder.iterdir()} == kept | {again.network}  # the one before may be shown still


@pytest.mark.parametrize("dims", [2, 3])
def test_what_the_network_says_of_a_box_is_what_a_run_predicts(tmp_path, dims):
    """With a network the affinities of a box are those of a run with its checkpoint, but for rounding."""
    plan, points = labelled_plan(tmp_path, dims)
    report = TrainingRound(plan, points, [], silent).run()
    session = LabelSession(Volume(path=plan.raw), VolumeSettings.parse(dict(plan.volume), "test"), plan.label)
    for point in points:
        session.click(*point)
    before = session.affinities(Roi((0, 0, 0), session.shape))
    network = TrainedNetwork(plan.folder / report.network, session.image)
    session.network = network
    predictor = load_predictor(network.path, "affinities")
    around = np.array(predictor.context)
    beyond = [-size % step for size, step in zip(session.shape, predictor.stride, strict=True)]
    sides = [(side, side + more) for side, more in zip(around, beyond, strict=True)]
    expected = predictor.quantised(np.pad(labelled_image(SHAPES[dims])[0], sides, mode="reflect"))
    box = Roi((0, 7, 5), (session.shape[0], 30, 33))
    seen = session.affinities(box)
    difference = seen.astype(int) - expected[(slice(None), *box.to_slices())]
    assert np.abs(affinities_without(difference, dims)).max() <= 1
    assert np.any(seen != before[(slice(None), *box.to_slices())])
    assert session.segment(box).shape == tuple(box.shape)
    said = network.at([point.voxel for point in points])
    whole = session.predict(Roi((0, 0, 0), session.shape))
    np.testing.assert_allclose(said, np.array([whole[(slice(None), *point.voxel)] for point in points]), atol=1e-4)


def test_a_network_takes_over_only_if_it_tells_more_labels_right():
    """More labels of the folds told right than by the quick head; a tie is the head's, which answers at once."""
    scores = {share: LabelScore(share, 0.1, 20, (share, share)) for share in (0.7, 0.8)}
    better = {
        (one, other): RoundReport("network", "digest", 3, scores[one], scores[other]).is_better
        for one in scores
        for other in scores
    }
    assert better == {(0.7, 0.7): False, (0.7, 0.8): False, (0.8, 0.7): True, (0.8, 0.8): False}


def test_the_score_is_that_of_hand_made_folds():
    """Shares told right are means over the classes, in all and in each fold."""
    classes = np.array([1, 1, 1, 1, 2, 2])
    told = np.array([1, 1, 2, 1, 2, 1])
    found = LabelScore.of(told, classes, np.array([0, 0, 1, 1, 0, 1]))
    assert found.accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found.of_folds == pytest.approx((1.0, 0.25))
    assert found.labels == 6


def test_a_fold_has_no_say_in_the_step_at_which_it_is_judged():
    """The step of all is that of the least mean loss; each fold is told at the step that is best for the others."""
    left = [Points(np.zeros((1, 3), np.int64), np.array([1])) for _ in range(3)]
    inside = np.array([[0.9, 0.5], [0.8, 0.6], [0.1, 0.7]])  # of each fold, after either step
    looks = [
        {step: np.array([[0, one[place], 1 - one[place]]], np.float32) for place, step in enumerate((10, 20))}
        for one in inside
    ]
    step, said = chosen_step(looks, left)
    assert step == 20
    assert [float(one[0, 1]) for one in said] == pytest.approx([0.5, 0.6, 0.1])


@pytest.mark.parametrize(("labels", "words"), [([], "0, 0, 0"), ([1, 1, 2], "0, 2, 1"), ([0, 0, 2, 2], "2, 0, 2")])
def test_too_few_labels_are_waited_for(labels, words):
    """A class with one label, or none inside of objects, cannot be judged by folds; it is said what is missing."""
    with pytest.raises(BadInput, match=words):
        check_enough([Point((0, 0, place), label) for place, label in enumerate(labels)])
    check_enough([Point((0, 0, place), label) for place, label in enumerate([1, 1, 2, 2])])


@pytest.mark.parametrize("shape", [(1, 20, 300), (1, 512, 512), (4, 30, 200), (128, 256, 256)])
def test_the_default_network_fits_volumes_of_any_shape(shape):
    """Its output is never larger than the volume, and where that is large as large as it may be."""
    dims = 2 if shape[0] == 1 else 3
    model = ModelSettings.parse(default_params(dims, shape, None)["model"][0], "test")
    output = UNet(model).output_shape(model.in_shape)
    assert all(one <= size for one, size in zip(output, shape[3 - dims :], strict=True))
