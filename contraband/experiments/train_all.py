"""Everything an experiment still lacks: encoders, embeddings, heads, scores. In this process or on Dask workers.

A training belongs to one worker from its first to its last step; several run side by side. One that was lost with its
worker is sent again and goes on from its newest checkpoint.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.options import Progress, RunOptions
from blockwise.errors import BadInput, BlockwiseError, WorkFailed
from blockwise.executor.ondask.pool import Pool
from contraband.experiments.building import contrastive_task, seg_task
from contraband.experiments.child import end_with_parent
from contraband.experiments.folders import Experiment
from contraband.experiments.folds import parted_labels
from contraband.experiments.grid import Training, encoders, heads, state_of
from contraband.experiments.params import Params, load_params
from contraband.experiments.train import train_one
from contraband.experiments.validate import embed, validate
from contraband.models.folder import RunFolder
from contraband.training.state import StepProgress

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
SAY_S = 15.0
LOOK_S = 0.2
SENDS = 3
"""A training whose worker dies is sent this often in all."""


@dataclass
class Everything:
    """One experiment, and how its trainings are run."""

    params: Params
    experiment: Experiment
    checkpoints: Sequence[int] = ()
    """Contrastive checkpoints that heads stand on; none: all there are."""
    cluster: Cluster | None = None
    """Where trainings run; None: here, one after the other."""
    progress: Progress = lambda *_: None
    """Is told how far each training is, and how many of them are done."""
    options: RunOptions = field(default_factory=RunOptions)
    """Passed on to the blockwise modes."""
    failed: dict[Training, str] = field(default_factory=dict)

    def run(self) -> list[Training]:
        """Do what is missing; the trainings that were run. WorkFailed at the end if one failed, or its encoder."""
        self.check()
        done = self._train(encoders(self.params))
        lost = {training.index for training in self.failed}
        left = [one.index for one in self.params.combinations if one.index not in lost]
        for index in left if self.params.save_embs is not None else ():
            embed(self.params, self.experiment, index, self.checkpoints, self.options)
        wanted = [head for index in left for head in heads(self.params, self.experiment, index, self.checkpoints)]
        done += self._train(wanted)
        if all(seg.dataset.validate_ is not None and seg.dataset.validate_.gt for seg in self.params.seg):
            for index in left if self.params.seg else ():
                if any(head.folder(self.experiment).saved_steps() for head in wanted if head.index == index):
                    validate(self.params, self.experiment, index, self.checkpoints, self.options, again=False)
        if self.failed:
            faults = "; ".join(f"{training.name}: {error}" for training, error in self.failed.items())
            raise WorkFailed(f"{len(self.failed)} of {len(done)} trainings failed, the others are kept: {faults}")
        return done

    def check(self) -> None:
        """Raise BadInput for what is wrong with any combination, before the first is trained."""
        for combination in self.params.combinations:
            if combination.contrastive is not None:
                contrastive_task(combination.model, combination.contrastive, in_loader=True)
            for settings in self.params.seg if self.params.pipeline != "sparse_sh" else ():
                seg_task(self.params, combination.model, settings, True, None, None)
                if settings.folds:
                    parted_labels(self.params, settings, RunFolder(self.experiment.path))
            if combination.contrastive is None and not all(seg.baseline for seg in self.params.seg):
                raise BadInput(self.experiment.param_dict, "heads without an encoder", todo="add a contrastive section")

    def _train(self, wanted: Sequence[Training]) -> list[Training]:
        missing = [one for one in wanted if state_of(one, self.params, self.experiment) != "done"]
        if missing and self.cluster is not None and not self.cluster.in_process:
            self._on_workers(missing, self.cluster)
        else:
            self._here(missing)
        return missing

    def _here(self, missing: Sequence[Training]) -> None:
        for training in missing:
            try:
                train_one(self.params, self.experiment, training, self._step_progress(training.name))
            except WorkFailed as error:
                log.warning("%s: %s", training.name, error)
                self.failed[training] = str(error)

    def _on_workers(self, missing: Sequence[Training], cluster: Cluster) -> None:
        resources = {"GPU": 1} if cluster.gpus else None
        place = (str(Path.cwd()), str(self.experiment.path.absolute()))
        sent = dict.fromkeys(missing, 0)
        with open_cluster(cluster) as client:

            def send(training: Training) -> Any:
                sent[training] += 1
                return client.submit(train_there, *place, training, pure=False, retries=0, resources=resources)

            out = {send(training): training for training in missing}
            pool = Pool(client, cluster.promised(), cluster.lost_s)
            while out:
                future = next_ended(list(out), pool, resources or {})
                training = out.pop(future)
                if future.status != "finished" and sent[training] < SENDS:
                    log.warning("%s: its worker was lost; sent again", training.name)
                    out[send(training)] = training
                    continue
                error = future.result() if future.status == "finished" else f"its worker was lost {SENDS} times"
                if error:
                    self.failed[training] = error
                sent[training] = SENDS
                self.progress("trainings", sum(count == SENDS for count in sent.values()), len(sent), training.name)

    def _step_progress(self, name: str) -> StepProgress:
        return lambda step, total, loss, its: self.progress(name, step, total, f"loss {loss:.4f}, {its:.2f} it/s")


def next_ended(futures: Sequence[Any], pool: Pool, needed: Mapping[str, float]) -> Any:
    """The first future that has ended; WorkFailed if there was no worker for a minute, which is said meanwhile."""
    alive_s = time.monotonic()
    said_s = alive_s
    while True:
        ended = [future for future in futures if future.status != "pending"]
        if ended:
            return ended[0]
        now = time.monotonic()
        if pool.alive(needed):
            alive_s = now
            said_s = now
        elif now - alive_s > PATIENCE_S:
            raise WorkFailed(f"no worker has been alive for {PATIENCE_S:.0f} s; what is trained is kept, run again")
        elif now - said_s > SAY_S:
            said_s = now
            log.warning("trainings: no worker has been alive for %.0f s", now - alive_s)
        time.sleep(LOOK_S)


def train_there(folder: str, experiment: str, training: Training) -> str:
    """On a worker: train one point of the grid; what went wrong, or nothing. Raises if the training was killed.

    It is a process of its own: a loader forks, which a process of many threads must not, and a worker may be a daemon,
    which has no children by multiprocessing. It ends with the worker, whose end closes its standard input.
    """
    numbers = [training.index, -1 if training.seg_index is None else training.seg_index, training.checkpoint]
    command = [sys.executable, "-m", "contraband.experiments.train_all", experiment, *map(str, numbers)]
    where = folder if Path(folder).is_dir() else None  # data files may be named relative to it
    with subprocess.Popen(command, cwd=where, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.read().strip()
    if process.returncode not in (0, 1, 2):
        raise WorkFailed(f"{training.name}: its process ended with {process.returncode}")
    return said.splitlines()[-1] if process.returncode else ""


def main(arguments: Sequence[str]) -> int:
    """Train one point of the grid as a process that ends when its standard input does; its exit code."""
    end_with_parent()
    experiment = Experiment(Path(arguments[0]))
    index, seg_index, checkpoint = map(int, arguments[1:])
    try:
        params = load_params(experiment.param_dict)
        train_one(params, experiment, Training(index, None if seg_index < 0 else seg_index, checkpoint))
    except BlockwiseError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
