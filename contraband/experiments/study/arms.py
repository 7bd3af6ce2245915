"""What each kind of arm does: learn from a row's labels, and say how probable classes are."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contraband.experiments.study.network import kept_network, train_network
from contraband.experiments.study.quick import quick_arm, session_says
from contraband.experiments.study.rows import COLUMNS, Row
from contraband.experiments.study.scores import Probabilities, otsu, score
from contraband.experiments.study.study import Study


def compute(study: Study, row: Row) -> dict[str, object]:
    """Learn, and score on the validation part; the values of the row."""
    if study.arm(row).method == "network":
        return train_network(study, row)
    data = study.data(row.data)
    images = data.images("validate")
    began = time.process_time()
    clicks = study.clicks(row) if study.arm(row).method == "session" else None
    said, seconds_encoder = _without_steps(study, row, images.raw)
    found = score(said, images, data.settings)
    values: dict[str, object] = {f"{name}{column}": value for column in COLUMNS for name, value in found.items()}
    spent = clicks.seconds if clicks else time.process_time() - began
    return values | {"seconds": spent, "seconds_folds": 0.0, "seconds_encoder": seconds_encoder}


def tested(study: Study, row: Row) -> dict[str, object]:
    """Scores on the test part of an arm that has learnt, in both columns."""
    data = study.data(row.data)
    images = data.images("test")
    found: dict[str, object] = {}
    for column in COLUMNS:
        scores = score(probabilities(study, row, images.raw, column), images, data.settings)
        found |= {f"{name}{column}": value for name, value in scores.items()}
    return found


def probabilities(study: Study, row: Row, raw: NDArray[Any], column: str) -> Probabilities:
    """What an arm that has learnt says of images, at the step of a column of scores."""
    if study.arm(row).method == "network":
        return kept_network(study, row, column)(raw)
    return _without_steps(study, row, raw)[0]


def _without_steps(study: Study, row: Row, raw: NDArray[Any]) -> tuple[Probabilities, float]:
    """Of the arms that have no step to choose; and the CPU seconds of their encoder."""
    method = study.arm(row).method
    settings = study.data(row.data).settings
    if method == "otsu":
        return otsu(raw, settings), 0.0
    if method == "none":  # all is one object
        said = np.zeros((3, *raw.shape), np.float32)
        said[1] = 1
        return said, 0.0
    if method == "session":
        return session_says(study, study.sitting(row).after(study.clicks(row)), raw), 0.0
    arm, seconds_encoder = quick_arm(study, row)
    return arm(raw), seconds_encoder
