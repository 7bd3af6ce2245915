"""Trainings of an experiment: which task, on what, into which folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blockwise.errors import BadInput
from contraband.experiments.building import (
    contrastive_base,
    contrastive_pairs,
    contrastive_task,
    norm_factor,
    ranged,
    seg_task,
)
from contraband.experiments.folders import Experiment
from contraband.experiments.folds import FoldedTraining, parted_labels, shifted
from contraband.experiments.grid import Training, heads
from contraband.experiments.labels import seg_pairs
from contraband.experiments.params import Combination, Params, named_settings, settings_hash
from contraband.models.hardware import choose_hardware
from contraband.training.loop import train
from contraband.training.settings import SegSettings, TrainSettings
from contraband.training.state import StepProgress
from contraband.training.tasks import Task

log = logging.getLogger(__name__)


def train_contrastive(params: Params, experiment: Experiment, index: int, progress: StepProgress | None = None) -> Path:
    """Train the base encoder of one combination, or go on training it; the newest checkpoint."""
    combination = params.combination(index)
    settings = combination.contrastive
    if settings is None:
        raise BadInput(experiment.param_dict, "has no contrastive section", todo="add one, or use --mode seg")
    used = ranged(settings, contrastive_pairs(settings))
    hardware = choose_hardware(settings.augment, settings.precision)
    task = contrastive_task(combination.model, used, hardware.augments_in_loader)
    header = {
        "kind": "contrastive",
        "model": combination.model.model_dump(mode="json"),
        "head": {"projection_channels": combination.model.projection_channels, "levels": settings.levels},
        "offsets": [],
        "norm_factor": norm_factor(used, contrastive_pairs(used)[0]),
        "percentiles": used.percentiles and used.percentiles.model_dump(mode="json"),
        "settings_hash": settings_hash(combination.model, settings),
        "settings": named_settings(model=combination.model, contrastive=settings),
        "seed": settings.seed,
    }
    return train(task, settings, experiment.contrastive(index), header, hardware, progress)


def train_seg(
    params: Params,
    experiment: Experiment,
    index: int,
    checkpoints: Sequence[int] = (),
    progress: StepProgress | None = None,
) -> list[Path]:
    """Train every seg combination on each contrastive checkpoint (baselines once, without); the newest checkpoints."""
    params.combination(index)
    if not params.seg:
        raise BadInput(experiment.param_dict, "has no seg section", todo="add one")
    if not checkpoints and not all(settings.baseline for settings in params.seg):
        there = ", ".join(map(str, experiment.contrastive(index).saved_steps())) or "none"
        raise BadInput("--checkpoints", "a head needs contrastive checkpoints", todo=f"there are: {there}")
    return [train_one(params, experiment, head, progress) for head in heads(params, experiment, index, checkpoints)]


def train_one(params: Params, experiment: Experiment, training: Training, progress: StepProgress | None = None) -> Path:
    """Train one point of the grid, or go on training it; the newest checkpoint."""
    if training.seg_index is None:
        return train_contrastive(params, experiment, training.index, progress)
    combination = params.combination(training.index)
    settings = params.seg[training.seg_index]
    return _train_one_seg(params, experiment, combination, settings, training, progress)


def _train_one_seg(
    params: Params,
    experiment: Experiment,
    combination: Combination,
    settings: SegSettings,
    training: Training,
    progress: StepProgress | None,
) -> Path:
    checkpoint = training.checkpoint
    base = None if settings.baseline else contrastive_base(experiment, combination, checkpoint)
    if base is not None and combination.contrastive is not None:
        _warn_of_other_raw(combination.contrastive, settings, training)
    embeddings = None
    if params.pipeline == "sparse_sh":
        embeddings = experiment.embeddings(combination.index, checkpoint, settings.dataset.train.raw)
        if not embeddings.exists():
            raise BadInput(embeddings, "no embeddings", todo="make them with --mode emb first")
    used = ranged(settings, seg_pairs(settings))
    hardware = choose_hardware(settings.augment, settings.precision)

    def make_task() -> Task:
        return seg_task(params, combination.model, used, hardware.augments_in_loader, base, embeddings)

    header = _seg_header(params, combination, settings, used, checkpoint)
    folder = training.folder(experiment)
    if not settings.folds:
        return train(make_task(), settings, folder, header, hardware, progress)
    folds = parted_labels(params, settings, folder)
    choice = FoldedTraining(make_task, folds, settings, folder, header, hardware).choose(progress)
    # the steps up to there are those of the folds: what changes over a training is spread over all that were planned
    stopped = {"num_iterations": choice.step, "schedule_steps": settings.planned_steps}
    later = shifted(progress, settings.folds * settings.num_iterations, settings)
    header["folds"] = choice.as_dict()
    return train(make_task(), settings.model_copy(update=stopped), folder, header, hardware, later)


def _seg_header(
    params: Params, combination: Combination, settings: SegSettings, used: SegSettings, checkpoint: int
) -> dict[str, Any]:
    """What a checkpoint tells of its training, apart from what changes from step to step.

    used: the settings with what was found out of raw.
    """
    offsets = settings.offsets_for(combination.model.dims)
    return {
        "kind": "segmentation",
        "model": combination.model.model_dump(mode="json"),
        "head": {
            "seg_head": settings.seg_head,
            "out_channels": settings.outputs_for(combination.model.dims),
            "levels": settings.levels,
            "says": "classes" if settings.teaches == "classes" else "affinities",
            "foreground": settings.has_background,
            "restores": settings.joint is not None,
        },
        "offsets": [list(offset) for offset in offsets],
        "norm_factor": norm_factor(used, seg_pairs(used)[0]),
        "percentiles": used.percentiles and used.percentiles.model_dump(mode="json"),
        "settings_hash": _seg_hash(params, combination, settings, checkpoint),
        "settings": _seg_settings(params, combination, settings),
        "seed": settings.seed,
    }


def _warn_of_other_raw(encoder: TrainSettings, head: TrainSettings, training: Training) -> None:
    if (encoder.norm_factor, encoder.percentiles) != (head.norm_factor, head.percentiles):
        log.warning(
            "%s: raw is normalised differently from that of its encoder; give both sections the same settings",
            training.name,
        )


def _seg_hash(params: Params, combination: Combination, settings: SegSettings, checkpoint: int) -> str:
    origin = None if settings.baseline else combination.contrastive
    names = [settings_hash(combination.model, settings, origin), params.pipeline, str(checkpoint)]
    return "-".join([*names, *(["foreground"] if settings.has_background else [])])


def _seg_settings(params: Params, combination: Combination, settings: SegSettings) -> dict[str, Any]:
    origin = None if settings.baseline else combination.contrastive
    named = named_settings(model=combination.model, contrastive=origin, seg=settings)
    return {**named, "seg.dataset": settings.dataset.train.model_dump(mode="json"), "pipeline": params.pipeline}
