"""A training that is interrupted: what was trained is saved, and it goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch

from contraband.experiments.train import train_seg
from contraband.models.checkpoints import load_checkpoint
from tests.support.paths import ROOT
from tests.support.tiny import tiny_experiment

INTERRUPTED = """
import os, signal, sys
from pathlib import Path
import torch
from contraband.cli import main
import contraband.experiments.modes as modes
torch.set_num_threads(1)
numbers = [getattr(signal, name) for name in sys.argv[2].split(",")]
trained = modes.train_seg
def train_seg(params, experiment, index, checkpoints, tell):
    def progress(step, total, loss, its):
        tell(step, total, loss, its)
        if step == int(sys.argv[3]):
            for number in numbers:
                os.killpg(0, number) if sys.argv[4] == "group" else os.kill(os.getpid(), number)
    return trained(params, experiment, index, checkpoints, progress)
modes.train_seg = train_seg
os.chdir(sys.argv[1])
main(["train", "--dataset", "tiny", "--exp", "1", "--mode", "seg"])
"""
"""`contraband train`, which is sent signals in the middle of a step: before that is saved or looked at."""


def baseline(folder, **seg):
    """A network that is trained end to end for ten steps, a checkpoint due after 4 and 8."""
    return tiny_experiment(folder, 2, "baseline_sparse_sh", baseline=True, **seg)


def interrupted(folder, numbers, step, whom="group"):
    """The command, interrupted in that step: its exit code, and what it says on stderr that is no progress."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(folder), numbers, str(step), whom],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
    )
    return done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("seg: ")]


@pytest.mark.parametrize(("number", "workers"), [("SIGINT", 0), ("SIGINT", 2), ("SIGTERM", 2)])
def test_an_interrupted_training_loses_no_step_and_goes_on_alike(tmp_path, number, workers):
    """Interrupted at step 6 and again at 7, it is there, one line says so, and the end equals that of one without.

    The signals go to its loader processes as well, as those of a terminal and of a batch system do.
    """
    options = {"workers": workers, "elastic": True, "warmup_steps": 6, "keep_checkpoints": 2}
    disturbed, params = baseline(tmp_path / "a", **options)
    folder = disturbed.seg(0, 0)
    for step, there in ((6, [4, 6]), (7, [4, 7])):
        code, said = interrupted(tmp_path / "a", number, step)
        assert code == 1
        assert folder.saved_steps() == there
        assert len(said) == 2
        assert said[0].endswith(f"step {step} of 10 is saved")
        assert said[1] == "contraband: interrupted; what is finished is kept, and the same command goes on from there"
    undisturbed, same = baseline(tmp_path / "b", **options)
    first, second = (
        load_checkpoint(train_seg(settings, experiment, 0)[0])
        for experiment, settings in ((disturbed, params), (undisturbed, same))
    )
    assert folder.saved_steps() == undisturbed.seg(0, 0).saved_steps() == [8, 10]
    assert first["history"].tolist() == second["history"].tolist()
    assert first.keys() == second.keys()
    for part in ("network", "ema"):
        assert all(torch.equal(first[part][name], second[part][name]) for name in first[part])
    moments = [content["optimizer"]["state"][0] for content in (first, second)]
    assert all(torch.equal(moments[0][key], moments[1][key]) for key in moments[0])


@pytest.mark.parametrize("whom", ["group", "alone"])
def test_a_second_interrupt_ends_a_training_at_once(tmp_path, whom):
    """It does not wait for the end of the step, and saves nothing: the checkpoint before is what is left."""
    experiment, _ = baseline(tmp_path, workers=2)
    code, said = interrupted(tmp_path, "SIGINT,SIGINT", 6, whom)
    assert code == 1
    assert said == ["contraband: interrupted; what is finished is kept, and the same command goes on from there"]
    assert experiment.seg(0, 0).saved_steps() == [4]


def test_an_interrupt_right_after_a_checkpoint_saves_nothing_twice(tmp_path):
    """The checkpoint that was due is the one to go on from."""
    experiment, _ = baseline(tmp_path)
    code, said = interrupted(tmp_path, "SIGINT", 4)
    assert (code, len(said)) == (1, 1)
    assert experiment.seg(0, 0).saved_steps() == [4]
    assert "interrupted" not in load_checkpoint(experiment.seg(0, 0).checkpoint(4))


def test_handlers_are_those_of_before_after_a_training(tmp_path):
    """Whoever calls it from a program of their own has their Ctrl-C back."""
    experiment, params = baseline(tmp_path, num_iterations=1)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    seen = []
    train_seg(params, experiment, 0, (), lambda *_: seen.append(signal.getsignal(signal.SIGTERM)))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert seen
    assert seen[0] not in before
