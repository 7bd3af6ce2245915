"""The network takes over from the quick head, or does not, because of scores that a real training has computed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume
from contraband.experiments.behind.background import Background
from contraband.experiments.behind.rounds import RoundsPlan
from contraband.label.page import LabelPage
from contraband.label.record import Point, PointsRecord
from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.view.viewer import close_viewer, open_server
from tests.support.labelled import drawn, labelled_image
from tests.support.tiny import FEW, MODELS
from tests.support.volumes import store_volume

SIDE = 24
WAIT_S = 500
"""On a machine on which other tests run."""


def greys() -> tuple[np.ndarray, np.ndarray]:
    """Raw and classes of a section of squares: the grey ones are inside, dark and bright ones are not.

    No weighted sum of what a quick head is shown (how bright, how steep) tells the middle from both ends.
    """
    squares = np.array([[40, 128, 210, 128], [128, 210, 128, 40], [210, 128, 40, 128], [128, 40, 128, 210]])
    levels = np.kron(squares, np.ones((SIDE, SIDE)))[None]
    noise = np.random.default_rng(3).normal(0, 6, levels.shape)
    return np.clip(levels + noise, 0, 255).astype(np.uint8), np.where(levels == 128, 1, 2)


def plan_on(folder: Path, raw: np.ndarray, classes: np.ndarray, steps: int) -> RoundsPlan:
    """A stored section, twelve points of each class, and a network that is trained on them for so many steps."""
    store_volume(folder / "vol.zarr" / "raw", raw)
    with PointsRecord(folder / "vol.raw.points.csv", raw.shape) as record:
        for (z, y, x), label in zip(*drawn(classes, 12), strict=True):
            record.add(Point((int(z), int(y), int(x)), int(label)))
    seg = FEW | {"intensity": [False], "noise": [False], "lr": [0.01], "batch_size": [4], "ema_decay": [0.9]}
    seg |= {"num_iterations": [steps], "save_every": [steps // 2]}
    return RoundsPlan(
        volume={"volume": {"raw": str(folder / "vol.zarr" / "raw")}, "output": str(folder / "out.zarr")},
        label=LabelSettings(scales=(1.0, 2.0)),
        points=folder / "vol.raw.points.csv",
        params={"model": [MODELS[2]], "seg": seg},
        folder=folder / "vol.raw.training",
    )


@contextmanager
def labelling(plan: RoundsPlan) -> Iterator[tuple[LabelPage, Background]]:
    """The page on those points, and the process that trains behind it."""
    raw = Volume(path=plan.raw)
    volume = VolumeSettings.parse(dict(plan.volume), "test")
    with PointsRecord(plan.points, (1, 4 * SIDE, 4 * SIDE)) as record, Background(plan, nice=0) as training:
        session = LabelSession(raw, volume, plan.label, record)
        try:
            yield LabelPage(open_server("127.0.0.1", 0), raw, session, lambda: "", training), training
        finally:
            close_viewer()


def wait(page: LabelPage) -> str:
    """Work on what comes until the page tells the scores of a round; what it says of them."""
    end = time.monotonic() + WAIT_S
    said = ""
    while "told right when left out" not in said:
        assert time.monotonic() < end, said
        page.step(0.2)
        said = page.viewer.config_state.state.status_messages["training"]
    return said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_network_that_was_trained_to_be_better_takes_over(tmp_path):
    """Where the quick head cannot tell the classes, the network does after some steps: by the folds, and in truth."""
    raw, classes = greys()
    plan = plan_on(tmp_path, raw, classes, 100)
    whole = Roi((0, 0, 0), raw.shape)
    with labelling(plan) as (page, training):
        page.step(0)
        head = (page.session.predict(whole).argmax(0) == classes).mean()
        assert page.session.network is None
        said = wait(page)
        report = training.report
        assert report.trained.accuracy > report.quick.accuracy + 0.1
        assert page.session.network.path == plan.folder / report.network
        assert said.startswith("shown: trained network; told right when left out: network")
        assert (page.session.predict(whole).argmax(0) == classes).mean() > head + 0.1
        page.step(0)
        shown = page._prediction[(slice(0, 3), *whole.to_slices())]
        np.testing.assert_array_equal(shown, np.rint(page.session.predict(whole) * 255).astype(np.uint8))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_network_that_has_hardly_learnt_does_not_take_over(tmp_path):
    """After two steps it tells fewer labels right than the quick head, which stays; `t` shows the network anyhow."""
    raw, classes, _ = labelled_image((1, 4 * SIDE, 4 * SIDE), spacing=9)
    plan = plan_on(tmp_path, raw, classes, 2)
    with labelling(plan) as (page, training):
        page.step(0)
        said = wait(page)
        report = training.report
        assert report.trained.accuracy < report.quick.accuracy
        assert page.session.network is None
        assert said.startswith("shown: quick head; told right when left out: network")
        page.viewer.actions.invoke("take-other", {"viewerState": {}})
        page.step(0)
        assert page.session.network.path == plan.folder / report.network
