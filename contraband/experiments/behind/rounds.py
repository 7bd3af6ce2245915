"""One round of the training behind a session: folds of the labels, the network that is kept, and its score.

P points, L points left out. The quick head is judged by the same folds, so the two scores can be compared.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput
from blockwise.fields import Place
from blockwise.files.whole import write_json, write_text
from blockwise.settings import Settings
from contraband.experiments.behind.network import TrainedNetwork
from contraband.experiments.behind.params import for_session, stopped_at
from contraband.experiments.folders import BASELINE, Experiment
from contraband.experiments.grid import Training
from contraband.experiments.params import load_params
from contraband.experiments.study.folding import folds_of, loss_at
from contraband.experiments.train import train_contrastive, train_one
from contraband.label.behind import RoundReport
from contraband.label.pairs import LabelPair
from contraband.label.proposals import LabelScore
from contraband.label.record import Point, latest
from contraband.label.session import LabelSession
from contraband.label.settings import LabelSettings
from contraband.models.checkpoints import keep_for_prediction
from contraband.models.folder import RunFolder
from contraband.samples.points import Points, write_points
from contraband.training.state import StepProgress
from contraband.volumes.settings import VolumeSettings

FOLDS = 3
LEAST = 2
"""Labels that each class must have."""

Probabilities = NDArray[np.float32]
"""(L, 3): probabilities of the classes."""


class Tell(Protocol):
    """Hears what is being done; raises to give a round up."""

    def __call__(self, doing: str, step: int, total: int, /) -> None:
        """So many steps of `total` are done of what is being done."""


class RoundsPlan(Settings):
    """All that the training behind a session has to know."""

    volume: Mapping[str, Any]
    """The content of the VOLUME.yaml."""
    label: LabelSettings
    """How the session learns, whose quick head is to be surpassed."""
    points: Place
    """The CSV that points are added to."""
    params: Mapping[str, Any]
    """Sections of a param_dict.json: `model`, `seg`, maybe `contrastive`; data, points and seeds are the session's."""
    folder: Place
    """Where encoders, trainings and what is kept of them lie."""

    @property
    def report(self) -> Path:
        """What the last round found."""
        return self.folder / "report.json"

    @property
    def raw(self) -> Path:
        """The image."""
        return Path(self.volume["volume"]["raw"])


def read_report(plan: RoundsPlan) -> RoundReport | None:
    """What the last round found; None if there was none."""
    try:
        told = json.loads(plan.report.read_text(encoding="utf-8"))
        scores = [told.pop(name) for name in ("trained", "quick")]
        trained, quick = (LabelScore(**one | {"of_folds": tuple(one["of_folds"])}) for one in scores)
        return RoundReport(**told, trained=trained, quick=quick)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


