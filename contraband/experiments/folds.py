"""When to stop, told by the labels themselves: folds of them are held out in turn, and the best step is taken.

For trainings that have no validation part. From a few labels a network is best early and far worse soon after.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import cc3d
import numpy as np
import zarr
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.files.whole import write_text
from contraband.experiments.labels import DRAWN_ABOUT, labelled_points, seg_pairs
from contraband.experiments.params import Params
from contraband.experiments.parting import deal, part_volume
from contraband.models.checkpoints import load_checkpoint
from contraband.models.classes import CLASSES, INSIDE
from contraband.models.folder import RunFolder
from contraband.models.hardware import Hardware
from contraband.samples.points import Points, each_as_often
from contraband.samples.sources import VolumeReader, ZarrVolume
from contraband.training.held_out import FoldTask, LeftOut
from contraband.training.loop import train
from contraband.training.settings import SegSettings, TrainSettings
from contraband.training.state import StepProgress
from contraband.training.tasks import Task

log = logging.getLogger(__name__)

LOOKS = 50
"""How often what is held out is looked at, where the settings do not say."""
SAMPLES = 16
"""Samples of a volume by which what a fold leaves out is judged."""


@dataclass(frozen=True)
class Choice:
    """The step at which a training stops, and why."""

    step: int
    planned: int
    """Steps each fold was trained for."""
    steps: list[int]
    """Those after which what was held out was looked at."""
    losses: list[list[float]]
    """Of each fold, the loss on what it held out after each of `steps`."""
    pieces: int | None = None
    """In how many pieces with whole objects labelled volumes were dealt out; None for points."""

    @property
    def means(self) -> list[float]:
        """Over the folds."""
        means: list[float] = np.mean(self.losses, axis=0).tolist()
        return means

    def in_words(self) -> str:
        """One line for people."""
        best, last = min(self.means), self.means[-1]
        return (
            f"stops after step {self.step} of {self.planned}: there the held-out {self._labels()} "
            f"have the least loss, {best:.4f} (after the last step {last:.4f})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        told = {"step": self.step, "planned": self.planned, "steps": self.steps, "losses": self.losses}
        return told | {"means": self.means} | ({} if self.pieces is None else {"pieces": self.pieces})

    def _labels(self) -> str:
        count = len(self.losses)
        if self.pieces is None:
            return f"points of {count} folds"
        return f"labels of {count} folds ({self.pieces} connected pieces, no object in two folds)"


class PartedLabels(Protocol):
    """The labels of a training, parted."""

    def left_out(self, number: int) -> NDArray[np.int64] | list[LeftOut]:
        """What a fold leaves out, as a `FoldTask` wants it."""

    @property
    def pieces(self) -> int | None:
        """Of how many pieces of labels; None for points."""


@dataclass(frozen=True)
class FoldedTraining:
    """One training, as often as there are folds and once more."""

    make_task: Callable[[], Task]
    """The same task on all labels, its network as at the beginning."""
    folds: PartedLabels
    settings: SegSettings
    folder: RunFolder
    header: dict[str, Any]
    hardware: Hardware

    def choose(self, progress: StepProgress | None = None) -> Choice:
        """Train each fold for the planned steps, unless that is done, and take the step of the least mean loss.

        What was chosen stays beside the training, the folds' own files do not.
        """
        found = read_choice(self.folder)
        if found is not None:
            return found
        told = [self._looks(fold, progress) for fold in range(self.settings.folds)]
        steps = sorted(set.intersection(*(set(looks) for looks in told)))
        losses = [[looks[step] for step in steps] for looks in told]
        best = int(np.argmin(np.mean(losses, axis=0)))
        choice = Choice(steps[best], self.settings.num_iterations, steps, losses, self.folds.pieces)
        write_text(self.folder.choice, json.dumps(choice.as_dict()))
        shutil.rmtree(self.folder.folds, ignore_errors=True)
        log.info("%s: %s", self.folder.path, choice.in_words())
        return choice

    def _looks(self, fold: int, progress: StepProgress | None) -> dict[int, float]:
        """The loss on the held-out labels by steps, of one fold."""
        every = self.settings.held_out_every or max(1, self.settings.num_iterations // LOOKS)
        task = FoldTask(self.make_task(), self.folds.left_out(fold), every)
        folder = RunFolder(self.folder.folds / str(fold))
        settings = self.settings.model_copy(update={"keep_checkpoints": 1})
        before = fold * settings.num_iterations
        path = train(task, settings, folder, self.header, self.hardware, shifted(progress, before, settings))
        content = load_checkpoint(path)
        return {int(step): loss for step, loss in content["held_out"].tolist()}


class PointFolds:
    """Labelled points in folds, one by one."""

    pieces = None

    def __init__(self, points: Points, settings: SegSettings) -> None:
        """BadInput if a class would be missing where its points are held out, or if a fold would hold none."""
        self.fold = split(points, settings)

    def left_out(self, number: int) -> NDArray[np.int64]:
        """Rows of the points that are held out."""
        rows: NDArray[np.int64] = np.flatnonzero(self.fold == number)
        return rows


class VolumeFolds:
    """Labelled volumes in folds, by connected pieces with whole objects. A fold's labels are written beside it."""

    def __init__(self, settings: SegSettings, folder: RunFolder) -> None:
        """BadInput if a volume has fewer pieces or objects than there are folds."""
        self.settings = settings
        self.folder = folder
        self.volumes = []
        for pair in seg_pairs(settings):
            assert pair.labels is not None  # the pipeline is for label volumes
            reader = VolumeReader(pair.labels)
            labels = reader.labels((0, 0, 0), reader.shape)
            if settings.teaches == "classes":  # what is inside and connected counts as one object
                kinds, objects = labels, cc3d.connected_components(labels == INSIDE, connectivity=6).astype(np.int64)
            else:
                kinds, objects = np.minimum(labels, 1), labels
            parted = part_volume(kinds, settings.folds, settings.seed, False, pair.labels.where, objects)
            self.volumes.append((labels, parted))

    @property
    def pieces(self) -> int:
        """Of all volumes together."""
        return sum(parted.pieces for _, parted in self.volumes)

    def left_out(self, number: int) -> list[LeftOut]:
        """Of each volume, what is left to learn and what is left out, each as a copy of the labels without the rest."""
        container = str(self.folder.folds / f"labels-{number}.zarr")
        zarr.open_group(container, mode="w")  # without what an interrupted fold left
        found = []
        for place, (labels, parted) in enumerate(self.volumes):
            kept = np.where(parted.learnt(number), labels, -1)
            held = np.where(parted.left_out(number), labels, -1)
            about = each_as_often(kept, DRAWN_ABOUT, self.settings.seed)
            # by kind: of very many objects each_as_often takes the first
            centres = each_as_often(np.where(held >= 0, parted.classes, -1), SAMPLES, self.settings.seed)
            learnt = _stored(container, f"{place}", kept)
            found.append(LeftOut(learnt, about, _stored(container, f"{place} held", held), centres))
        return found


def _stored(container: str, name: str, labels: NDArray[np.int64]) -> ZarrVolume:
    zarr.open_group(container, mode="a").create_array(name, data=labels)
    return ZarrVolume(container, name, holds_classes=True)


def parted_labels(params: Params, settings: SegSettings, folder: RunFolder) -> PartedLabels:
    """The labels of a training in folds; nothing is written yet. BadInput if they cannot be parted so."""
    if params.pipeline == "standard":
        return VolumeFolds(settings, folder)
    return PointFolds(labelled_points(settings), settings)


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
    return Choice(found["step"], found["planned"], found["steps"], found["losses"], found.get("pieces"))


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
