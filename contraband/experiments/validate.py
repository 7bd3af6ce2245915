"""The modes `emb` and `val` of an experiment: the stages of `contraband run` on its data sets."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from blockwise.arrays.volume import Volume, info
from blockwise.cluster.settings import Cluster
from blockwise.engine.options import RunOptions
from blockwise.errors import BadInput
from blockwise.files.whole import write_text
from blockwise.stages.evaluate.stage import EvaluateSettings
from blockwise.stages.foreground import ForegroundSettings
from blockwise.stages.fragments import FragmentSettings
from blockwise.stages.segment import SegmentSettings
from contraband.experiments.folders import Experiment, SegFolder
from contraband.experiments.grid import heads
from contraband.experiments.params import Params
from contraband.models.checkpoints import load_checkpoint
from contraband.training.settings import RawAndLabels, SegSettings
from contraband.volumes.line import stages
from contraband.volumes.output import Output
from contraband.volumes.report import read_json
from contraband.volumes.run import execute
from contraband.volumes.settings import Blocks, Model, Source, VolumeSettings

BACKGROUND = 0.5
"""With `has_background`, but no foreground channel, voxels whose affinities are all at most this are left out."""

BLOCK_2D = (16, 512, 512)
BLOCK_3D = (64, 128, 128)


def embed(
    params: Params, experiment: Experiment, index: int, checkpoints: Sequence[int], options: RunOptions
) -> list[Path]:
    """Write the embeddings of every data set of `save_embs` for each contrastive checkpoint; their containers."""
    wanted = params.save_embs
    if wanted is None:
        raise BadInput(experiment.param_dict, "has no save_embs section", todo="add datasets and data_file")
    dims = params.combination(index).model.dims
    made = []
    for checkpoint in chosen_checkpoints(experiment.contrastive(index).saved_steps(), checkpoints):
        for container in wanted.data_file:
            for dataset in wanted.datasets:
                output = experiment.embeddings(index, checkpoint, dataset)
                settings = VolumeSettings(
                    volume=Source(raw=Path(container) / dataset),
                    model=Model(
                        checkpoint=experiment.contrastive(index).require(checkpoint),
                        output="embeddings",
                        levels=wanted.levels,
                    ),
                    output=output,
                    blocks=_blocks(dims),
                    cluster=_cluster(Path(container) / dataset),
                )
                execute(settings, stages(settings), options)
                made.append(output)
    return made


def validate(
    params: Params,
    experiment: Experiment,
    index: int,
    checkpoints: Sequence[int],
    options: RunOptions,
    again: bool = True,
) -> list[Path]:
    """Predict, segment and score the validation set with every head; the metrics files of all.

    again: False leaves out checkpoints that have been scored since they were written.
    """
    dims = params.combination(index).model.dims
    if any(not seg.baseline for seg in params.seg):
        chosen_checkpoints(experiment.contrastive(index).saved_steps(), checkpoints)
    made = []
    for head in heads(params, experiment, index, checkpoints):
        seg = params.seg[head.seg_index or 0]
        folder = experiment.seg(index, head.seg_index or 0, head.checkpoint)
        for step in folder.saved_steps():
            made.append(folder.metrics(step))
            if not again and _is_newer(folder.metrics(step), folder.checkpoint(step)):
                continue
            settings = validation_settings(seg, folder, step, dims, experiment.param_dict)
            execute(settings, stages(settings), options)
            write_metrics(folder.metrics(step), read_json(Output(settings.output).evaluation)["thresholds"])
    if not made:
        raise BadInput(experiment.path, "nothing to validate", todo="train heads first, with --mode seg")
    return made


def _is_newer(path: Path, other: Path) -> bool:
    return path.exists() and path.stat().st_mtime_ns >= other.stat().st_mtime_ns


def validation_settings(seg: SegSettings, folder: SegFolder, step: int, dims: int, where: Path) -> VolumeSettings:
    """The volume settings of one checkpoint on the validation set; raises BadInput if there is none."""
    data: RawAndLabels | None = seg.dataset.validate_
    if data is None or data.gt is None:
        raise BadInput(where, "seg.dataset has no validate with raw and gt", todo="name a validation set")
    container = Path(seg.data_file[0])
    thresholds = tuple(dict.fromkeys(seg.thresholds))
    checkpoint = folder.require(step)
    return VolumeSettings(
        volume=Source(raw=container / data.raw, labels=container / data.gt),
        model=Model(checkpoint=checkpoint),
        output=folder.sample(step),
        blocks=_blocks(dims),
        fragments=_fragments(checkpoint, seg.has_background, dims),
        segment=SegmentSettings(thresholds=thresholds),
        evaluate=EvaluateSettings(per_section=dims == 2, ignore=() if seg.has_background else (0,)),
        cluster=_cluster(container / data.raw),
    )


def _fragments(checkpoint: Path, has_background: bool, dims: int) -> FragmentSettings:
    """With a background, voxels the network does not take for foreground are left out of all fragments."""
    if not has_background:
        return FragmentSettings(per_section=dims == 2)
    content = load_checkpoint(checkpoint)
    head = content["head"]
    if head.get("foreground", head["out_channels"] > len(content["offsets"])):
        return FragmentSettings(per_section=dims == 2, foreground=ForegroundSettings())
    return FragmentSettings(per_section=dims == 2, background=BACKGROUND)


def write_metrics(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Replace the CSV with one line a threshold."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def chosen_checkpoints(saved: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """The wanted checkpoints, or all that are saved; raises BadInput for one that is not there."""
    missing = sorted(set(wanted) - set(saved))
    if missing or not saved:
        there = ", ".join(map(str, saved)) or "none"
        raise BadInput("--checkpoints", "no such contrastive checkpoint", got=missing or "any", wanted=there)
    return sorted(set(wanted)) or list(saved)


def _blocks(dims: int) -> Blocks:
    return Blocks(shape=BLOCK_2D if dims == 2 else BLOCK_3D)


def _cluster(raw: Path) -> Cluster:
    """Workers on this machine, or none for a volume that is small, as in `run`."""
    small = Cluster().decided(prod(info(Volume(path=raw)).spatial))
    return small if small.in_process else Cluster(workers=max(1, min(8, len(os.sched_getaffinity(0)))))