class TrainingRound:
    """The labels of a moment."""

    def __init__(self, plan: RoundsPlan, points: Sequence[Point], pairs: Sequence[LabelPair], tell: Tell) -> None:
        """points: one for each voxel, `LEAST` or more of each class. pairs: are learnt and never left out."""
        self._plan = plan
        self._tell = tell
        self.points = points
        volume = VolumeSettings.parse(dict(plan.volume), "plan")
        self._session = LabelSession(Volume(path=plan.raw), volume, plan.label)
        for pair in pairs:
            self._session.pair(*pair)
        told = [
            list(map(list, points)),
            list(map(list, pairs)),
            plan.model_dump(mode="json", exclude={"volume", "folder", "points"}),
        ]
        self.digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
        self._folder = plan.folder / f"round-{self.digest}"

    def run(self) -> RoundReport:
        """Train folds and the network that is kept; goes on where a round of the same labels was cut off."""
        for other in self._plan.folder.glob("round-*"):
            if other != self._folder:
                shutil.rmtree(other)
        encoder = self._encoder()
        every = _as_arrays(self.points)
        folds = list(folds_of(every, FOLDS, self._plan.label.seed))
        left = [one for _, one in folds]
        looks = [self._looks(number, *fold, encoder) for number, fold in enumerate(folds)]
        step, trained = chosen_step(looks, left)
        quick = [self._session.told(_points(learnt), _voxels(one)) for learnt, one in folds]

        path = self._trained("all labels", every, encoder, step).checkpoint(step)
        report = RoundReport(f"network-{self.digest}", self.digest, step, _score(trained, left), _score(quick, left))
        keep_for_prediction(path, self._plan.folder / report.network)
        self._keep(report)
        return report

    def _keep(self, report: RoundReport) -> None:
        """Tell of the round, and remove what it and earlier ones left."""
        before = read_report(self._plan)
        write_json(self._plan.report, asdict(report))
        shutil.rmtree(self._folder)
        # the page may still show the one before
        kept = {report.network, before.network if before else ""}
        for other in self._plan.folder.glob("network-*"):
            if other.name not in kept:
                other.unlink()

    def _encoder(self) -> Experiment | None:
        """The encoder that all networks of the folder begin with, trained once; None if none is wanted."""
        if "contrastive" not in self._plan.params:
            return None
        experiment = Experiment(self._plan.folder / "encoder")
        plain = for_session(dict(self._plan.params), self._plan.raw, self._plan.points, self._plan.label.seed)
        text = json.dumps({name: plain[name] for name in ("model", "contrastive")}, indent=1)
        if not experiment.param_dict.exists() or experiment.param_dict.read_text(encoding="utf-8") != text:
            shutil.rmtree(experiment.path, ignore_errors=True)
            write_text(experiment.param_dict, text)
        train_contrastive(
            load_params(experiment.param_dict), experiment, 0, self._progress("an encoder, without labels")
        )
        return experiment

    def _looks(self, number: int, learnt: Points, left: Points, encoder: Experiment | None) -> dict[int, Probabilities]:
        """What networks of each step say of the labels that were left out."""
        folder = self._trained(f"fold {number + 1} of {FOLDS}", learnt, encoder)
        voxels = _voxels(left)
        return {
            step: TrainedNetwork(folder.checkpoint(step), self._session.image).at(voxels)
            for step in folder.saved_steps()
        }

    def _trained(self, name: str, points: Points, encoder: Experiment | None, stop: int | None = None) -> RunFolder:
        """A network trained on some points, or gone on with; for all planned steps, or up to one of them."""
        experiment = Experiment(self._folder / name.replace(" ", "-"))
        csv = experiment.path / "points.csv"
        learnt = _points(points)
        write_points(_as_arrays(latest([*self._session.implied(learnt), *learnt])), csv)
        plain = for_session(dict(self._plan.params), self._plan.raw, csv, self._plan.label.seed)
        write_text(experiment.param_dict, json.dumps(plain, indent=1))
        if stop is not None:
            plain = stopped_at(plain, load_params(experiment.param_dict), stop)
            write_text(experiment.param_dict, json.dumps(plain, indent=1))
        checkpoint = BASELINE
        if encoder is not None:
            link = experiment.combination(0) / "contrastive"
            if not link.is_symlink():
                link.parent.mkdir()
                link.symlink_to(encoder.contrastive(0).path.absolute())
            checkpoint = encoder.contrastive(0).saved_steps()[-1]
        training = Training(0, 0, checkpoint)
        train_one(load_params(experiment.param_dict), experiment, training, self._progress(name))
        return training.folder(experiment)

    def _progress(self, doing: str) -> StepProgress:
        return lambda step, total, *_: self._tell(doing, step, total)


def chosen_step(looks: Sequence[dict[int, Probabilities]], left: Sequence[Points]) -> tuple[int, list[Probabilities]]:
    """The step of the least loss on labels left out, and what each fold says of its own at the step of the others.

    looks: of each fold, what is said after each step. left: the labels left out in each. At a step that its own labels
    have chosen a fold would look better than it is.
    """
    steps = sorted(set.intersection(*(set(look) for look in looks)))
    losses = np.array(
        [[loss_at(look[step], one.labels) for step in steps] for look, one in zip(looks, left, strict=True)]
    )
    others = [int(np.argmin(np.delete(losses, number, axis=0).mean(axis=0))) for number in range(len(looks))]
    said = [look[steps[place]] for look, place in zip(looks, others, strict=True)]
    return steps[int(np.argmin(losses.mean(axis=0)))], said


def check_enough(points: Sequence[Point]) -> None:
    """Raise BadInput, which says what is wanted, unless folds of the points can be learnt from."""
    counts = np.bincount([point.label for point in points], minlength=3)
    if not counts[1] or np.count_nonzero(counts) < 2 or counts[counts > 0].min() < LEAST:
        wanted = f"{LEAST} labels inside, and {LEAST} of each other class that has any"
        raise BadInput("training", "waits for labels", got=counts.tolist(), wanted=wanted)


def _score(said: Sequence[Probabilities], left: Sequence[Points]) -> LabelScore:
    classes = np.concatenate([one.labels for one in left])
    fold = np.repeat(np.arange(len(left)), [len(one) for one in left])
    return LabelScore.of(np.concatenate(said).argmax(axis=1), classes, fold)


def _as_arrays(points: Sequence[Point]) -> Points:
    return Points(np.array([one.voxel for one in points]), np.array([one.label for one in points]))


def _points(points: Points) -> list[Point]:
    pairs = zip(_voxels(points), points.labels.tolist(), strict=True)
    return [Point(voxel, label) for voxel, label in pairs]


def _voxels(points: Points) -> list[tuple[int, int, int]]:
    return [(z, y, x) for z, y, x in points.positions.tolist()]
