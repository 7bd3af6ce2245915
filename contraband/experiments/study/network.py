"""Arms that train a network: by the product's own trainings, with the step chosen by folds of the labels."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from blockwise.files.whole import write_json, write_text
from contraband.experiments.folders import BASELINE, Experiment
from contraband.experiments.grid import Training
from contraband.experiments.params import load_params
from contraband.experiments.study.data import LABELS, RAW
from contraband.experiments.study.encoders import encoder_of, seconds_of
from contraband.experiments.study.folding import folds_of, folds_of_volume, loss_at
from contraband.experiments.study.prediction import class_predictor, classes_at, classes_whole
from contraband.experiments.study.rows import COLUMNS, Row
from contraband.experiments.study.scores import Probabilities, score
from contraband.experiments.study.settings import OF_KIND, SCORES
from contraband.experiments.study.study import Study
from contraband.experiments.train import train_one
from contraband.models.checkpoints import keep_for_prediction, load_checkpoint
from contraband.models.folder import RunFolder
from contraband.models.predictor import Predictor
from contraband.samples.points import Points


def train_network(study: Study, row: Row) -> dict[str, object]:
    """Train a row's network; its steps, CPU seconds, and scores on the validation part at either step."""
    shutil.rmtree(study.training(row, ""), ignore_errors=True)  # a row that was cut off begins again
    encoder = encoder_of(study, row) if study.arm(row).start == "contrastive" else None
    chosen = _step_by_folds(study, row, encoder)
    began = time.process_time()
    folder = _trained(study, row, study.labels(row), "all", encoder)
    seconds = time.process_time() - began
    data = study.data(row.data)
    images = data.images("validate")
    found = {}
    for step in folder.saved_steps():
        said = classes_whole(_predictor(folder.checkpoint(step)), images.raw)
        found[step] = score(said, images, data.settings)
    first = OF_KIND[data.settings.kind][0]
    dense = max(found, key=lambda step: SCORES[first] * found[step][first])
    values: dict[str, object] = {"step": chosen["step"], "step_dense": dense, "steps": max(found)}
    for column, step in zip(COLUMNS, (int(chosen["step"]), dense), strict=True):
        keep_for_prediction(folder.checkpoint(step), study.kept(row, column))
        values |= {f"{name}{column}": value for name, value in found[step].items()}
    shutil.rmtree(study.training(row, ""))
    spent = {"seconds": seconds, "seconds_folds": chosen["seconds"]}
    return values | spent | {"seconds_encoder": seconds_of(encoder) if encoder else 0.0}


def kept_network(study: Study, row: Row, column: str) -> Callable[[NDArray[Any]], Probabilities]:
    """What the network of a row says at the step of a column."""
    predictor = _predictor(study.kept(row, column))
    return lambda raw: classes_whole(predictor, raw)


def _step_by_folds(study: Study, row: Row, encoder: Experiment | None) -> dict[str, float]:
    """The step at which the labels left out are told best, all folds together; and the CPU seconds of finding it."""
    path = study.folds(row)
    if not path.exists():
        points = study.labels(row)
        raw = study.data(row.data).images("train").raw
        began = time.process_time()
        losses: dict[int, float] = {}
        for number, (learnt, left) in enumerate(_folds(study, row, points)):
            folder = _trained(study, row, learnt, f"fold{number}", encoder)
            for step in folder.saved_steps():
                said = classes_at(_predictor(folder.checkpoint(step)), raw, left.positions)
                losses[step] = losses.get(step, 0.0) + loss_at(said, left.labels)
        best = min(losses, key=lambda step: losses[step])
        write_json(path, {"step": best, "seconds": time.process_time() - began, "losses": losses})
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _folds(study: Study, row: Row, points: Points) -> Iterator[tuple[Points, Points]]:
    """What is learnt and what is left out: single points, or pieces of what is labelled side by side."""
    count = study.settings.folds.count
    if row.k != "all" and study.settings.rounds[row.round].labels != "patches":
        return folds_of(points, count, row.draw)
    data = study.data(row.data)
    classes = classes_at_points(points, data.train_classes.shape)
    return folds_of_volume(classes, count, row.draw, data.settings.dims == 2)


def _trained(study: Study, row: Row, points: Points, name: str, encoder: Experiment | None) -> RunFolder:
    """Train the row's network on some points, by the mode `seg` of an experiment of its own."""
    experiment = Experiment(study.training(row, name))
    images = study.container(row.data)
    labelled = _labelled(experiment.path / "data.zarr", images, points, study.data(row.data).train_classes.shape)
    write_text(experiment.param_dict, json.dumps(study.plain_params(row, str(labelled), str(images)), indent=1))
    checkpoint = BASELINE
    if encoder is not None:
        experiment.combination(0).mkdir()
        (experiment.combination(0) / "contrastive").symlink_to(encoder.contrastive(0).path.absolute())
        checkpoint = encoder.contrastive(0).saved_steps()[-1]
    train_one(load_params(experiment.param_dict), experiment, Training(0, 0, checkpoint))
    return experiment.seg(0, 0, checkpoint)


def classes_at_points(points: Points, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Classes (z, y, x) of labelled points; -1 elsewhere."""
    classes = np.full(shape, -1, np.int8)
    classes[tuple(points.positions.T)] = points.labels
    return classes


def _labelled(target: Path, images: Path, points: Points, shape: tuple[int, ...]) -> Path:
    """A container of the training images, not copied, and of the classes of a few of their pixels; -1 elsewhere."""
    group = zarr.open_group(str(target), mode="w")
    group.create_array(LABELS, data=classes_at_points(points, shape), chunks=shape)
    (target / RAW).symlink_to((images / RAW).absolute())
    return target


def _predictor(path: Path) -> Predictor:
    return class_predictor(load_checkpoint(path))
