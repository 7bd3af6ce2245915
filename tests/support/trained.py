"""A volume with labels, and trainings behind its labelling that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from blockwise.grid import Voxels
from contraband.experiments.behind.rounds import RoundsPlan
from contraband.label.record import Point, PointsRecord
from contraband.label.settings import LabelSettings
from contraband.models.settings import ModelSettings
from tests.support.labelled import drawn, labelled_image
from tests.support.tiny import FEW, MODELS
from tests.support.untrained import store_untrained
from tests.support.volumes import store_volume

SHAPES: dict[int, Voxels] = {2: (1, 90, 100), 3: (20, 40, 44)}


def tiny_params(dims: int, steps: int = 6) -> dict[str, Any]:
    """Sections of a param_dict.json: a contrastive start of four steps, then joint training."""
    contrast = FEW | {"num_iterations": [4], "batch_size": [2]}
    seg = FEW | {"num_iterations": [steps], "save_every": [steps // 2], "batch_size": [2], "joint": [{"denoise": {}}]}
    return {"model": [MODELS[dims]], "contrastive": contrast, "seg": seg}


def labelled_plan(folder: Path, dims: int, steps: int = 6, each: int = 3) -> tuple[RoundsPlan, list[Point]]:
    """A stored volume, points of both classes, which are on disk, and a training that reads them."""
    raw, classes, _ = labelled_image(SHAPES[dims])
    store_volume(folder / "vol.zarr" / "raw", raw)
    voxels, labels = drawn(classes, each)
    points = [Point((int(z), int(y), int(x)), int(label)) for (z, y, x), label in zip(voxels, labels, strict=True)]
    with PointsRecord(folder / "vol.raw.points.csv", SHAPES[dims]) as record:
        for point in points:
            record.add(point)
    volume = {"volume": {"raw": str(folder / "vol.zarr" / "raw")}, "output": str(folder / "out.zarr")}
    plan = RoundsPlan(
        volume=volume,
        label=LabelSettings(),
        points=record.path,
        params=tiny_params(dims, steps),
        folder=folder / "vol.raw.training",
    )
    return plan, points


def store_network(path: Path, dims: int = 2, seed: int = 0) -> None:
    """The checkpoint of a network that tells classes and has learnt nothing."""
    store_untrained(path, ModelSettings.parse(MODELS[dims], "test"), {"out_channels": 3, "says": "classes"}, seed)


def more_points(plan: RoundsPlan, dims: int, count: int) -> None:
    """So many further points of each class, as a session would add them."""
    _, classes, _ = labelled_image(SHAPES[dims])
    with PointsRecord(plan.points, SHAPES[dims]) as record:
        for (z, y, x), label in zip(*drawn(classes, count, seed=5), strict=True):
            record.add(Point((int(z), int(y), int(x)), int(label)))


def affinities_without(values: np.ndarray, dims: int) -> np.ndarray:
    """Affinities without the first voxel of each axis, whose neighbour lies outside of the box."""
    return values[:, 1 if dims == 3 else 0 :, 1:, 1:]
