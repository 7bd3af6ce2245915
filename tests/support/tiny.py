"""A tiny experiment on a tiny volume, and a way to train it in another process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from contraband.experiments.folders import Experiment
from contraband.experiments.params import Params, load_params

MODELS = {
    2: {"in_shape": [32, 32], "num_fmaps": 8, "downsample_factors": [[2, 2]]},
    3: {"in_shape": [24, 28, 28], "num_fmaps": 8, "downsample_factors": [[2, 2, 2]]},
}

FEW = {
    "num_iterations": [10],
    "save_every": [4],
    "precision": ["float32"],
    "simple": [True],
    "intensity": [True],
    "noise": [True],
    "lr": [0.003],
}


def tiny_experiment(
    folder: Path, dims: int = 2, pipeline: str = "standard", save_embs: dict[str, Any] | None = None, **seg: Any
) -> tuple[Experiment, Params]:
    """An experiment with contrastive settings and one seg combination; cells brighter than their borders."""
    rng = np.random.default_rng(0)
    cells = np.kron(rng.integers(1, 200, (5, 5, 5)), np.ones((8, 8, 8))).astype(np.uint16)
    cells[:, :, ::8] = cells[:, ::8] = 0
    group = zarr.open_group(str(folder / "data.zarr"), mode="w")
    group.create_array("raw", data=((cells > 0) * 180 + rng.integers(0, 40, cells.shape)).astype(np.uint8))
    group.create_array("labels", data=cells)
    data = {"data_file": [str(folder / "data.zarr")]}
    head = {"dataset": [{"train": {"raw": "raw", "gt": "labels"}}], "seg_head": ["Sparse"], "batch_size": [2]}
    content = {
        "pipeline": pipeline,
        "save_embs": save_embs,
        "model": [MODELS[dims]],
        "contrastive": FEW | data | {"dataset": [["raw"]], "batch_size": [2]},
        "seg": FEW | data | head | {key: [value] for key, value in seg.items()},
    }
    experiment = Experiment(folder / "experiments" / "tiny" / "EXP1-tiny-1-1-2026")
    experiment.path.mkdir(parents=True)
    experiment.param_dict.write_text(json.dumps(content))
    return experiment, load_params(experiment.param_dict)


def changed(params: Params, section: str, **values: Any) -> Params:
    """The same with other values in the one combination of `contrastive` or `seg`."""
    (settings,) = getattr(params, section)
    return params.model_copy(update={section: (settings.model_copy(update=values),)})


def class_volume(folder: Path) -> NDArray[np.int8]:
    """The classes of a tiny experiment's cells beside its data: all of them, and those of a few scribbles only.

    Dark half-cells are background, so that all three classes can be told apart.
    """
    group = zarr.open_group(str(folder / "data.zarr"), mode="a")
    rng = np.random.default_rng(1)
    classes = np.ones((40, 40, 40), np.int8)
    classes[:, :, ::8] = classes[:, ::8] = 2
    empty = np.kron(rng.random((5, 5, 5)) < 0.4, np.ones((8, 8, 8), bool)) & (classes == 1)
    classes[empty] = 0
    raw = np.choose(classes, [20, 200, 110]) + rng.integers(0, 30, classes.shape)
    scribbles = np.full_like(classes, -1)
    scribbles[3::9, 4:36, 4:36] = classes[3::9, 4:36, 4:36]
    for name, values in (("raw", raw.astype(np.uint8)), ("all classes", classes), ("classes", scribbles)):
        group.create_array(name, data=values, overwrite=True)
    return classes
