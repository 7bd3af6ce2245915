"""When to stop, told by the labels themselves: folds of the points are held out in turn, and the best step is taken.

For trainings that have no validation part. From a few points a network is best early and far worse soon after.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.files.whole import write_text
from contraband.experiments.parting import deal
from contraband.models.checkpoints import load_checkpoint
from contraband.models.classes import CLASSES
from contraband.models.folder import RunFolder
from contraband.models.hardware import Hardware
from contraband.samples.points import Points
from contraband.training.held_out import FoldTask
from contraband.training.loop import train
from contraband.training.settings import SegSettings, TrainSettings
from contraband.training.state import StepProgress
from contraband.training.tasks import Task

log = logging.getLogger(__name__)

LOOKS = 50
"""How often the held-out points are looked at, where the settings do not say."""


@dataclass(frozen=True)
class Choice:
    """The step at which a training stops, and why."""

    step: int
    planned: int
    """Steps each fold was trained for."""
    steps: list[int]
    """Those after which the held-out points were looked at."""
    losses: list[list[float]]
    """Of each fold, the loss on its points after each of `steps`."""

    @property
    def means(self) -> list[float]:
        """Over the folds."""
        means: list[float] = np.mean(self.losses, axis=0).tolist()
        return means

    def in_words(self) -> str:
        """One line for people."""
        best, last = min(self.means), self.means[-1]
        return (
            f"stops after step {self.step} of {self.planned}: there the held-out points of {len(self.losses)} folds "
            f"have the least loss, {best:.4f} (after the last step {last:.4f})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        told = {"step": self.step, "planned": self.planned, "steps": self.steps, "losses": self.losses}
        return told | {"means": self.means}


@dataclass(frozen=True)
class FoldedTraining:
    """One training, as often as there are folds and once more."""

    make_task: Callable[[], Task]
    """The same task on all points, its network as at the beginning."""
    points: Points
    settings: SegSettings
    folder: RunFolder
    header: dict[str, Any]
    hardware: Hardware

    def choose(self, progress: StepProgress | None = None) -> Choice:
        """Train each fold for the planned steps, unless that is done, and take the step of the least mean loss.

        What was chosen stays beside the training, the folds' own files do not.
        """
        of_points = split(self.points, self.settings)
        found = read_choice(self.folder)
        if found is not None:
            return found
        told = [self._looks(fold, of_points, progress) for fold in range(self.settings.folds)]
        steps = sorted(set.intersection(*(set(looks) for looks in told)))
        losses = [[looks[step] for step in steps] for looks in told]
        best = int(np.argmin(np.mean(losses, axis=0)))
        choice = Choice(steps[best], self.settings.num_iterations, steps, losses)
        write_text(self.folder.choice, json.dumps(choice.as_dict()))
        shutil.rmtree(self.folder.folds, ignore_errors=True)
        log.info("%s: %s", self.folder.path, choice.in_words())
        return choice

    def _looks(self, fold: int, of_points: NDArray[np.int64], progress: StepProgress | None) -> dict[int, float]:
        """The loss on the held-out points by steps, of one fold."""
        every = self.settings.held_out_every or max(1, self.settings.num_iterations // LOOKS)
        task = FoldTask(self.make_task(), np.flatnonzero(of_points == fold), every)
        folder = RunFolder(self.folder.folds / str(fold))
        settings = self.settings.model_copy(update={"keep_checkpoints": 1})
        before = fold * settings.num_iterations
        path = train(task, settings, folder, self.header, self.hardware, shifted(progress, before, settings))
        content = load_checkpoint(path)
        return {int(step): loss for step, loss in content["held_out"].tolist()}


def split(points: Points, settings: SegSettings) -> NDArray[np.int64]:
    """The fold of each point (N,): each class dealt out evenly, points of one voxel together.

    BadInput if a class would be missing where its points are held out, or if a fold would hold none.
    """
    classes = points.labels if settings.teaches == "classes" else (points.labels > 0).astype(np.int64)
    _, first, group = np.unique(points.positions, axis=0, return_index=True, return_inverse=True)
    kinds = classes[first]
    if settings.folds > len(first):
        raise BadInput("seg.folds", "more folds than labelled voxels", got=settings.folds, wanted=f"up to {len(first)}")
    random = np.random.default_rng(np.random.SeedSequence([settings.seed, 0x666F6C64]))
    numbers, counts = np.unique(kinds, return_counts=True)
    for kind in numbers[counts < 2]:
        name = CLASSES[kind] if settings.teaches == "classes" else ("background", "foreground")[kind]
        raise BadInput("seg.folds", f"only one labelled voxel is {name}", got=1, wanted="2 or more of each class")
    return deal(kinds, settings.folds, lambda _: random)[group.reshape(-1)]


def read_choice(folder: RunFolder) -> Choice | None:
    """What was chosen for a training; None if nothing was yet."""
    if not folder.choice.is_file():
        return None
    found = json.loads(folder.choice.read_text(encoding="utf-8"))
    return Choice(found["step"], found["planned"], found["steps"], found["losses"])


def steps_wanted(folder: RunFolder, settings: TrainSettings) -> int:
    """The step at which a training stops: that which was chosen, or the last of all."""
    choice = read_choice(folder)
    return settings.num_iterations if choice is None else choice.step


def shifted(progress: StepProgress | None, before: int, settings: SegSettings) -> StepProgress | None:
    """Progress of one of several trainings of the same length, `before` steps of which are done."""
    if progress is None:
        return None
    told = progress
    total = (settings.folds + 1) * settings.num_iterations
    return lambda step, _, loss, its: told(before + step, total, loss, its)
