"""The training behind a session as a process of its own: it goes on, begins again, and is never left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contraband.experiments.behind.background import Background
from contraband.experiments.behind.rounds import read_report
from contraband.samples.points import read_points
from tests.support.paths import ROOT
from tests.support.trained import labelled_plan, more_points

WAIT_S = 500
"""On a machine on which other tests run."""
LONG = 100_000
"""Steps that no test waits for."""

SESSION = """
import json, sys, time
from pathlib import Path
from contraband.experiments.behind.background import Background
from contraband.experiments.behind.rounds import RoundsPlan
with Background(RoundsPlan.parse(json.loads(Path(sys.argv[1]).read_text()), "test"), nice=0) as training:
    while True:
        print(training.pid, training.doing, flush=True)
        time.sleep(0.1)
"""


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; fail if it does not for minutes."""
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not only its exit code."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_training_goes_on_and_new_labels_are_learnt(tmp_path):
    """Killed by -9 it is begun again and comes to its end; labels added later are trained on by the next round."""
    plan, points = labelled_plan(tmp_path, 2)
    heard: list[str] = []
    with Background(plan, nice=0) as training:
        training.listen(lambda: heard.append(training.doing))
        until(lambda: training.pid is not None and any("step" in one for one in heard))
        first = training.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: training.report is not None)
        assert training.pid != first
        assert not is_alive(first)
        report = training.report
        assert report is not None
        assert report.trained.labels == len(points)
        more_points(plan, 2, 2)
        until(lambda: training.report is not None and training.report.trained.labels == len(points) + 4)
        last = training.pid
    assert last is not None
    assert not is_alive(last)
    assert len(read_points(plan.points)) == len(points) + 4


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_session_leaves_no_training_and_its_points(tmp_path):
    """After kill -9 of the session its training ends by itself; the points are there, and the next one goes on."""
    plan, points = labelled_plan(tmp_path, 2, steps=LONG)
    (tmp_path / "plan.json").write_text(json.dumps(plan.model_dump(mode="json")))
    command = [sys.executable, "-c", SESSION, str(tmp_path / "plan.json")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        line = next(line for line in session.stdout if "fold 1" in line)
        trainer = int(line.split()[0])
        assert is_alive(trainer)
        session.kill()
    until(lambda: not is_alive(trainer))
    assert len(read_points(plan.points)) == len(points)
    with Background(plan, nice=0) as training:
        until(lambda: "fold 1" in training.doing)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_round_is_given_up_for_many_more_labels(tmp_path):
    """With half as many labels more the round begins again, with all of them."""
    plan, points = labelled_plan(tmp_path, 2, steps=LONG)
    with Background(plan, nice=0) as training:
        until(lambda: "fold 1 of 3, step" in training.doing and training.doing.endswith(f"{len(points)} labels"))
        more_points(plan, 2, 3)
        until(lambda: "fold 1" in training.doing and training.doing.endswith(f"{len(points) + 6} labels"))
    assert read_report(plan) is None


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_cannot_be_trained_is_said(tmp_path):
    """Too few labels are waited for; a volume that is gone ends the training with its message in a line."""
    plan, _ = labelled_plan(tmp_path, 2, each=1)
    with Background(plan, nice=0) as training:
        until(lambda: "waits for labels" in training.doing)
        shutil.rmtree(tmp_path / "vol.zarr")
        more_points(plan, 2, 3)
        until(lambda: training.doing.startswith("ended:"))
        assert "raw" in training.doing
        assert "\n" not in training.doing
