"""How long a person waits after a click: the fit of a quick head, then prediction and segments of the screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from funlib.geometry import Roi

from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.quick.fitting import HeadKind, fit
from contraband.volumes.settings import VolumeSettings
from tests.benchmarks.report import Row
from tests.support.labelled import drawn, labelled_image

NAME = "labelling"
SCREENS = {(1, 512, 512): 500, (128, 256, 256): 2000}
"""What is looked at, and the milliseconds in which it should be there again."""
TIMES = 5
POINTS = 20
"""Of each class."""


def measure(folder: Path, quick: bool) -> list[Row]:
    """Milliseconds, the best of a few times."""
    rows = fits()
    for shape, goal in SCREENS.items():
        if not quick or shape[0] == 1:
            rows += screens(shape, goal)
    return rows


def fits() -> list[Row]:
    """Either head on a thousand points of a hundred features."""
    random = np.random.default_rng(0)
    classes = np.arange(1000) % 3
    features = (random.standard_normal((1000, 100)) * 3 + random.standard_normal((3, 100))[classes]).astype(np.float32)
    goals: dict[HeadKind, str] = {"logistic": "<= 100", "forest": ""}
    return [
        Row(
            f"fit of a {kind} head, 1,000 points of 100 features",
            best(partial(fit, kind, features, classes)),
            "ms",
            goal,
        )
        for kind, goal in goals.items()
    ]


def screens(shape: tuple[int, int, int], goal: int) -> list[Row]:
    """A click, until prediction and segments of the screen are there; and the same after a move to where nothing is."""
    raw, classes, _ = labelled_image(shape, spacing=12 if shape[0] > 1 else 10)
    what = "x".join(map(str, shape))
    box = Roi((0, 0, 0), shape)
    rows = []
    kinds: tuple[HeadKind, ...] = ("forest", "logistic") if shape[0] == 1 else ("logistic",)
    for kind in kinds:
        session = LabelSession(raw, VolumeSettings(output=Path("none.zarr")), LabelSettings(head=kind))
        begin = time.perf_counter()
        session.warm(box)
        features = (time.perf_counter() - begin) * 1000
        voxels, labels = drawn(classes, POINTS)
        for voxel, label in zip(voxels[1:], labels[1:], strict=True):
            session.click(voxel, label)
        look(session, box)
        spans = []
        for _ in range(TIMES):
            session.click(voxels[0], labels[0])
            spans.append(look(session, box))
            session.undo()
        fitted, predicted, segmented = np.array(spans)[np.argmin(np.sum(spans, axis=1))]
        note = f"fit {fitted:.0f}, prediction {predicted:.0f}, segments {segmented:.0f} ms; {2 * POINTS} points"
        rows.append(
            Row(f"click to segments of {what}, {kind}", fitted + predicted + segmented, "ms", f"<= {goal}", note=note)
        )
        rows.append(Row(f"features of {what}, once", features, "ms", note="before the first click, or after a move"))
    return rows


def look(session: LabelSession, box: Roi) -> tuple[float, float, float]:
    """Milliseconds of the fit, the prediction and the segments, which follow each other on the page."""
    begin = time.perf_counter()
    session.head()
    fitted = time.perf_counter()
    session.predict(box)
    predicted = time.perf_counter()
    session.segment(box)
    end = time.perf_counter()
    return (fitted - begin) * 1000, (predicted - fitted) * 1000, (end - predicted) * 1000


def best(work: Callable[[], object]) -> float:
    """Milliseconds of the quickest of a few times, after one that counts for nothing."""
    spans = []
    for _ in range(TIMES + 1):
        begin = time.perf_counter()
        work()
        spans.append((time.perf_counter() - begin) * 1000)
    return min(spans[1:])
