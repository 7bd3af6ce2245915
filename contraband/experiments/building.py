"""From settings to tasks: networks with the right shapes, samples from the right volumes."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blockwise.errors import BadInput
from contraband.experiments.folders import Experiment
from contraband.experiments.labels import labelled_points, lesson_of, points_about, seg_pairs
from contraband.experiments.params import Combination, Params, named_settings, settings_hash
from contraband.models.checkpoints import averaged, check_same_settings, load_checkpoint
from contraband.models.networks import ContrastiveVolumeNet, SegmentationNet
from contraband.models.settings import ModelSettings
from contraband.models.unet import UNet
from contraband.samples.augment import Augmenter, Shape3
from contraband.samples.base import Drawing, Pair
from contraband.samples.contrastive import ContrastiveSamples
from contraband.samples.joint import JointSamples, RawSamples
from contraband.samples.nodes import sub_seed
from contraband.samples.ranges import is_in_range
from contraband.samples.segmentation import SegmentationSamples
from contraband.samples.sources import ZarrVolume, check_values, raw_levels
from contraband.samples.sparse import EmbeddedPoints, SparseSamples, embeddings_at, labels_around
from contraband.training.joint import JointTask
from contraband.training.settings import ContrastiveSettings, SegSettings, TrainSettings
from contraband.training.tasks import (
    Contrast,
    ContrastiveTask,
    DenseTask,
    EmbeddingTask,
    SparseTask,
    Task,
)

log = logging.getLogger(__name__)

FEWEST_POINTS = 2
"""With one point there is nothing to tell it from."""


def contrastive_task(model: ModelSettings, settings: ContrastiveSettings, in_loader: bool) -> Task:
    """Two views of raw and the network that has to recognise points in them."""
    torch.manual_seed(sub_seed(settings.seed, 0))
    network = ContrastiveVolumeNet(model, settings.levels)
    shape, output = network_shapes(network.base, model)
    pairs = contrastive_pairs(settings)
    voxel_size = _voxel_size(pairs) if settings.exclusion else (1.0, 1.0, 1.0)
    pairs = _ready(pairs, settings, output, model)
    augmenter = Augmenter(settings, shape)
    count = max(FEWEST_POINTS, round(settings.point_density * int(np.prod(output))))
    if count == FEWEST_POINTS:
        log.warning(
            "point_density %g gives %d points in a sample; it counts points per voxel, not per world unit",
            settings.point_density,
            count,
        )
    drawing = Drawing(pairs, settings.seed, augmenter, in_loader, output, norm_factor(settings, pairs[0]))
    contrast = Contrast(count, settings.temperature, settings.exclusion, voxel_size)
    return ContrastiveTask(network, ContrastiveSamples(drawing, count), augmenter, output, contrast)


def seg_task(
    params: Params,
    model: ModelSettings,
    settings: SegSettings,
    in_loader: bool,
    base: dict[str, Any] | None,
    embeddings: Path | None,
) -> Task:
    """A head, or a whole network, and what it is trained on. `base`: weights of a contrastively trained encoder."""
    network = _seg_network(model, settings, base)
    if embeddings is not None:
        network.base.requires_grad_(False)
        return _embedding_task(network, model, settings, embeddings)
    return _volume_task(params, model, settings, in_loader, network)


def _seg_network(model: ModelSettings, settings: SegSettings, base: dict[str, Any] | None) -> SegmentationNet:
    torch.manual_seed(sub_seed(settings.seed, 0))
    network = SegmentationNet(
        model, settings.seg_head, settings.outputs_for(model.dims), settings.levels, settings.joint is not None
    )
    if base is not None:
        network.base.load_state_dict(base)
    if settings.freeze_base:
        network.base.requires_grad_(False)
    return network


def _volume_task(
    params: Params, model: ModelSettings, settings: SegSettings, in_loader: bool, network: SegmentationNet
) -> Task:
    """What is trained on raw: on labels everywhere, or at a few points."""
    shape, output = network_shapes(network.base, model)
    pairs = _ready(seg_pairs(settings), settings, output, model)
    is_sparse = params.pipeline != "standard"
    if is_sparse and settings.teaches == "classes":
        pairs = [replace(pair, labels=None) for pair in pairs]  # a point says its class itself
    augmenter = Augmenter(settings, shape)
    drawing = Drawing(pairs, settings.seed, augmenter, in_loader, output, norm_factor(settings, pairs[0]))
    later = None if in_loader else augmenter
    lesson, margin = lesson_of(settings, model.dims, output[0])
    label_shape: Shape3 = (output[0] + 2 * margin[0], output[1] + 2 * margin[1], output[2] + 2 * margin[2])
    if is_sparse:
        sparse = SparseSamples(labelled_points(settings), drawing, label_shape)
        task = SparseTask(network, sparse, later, (output, label_shape), lesson)
        return _joined(task, drawing, settings, model)
    about = points_about(settings) if settings.draws_about_labels else None
    dense = SegmentationSamples(drawing, label_shape, settings.min_labelled, about, settings.teaches == "classes")
    return _joined(DenseTask(network, dense, later, label_shape, lesson), drawing, settings, model)


def _joined(task: DenseTask | SparseTask, drawing: Drawing, settings: SegSettings, model: ModelSettings) -> Task:
    """The task with self-supervision in the same steps, where that is asked for."""
    joint = settings.joint
    if joint is None:
        return task
    named = [Pair(ZarrVolume(one.file, one.dataset)) for one in joint.unlabelled]
    raw = [replace(pair, labels=None) for pair in drawing.pairs]
    pairs = _ready(named, settings, drawing.output_shape, model) if named else raw
    seed = sub_seed(settings.seed, 2)  # other places than those of the labels
    unlabelled = replace(drawing, pairs=pairs, seed=seed, norm_factor=norm_factor(settings, pairs[0]))
    samples = JointSamples(task.samples, RawSamples(unlabelled), settings.batch_size, settings.planned_steps)
    return JointTask(task, samples, task.augmenter, joint.denoise)


def _embedding_task(network: SegmentationNet, model: ModelSettings, settings: SegSettings, embeddings: Path) -> Task:
    points = labelled_points(settings)
    features = embeddings_at(ZarrVolume(str(embeddings), "embeddings"), points)
    if features.shape[1] != network.feature_channels:
        raise BadInput(
            embeddings,
            "has the wrong number of channels",
            got=features.shape[1],
            wanted=network.feature_channels,
            todo="give save_embs as many levels as the head has, and run --mode emb again",
        )
    lesson, margin = lesson_of(settings, model.dims, depth=3)  # sections beside a point are there, also in 2D
    if lesson.of_volume is not None and settings.teaches != "classes":
        labels = labels_around(seg_pairs(settings)[0].labels, points, margin)  # type: ignore[arg-type]
        targets, known = (found.flatten(1) for found in lesson.of_volume(labels))
    else:
        targets = lesson.of_points(torch.from_numpy(points.labels))
        known = torch.ones_like(targets, dtype=torch.bool)
    return EmbeddingTask(network, EmbeddedPoints(features, targets, known), lesson)


def network_shapes(base: UNet, model: ModelSettings) -> tuple[Shape3, Shape3]:
    """Extents (z, y, x) of a sample and of the network's output on it; z is 1 for a 2D network.

    BadInput with the nearest that fits if `in_shape` does not.
    """
    shape = base.nearest_input(model.in_shape)
    if shape != model.in_shape:
        raise BadInput("model.in_shape", "does not fit the network", got=list(model.in_shape), wanted=list(shape))
    flat = (1,) * (3 - model.dims)
    return (*flat, *shape), (*flat, *base.output_shape(shape))  # type: ignore[return-value]


def norm_factor(settings: TrainSettings, pair: Pair) -> float:
    """What raw is multiplied by, from the settings or from the type of raw; 1 where it is stretched instead."""
    if settings.percentiles is not None:
        return 1.0
    if settings.norm_factor is not None:
        return settings.norm_factor
    dtype = pair.raw.dtype()
    return 1 / float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0


def ranged[Kind: TrainSettings](settings: Kind, pairs: Sequence[Pair]) -> Kind:
    """The settings, with raw stretched between percentiles where neither they nor its type tell what is white.

    A network learns nothing from raw that is all but black or far too bright. What settings ask for is done all the
    same, and said. Resuming finds the same, as it depends on the volumes alone.
    """
    if settings.percentiles is not None:
        return settings
    fits = is_in_range([pair.raw for pair in pairs], norm_factor(settings, pairs[0]))
    if fits or settings.norm_factor is not None:
        return settings
    log.warning("raw is stretched between percentiles instead; set normalize: percentile, or norm_factor, to choose")
    return settings.model_copy(update={"normalize": "percentile"})


def contrastive_pairs(settings: ContrastiveSettings) -> list[Pair]:
    """Raw of each dataset in each data file."""
    volumes = itertools.product(settings.data_file, settings.dataset)
    return [Pair(ZarrVolume(file, dataset)) for file, dataset in volumes]


def _voxel_size(pairs: list[Pair]) -> tuple[float, float, float]:
    """That of all volumes, in their unit; BadInput if they differ, for a distance would mean different things."""
    sizes = {pair.raw.where: pair.raw.voxel_size() for pair in pairs}
    first, *others = sizes
    for other in others:
        if sizes[other] != sizes[first]:
            what = f"is a distance, and {other} has other voxels than {first}"
            raise BadInput("contrastive.exclusion", what, got=list(sizes[other]), wanted=list(sizes[first]))
    return sizes[first]


def contrastive_base(experiment: Experiment, combination: Combination, checkpoint: int) -> dict[str, Any]:
    """Weights of the base encoder in a contrastive checkpoint of this very combination."""
    path = experiment.contrastive(combination.index).require(checkpoint)
    content = load_checkpoint(path)
    wanted = {
        "kind": "contrastive",
        "settings_hash": settings_hash(combination.model, combination.contrastive),
        "settings": named_settings(model=combination.model, contrastive=combination.contrastive),
    }
    check_same_settings(content, wanted, path)
    return {k.removeprefix("base."): v for k, v in averaged(content).items() if k.startswith("base.")}


def _ready(pairs: list[Pair], settings: TrainSettings, output: Shape3, model: ModelSettings) -> list[Pair]:
    """The pairs with their levels, if raw is stretched; BadInput if one does not fit."""
    for pair in pairs:
        pair.check(output, model.in_channels)
        check_values(pair.raw)
    return [replace(pair, levels=raw_levels(pair.raw, settings.percentiles)) for pair in pairs]
