"""Training: one loop for contrastive encoders, heads and baselines.

A training continues where its newest checkpoint ends, with the same losses to the last digit (on the same device and
number of threads). Weights jump from step to step; checkpoints therefore also hold their moving average, which is what
everything else evaluates.
"""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from contraband.models.checkpoints import check_same_settings, load_checkpoint, only_trainer
from contraband.models.folder import RunFolder
from contraband.models.hardware import Hardware, check_compiler
from contraband.training.held_out import FoldTask
from contraband.training.loading import batches, supervised
from contraband.training.saving import kept, save
from contraband.training.settings import TrainSettings
from contraband.training.state import Recorder, State, StepProgress, is_finished
from contraband.training.tasks import Batch, Pictures, Task

log = logging.getLogger(__name__)


def train(
    task: Task,
    settings: TrainSettings,
    folder: RunFolder,
    header: dict[str, Any],
    hardware: Hardware,
    progress: StepProgress | None = None,
) -> Path:
    """Train a task up to `num_iterations` or `max_seconds` in all, from its newest checkpoint on; the last checkpoint.

    Raises BadInput if that checkpoint has other settings or another process trains in the folder, WorkFailed if the
    loss is no longer a number or a loader process dies or hangs. KeyboardInterrupt comes after a step, which is saved
    first, or at once where it comes a second time.
    """
    if settings.compile:
        check_compiler("compile", str(hardware.device))
    with only_trainer(folder), supervised(folder.path, settings):
        return _loop(task, settings, folder, header, hardware, progress)


def _loop(
    task: Task,
    settings: TrainSettings,
    folder: RunFolder,
    header: dict[str, Any],
    hardware: Hardware,
    progress: StepProgress | None,
) -> Path:
    state = start(task, settings, folder, header, hardware)
    if is_finished(state, settings):
        log.info("%s: is done already, with %d steps in %.0f s", folder.path, state.step, state.seconds)
        return folder.checkpoint(state.step)

    with (
        closing(batches(task, settings, state.step, hardware)) as steps,
        Recorder(settings, folder, state, progress) as recorder,
        kept(recorder, state, header) as interruption,
    ):
        for batch in steps:
            with interruption.step():
                # forward in reduced precision; the losses themselves go back to float32
                with hardware.autocast():
                    loss = task.loss(batch)
                state.learn(loss, settings.ema_decay, settings.lr_at(state.step + 1))

                last = recorder.is_last(state)
                if isinstance(task, FoldTask) and (last or state.step % task.every == 0):
                    state.held_out.append((state.step, task.held_out_loss(state.averaged(), hardware)))
                due = last or state.step % settings.save_every == 0
                recorder.note(state, loss, at_once=due)
                if due:
                    save(state, folder, header, settings.keep_checkpoints)
                if due if not settings.snapshot_every else state.step % settings.snapshot_every == 0:
                    recorder.show(state, _snapshot(task, batch, folder.snapshot(state.step), hardware))
            if last:
                break
    if not any(state.history):
        log.warning("%s: no batch held a labelled voxel, so nothing was learnt; check the labels", folder.path)
    log.info("%s: stopped after step %d of %d", folder.path, state.step, settings.num_iterations)
    return folder.checkpoint(state.step)


def start(task: Task, settings: TrainSettings, folder: RunFolder, header: dict[str, Any], hardware: Hardware) -> State:
    """A fresh state, or that of the newest checkpoint."""
    network = hardware.place(task.network, len(header["model"]["in_shape"]))
    network.train()
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    optimizer = kinds[settings.optimizer](learnt, lr=settings.lr, fused=True)
    state = State(network, optimizer, [parameter.detach().clone() for parameter in network.parameters()])
    steps = folder.saved_steps()
    if steps:
        path = folder.checkpoint(steps[-1])
        content = load_checkpoint(path)
        check_same_settings(content, header, path)
        state.restore(content)
    if settings.compile:
        network.compile()
    return state


@torch.no_grad()
def _snapshot(task: Task, batch: Batch, path: Path, hardware: Hardware) -> Pictures:
    """Write what the network saw and said as arrays of a zarr group, and return them."""
    with hardware.autocast():
        pictures = task.pictures(batch)
    if pictures:
        group = zarr.open_group(str(path), mode="w")
        for name, values in pictures.items():
            group.create_array(name, data=np.ascontiguousarray(values))
    return pictures
