"""Encoders that rows share: trained once for a data set and a seed, by the mode `contrastive` of an experiment."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from blockwise.errors import BadInput
from blockwise.files.locks import only_one
from blockwise.files.whole import write_json, write_text
from contraband.experiments.building import norm_factor
from contraband.experiments.folders import Experiment
from contraband.experiments.params import Params, parse_params
from contraband.experiments.study.rows import Row
from contraband.experiments.study.study import Study
from contraband.experiments.train import train_contrastive
from contraband.models.checkpoints import load_checkpoint
from contraband.models.networks import ContrastiveVolumeNet
from contraband.samples.base import Pair
from contraband.samples.nodes import sub_seed
from contraband.samples.sources import ZarrVolume

SECONDS = "seconds.json"
WAIT_S = 0.5


def encoder_of(study: Study, row: Row) -> Experiment:
    """The experiment in which the row's contrastive encoder lies, trained if it is not there yet.

    Two processes that need the same one at once wait for each other.
    """
    whole = study.plain_params(row, "", str(study.container(row.data)))
    plain = {name: whole[name] for name in ("model", "contrastive")}
    experiment = Experiment(study.encoder(row, plain))
    experiment.path.mkdir(parents=True, exist_ok=True)
    with turn(experiment.path / ".turn"):
        if not (experiment.path / SECONDS).exists():
            shutil.rmtree(experiment.combination(0), ignore_errors=True)  # one that was cut off begins again
            write_text(experiment.param_dict, json.dumps(plain, indent=1))
            began = time.process_time()
            train_contrastive(parse_params(plain, experiment.param_dict), experiment, 0)
            write_json(experiment.path / SECONDS, time.process_time() - began)
    return experiment


def seconds_of(experiment: Experiment) -> float:
    """CPU seconds that an encoder took."""
    return float(json.loads((experiment.path / SECONDS).read_text(encoding="utf-8")))


def contrastive_content(experiment: Experiment) -> dict[str, Any]:
    """The checkpoint of a trained encoder."""
    folder = experiment.contrastive(0)
    return load_checkpoint(folder.checkpoint(folder.saved_steps()[-1]))


def random_content(params: Params) -> dict[str, Any]:
    """What the checkpoint of an encoder would hold that has learnt nothing; raw is that of `seg.data_file`."""
    model = params.model[0]
    settings = params.seg[0]
    torch.manual_seed(sub_seed(settings.seed, 0))
    network = ContrastiveVolumeNet(model, settings.levels)
    raw = Pair(ZarrVolume(settings.data_file[0], settings.dataset.train.raw))
    return {
        "kind": "contrastive",
        "model": model.model_dump(mode="json"),
        "head": {"projection_channels": model.projection_channels, "levels": settings.levels},
        "offsets": [],
        "norm_factor": norm_factor(settings, raw),
        "percentiles": settings.percentiles and settings.percentiles.model_dump(mode="json"),
        "step": 0,
        "ema": {name: value.detach() for name, value in network.named_parameters()},
    }


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Hold a lock, after waiting for whoever has it."""
    while True:
        with ExitStack() as stack:
            try:
                stack.enter_context(only_one(path, path, "is held"))
            except BadInput:
                time.sleep(WAIT_S)
                continue
            yield
            return
