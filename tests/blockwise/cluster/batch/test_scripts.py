"""What is submitted: compared with scripts that were looked at, for batch systems that cannot be run here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from blockwise.cluster.batch.scripts import job_script, options, walltime_s
from blockwise.cluster.batch.walltime import ALLOWED, BEGAN, left_s, seconds_of
from blockwise.cluster.settings import BATCH_SYSTEMS, Cluster
from blockwise.errors import BadInput
from tests.support.paths import ROOT

STORED = Path(__file__).parent / "scripts"


def settings(kind: str) -> Cluster:
    """Two workers and one with a GPU, with everything said that can be said."""
    given: dict[str, object] = {
        "kind": kind,
        "workers": 3,
        "gpus": 1,
        "threads": 2,
        "memory": "8GB",
        "prologue": ["module load cuda"],
        "job_logs": "/tmp",
    }
    if kind == "htcondor":
        given["directives"] = ["accounting_group = lab"]
    else:
        given |= {"queue": "short", "account": "lab", "walltime": "04:00:00", "directives": ["-x y"]}
    if kind in ("pbs", "oar"):
        given["gpu_directives"] = ["-l ngpus=1"]
    return Cluster.parse(given, "cluster")


@pytest.mark.parametrize("kind", BATCH_SYSTEMS)
def test_scripts_are_those_that_were_looked_at(kind):
    """One for each kind of worker, to the last letter."""
    script = job_script(settings(kind)).replace(sys.executable, "PYTHON")
    assert script == (STORED / f"{kind}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", BATCH_SYSTEMS)
def test_a_job_looks_whether_its_run_still_goes_on(kind):
    """Before anything else that takes time; the user's own lines come after."""
    lines = options(settings(kind), "", "tls://10.0.0.1:4000")["job_script_prologue"]
    (place,) = [place for place, line in enumerate(lines) if "create_connection(('10.0.0.1', 4000)" in line]
    assert "exit 0" in lines[place]
    assert place < lines.index("module load cuda")


@pytest.mark.parametrize(
    ("text", "kind", "seconds"),
    [
        ("04:00:00", "slurm", 14400),
        ("1-00:00:00", "slurm", 86400),
        ("1-12", "slurm", 129600),
        ("90", "slurm", 5400),
        ("01:30", "slurm", 90),
        ("01:30", "lsf", 5400),
        ("3600", "sge", 3600),
        ("soon", "slurm", None),
        (None, "slurm", None),
    ],
)
def test_longest_times_are_read_as_batch_systems_read_them(text, kind, seconds):
    """They differ on numbers."""
    assert seconds_of(text, kind) == seconds


def test_a_run_without_a_longest_time_knows_that_of_dask_jobqueue():
    """Half an hour, which it puts into the script."""
    cluster = Cluster(kind="slurm", memory="1GB")
    assert "#SBATCH -t 00:30:00" in job_script(cluster)
    assert walltime_s(cluster) == 1800


HANDLER = """
import signal
from blockwise.cluster.batch.scripts import job_script
from blockwise.cluster.settings import Cluster
job_script(Cluster(kind="slurm", memory="1GB"))
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def test_a_library_does_not_take_the_interrupt():
    """dask_jobqueue, as it is imported, lets Ctrl-C end the process with exit code 0: a run would seem to be done."""
    done = subprocess.run([sys.executable, "-c", HANDLER], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_job_knows_how_long_it_may_go_on(monkeypatch):
    """The sooner of what was asked for and what the batch system says; nothing where there is no limit."""
    assert left_s() is None
    monkeypatch.setattr("time.time", lambda: 1000.0)
    monkeypatch.setenv(BEGAN, "900")
    monkeypatch.setenv(ALLOWED, "400")
    assert left_s() == 300
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1100")
    assert left_s() == 100
    monkeypatch.delenv(BEGAN)
    assert left_s() is None  # a job of the user's, in which the whole run is


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"kind": "pbs", "gpus": 1}, "gpu_directives must say how jobs of pbs ask for a GPU"),
        ({"kind": "htcondor", "queue": "short"}, "queue means nothing to htcondor"),
        ({"kind": "htcondor", "directives": ["--x"]}, "directives for htcondor read 'name = value'"),
        ({"kind": "slurm", "workers": {"min": 5, "max": 2}}, "min must be at most max"),
        ({"kind": "slurm", "workers": {"max": "x"}}, "workers: max: "),
        ({"kind": "slurm", "workers": "many"}, "a range such as"),
        ({"kind": "local", "workers": {"max": 3}}, "workers must be a number for kind local"),
    ],
)
def test_what_cannot_be_submitted_is_refused(data, words):
    """In one line that names the key."""
    with pytest.raises(BadInput, match=words):
        Cluster.parse({"memory": "1GB", **data}, "cluster")
