"""Arms that fit a quick head to features of the labelled points. They learn again whenever they are asked: a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from funlib.geometry import Roi
from numpy.typing import NDArray

from contraband.experiments.study.clicks import session_on
from contraband.experiments.study.encoders import contrastive_content, encoder_of, random_content, seconds_of
from contraband.experiments.study.prediction import exact_hardware, stretched, whole
from contraband.experiments.study.rows import Row
from contraband.experiments.study.scores import Probabilities
from contraband.experiments.study.study import Study
from contraband.label.session import LabelSession
from contraband.models.classes import CLASSES
from contraband.models.predictor import Predictor
from contraband.quick.fitting import fit
from contraband.quick.gaussian import GaussianFeatures
from contraband.quick.logistic import Scaling

FeaturesOf = Callable[[NDArray[Any]], NDArray[np.float32]]
"""(F, S, y, x) of images (S, y, x) as they are stored."""

PIXELS = 2000
"""Of each labelled image, so many without a label tell how features are distributed."""


def quick_arm(study: Study, row: Row) -> tuple[Callable[[NDArray[Any]], Probabilities], float]:
    """What says how probable classes are in images, learnt from the row's labels; and its encoder's CPU seconds."""
    if study.data(row.data).settings.dims == 3:
        session = _deep_session(study, row)
        return lambda images: session_says(study, session, images), 0.0
    features, seconds = _features(study, row)
    arm = study.arm(row)
    points = study.labels(row)
    raw = study.data(row.data).images("train").raw
    random = np.random.default_rng(row.seed)
    at_points = np.empty((0, 0), np.float32)
    others = []
    for section in np.unique(points.positions[:, 0]):
        found = features(raw[section][None])[:, 0]
        here = np.flatnonzero(points.positions[:, 0] == section)
        if not at_points.size:
            at_points = np.empty((len(points), len(found)), np.float32)
        at_points[here] = found[:, points.positions[here, 1], points.positions[here, 2]].T
        others.append(random.choice(found.reshape(len(found), -1).T, PIXELS))
    head = fit(arm.head, at_points, points.labels, row.seed, Scaling.of(np.concatenate(others)))

    def probabilities(images: NDArray[Any]) -> Probabilities:
        return np.concatenate([head.of_volume(features(one[None])) for one in images], axis=1)

    return probabilities, seconds


def session_says(study: Study, session: LabelSession, raw: NDArray[Any]) -> Probabilities:
    """How probable classes are in other images, by the head of a session."""
    image = study.featured(raw, session.image.recipe)
    result = np.empty((len(CLASSES), *raw.shape), np.float32)
    for tile, found in image.over_tiles(Roi((0, 0, 0), raw.shape), session.head().of_volume):
        result[(slice(None), *tile.to_slices())] = found
    return result


def _deep_session(study: Study, row: Row) -> LabelSession:
    """In 3D features are computed where they are looked at, as in a session: of a whole volume they are too many."""
    raw = study.data(row.data).images("train").raw
    session = session_on(raw, study.label_settings(row), dims=3)
    points = study.labels(row)
    for voxel, label in zip(points.positions.tolist(), points.labels.tolist(), strict=True):
        session.click(voxel, label)
    return session


def _features(study: Study, row: Row) -> tuple[FeaturesOf, float]:
    """What an arm's head stands on, and the CPU seconds that it took to train."""
    arm = study.arm(row)
    images = str(study.container(row.data))
    params = study.params(row, images, images)
    settings = params.seg[0]
    if arm.features == "gaussian":
        gaussian = GaussianFeatures()
        return lambda raw: gaussian.of(stretched(raw, settings.percentiles), dims=2), 0.0
    content, seconds = random_content(params), 0.0
    if arm.start == "contrastive":
        experiment = encoder_of(study, row)
        content, seconds = contrastive_content(experiment), seconds_of(experiment)
    predictor = Predictor(content, "embeddings", exact_hardware(), settings.levels)
    return lambda raw: whole(predictor, raw), seconds
