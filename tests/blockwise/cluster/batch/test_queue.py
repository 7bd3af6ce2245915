"""What batch systems write of their jobs, and what is read from it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from blockwise.cluster.batch.queue import DIALECTS, GONE, JobState, NoAnswer, ask_queue

SLURM = """\
17|PENDING|Resources
18|RUNNING|None
19|TIMEOUT|TimeLimit
20|CANCELLED|None
21|COMPLETING|NonZeroExitCode
22|OUT_OF_MEMORY|OutOfMemory
23|NODE_FAIL|NodeDown
24|PENDING|ReqNodeNotAvail, UnavailableNodes:n[1-3]
"""
LSF = """\
101|PEND|-|Job slot limit reached;
102|RUN|-|-
103|EXIT|TERM_RUNLIMIT: job killed after reaching LSF run time limit|-
104|EXIT|TERM_MEMLIMIT: job killed after reaching LSF memory usage limit|-
105|DONE|-|-
"""
PBS = """\
Job Id: 31.server.example.org
    Job_Name = blockwise
    job_state = Q
    comment = Not Running: Insufficient amount of resource: ncpus (R: 1 A: 0
\t T: 64)
Job Id: 32.server.example.org
    Job_Name = blockwise
    job_state = R
Job Id: 33.server.example.org
    job_state = C
    exit_status = 271
Job Id: 34.server.example.org
    job_state = F
    Exit_status = -29
"""
SGE = """\
job-ID  prior   name       user         state submit/start at     queue                          slots ja-task-ID
-----------------------------------------------------------------------------------------------------------------
     41 0.55500 blockwise  me           r     11/25/2026 17:00:00 all.q@node1                        1
     42 0.55500 blockwise  me           qw    11/25/2026 17:00:00                                    1
     43 0.55500 blockwise  me           Eqw   11/25/2026 17:00:00                                    1
     44 0.55500 blockwise  me           dr    11/25/2026 17:00:00 all.q@node1                        1
"""
OAR = '{"51": {"state": "Waiting", "message": "R=1,W=1:0:0,J=B (Karma=0.1)"}, "52": {"state": "Running"}}'
HTCONDOR = """\
61 0 1 undefined
62 0 2 undefined
63 0 5 Error from slot1@node: out of disk
64 0 3 undefined
"""

WRITTEN = {
    "slurm": (
        SLURM,
        {
            "17": ("waiting", "PENDING (Resources)", ""),
            "18": ("running", "RUNNING", ""),
            "19": ("ended", "TIMEOUT (TimeLimit)", "walltime"),
            "20": ("ended", "CANCELLED", "cancelled"),
            "21": ("ending", "COMPLETING (NonZeroExitCode)", ""),
            "22": ("ended", "OUT_OF_MEMORY (OutOfMemory)", "memory"),
            "23": ("ended", "NODE_FAIL (NodeDown)", "node"),
            "24": ("waiting", "PENDING (ReqNodeNotAvail, UnavailableNodes:n[1-3])", ""),
        },
    ),
    "lsf": (
        LSF,
        {
            "101": ("waiting", "PEND (Job slot limit reached;)", ""),
            "102": ("running", "RUN", ""),
            "103": ("ended", "EXIT (TERM_RUNLIMIT: job killed after reaching LSF run time limit)", "walltime"),
            "104": ("ended", "EXIT (TERM_MEMLIMIT: job killed after reaching LSF memory usage limit)", "memory"),
            "105": ("ended", "DONE", ""),
        },
    ),
    "pbs": (
        PBS,
        {
            "31": (
                "waiting",
                "queued (Not Running: Insufficient amount of resource: ncpus (R: 1 A: 0 T: 64))",
                "",
            ),
            "32": ("running", "running", ""),
            "33": ("ended", "completed (exit status 271)", "cancelled"),
            "34": ("ended", "finished (exit status -29)", "walltime"),
        },
    ),
    "sge": (
        SGE,
        {
            "41": ("running", "r", ""),
            "42": ("waiting", "qw", ""),
            "43": ("ended", "Eqw (error; see qstat -j 43)", ""),
            "44": ("ending", "dr", ""),
        },
    ),
    "oar": (
        OAR,
        {"51": ("waiting", "Waiting (R=1,W=1:0:0,J=B (Karma=0.1))", ""), "52": ("running", "Running", "")},
    ),
    "htcondor": (
        HTCONDOR,
        {
            "61.0": ("waiting", "idle", ""),
            "62.0": ("running", "running", ""),
            "63.0": ("waiting", "held (Error from slot1@node: out of disk)", ""),
            "64.0": ("ended", "removed", "cancelled"),
        },
    ),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_each_batch_system_is_understood(kind):
    """Waiting or running, why not yet, and why it ended."""
    text, wanted = WRITTEN[kind]
    found = DIALECTS[kind].read(text)
    assert {job: (found[job].phase, found[job].words, found[job].cause) for job in wanted} == wanted


@pytest.mark.parametrize("kind", WRITTEN)
def test_nothing_is_read_from_what_is_no_answer(kind):
    """Nor does it raise."""
    for text in ("", "\n", "error: no\n", "{", "a b c d e f g"):
        assert not DIALECTS[kind].read(text)


def command(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a command first on the path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_jobs_that_are_not_named_any_more_are_gone(tmp_path, monkeypatch):
    """Also where the batch system complains of them and tells of no other."""
    command(tmp_path, "squeue", 'echo "17|RUNNING|None"', monkeypatch)
    states = asyncio.run(ask_queue("slurm", ["17", "18"]))
    assert states == {"17": JobState("running", "RUNNING"), "18": GONE}
    command(tmp_path, "squeue", 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1', monkeypatch)
    assert asyncio.run(ask_queue("slurm", ["18"])) == {"18": GONE}


def test_a_batch_system_that_does_not_answer_tells_nothing_of_its_jobs(tmp_path, monkeypatch):
    """Its jobs are not taken to be gone."""
    command(tmp_path, "squeue", 'echo "Unable to contact slurm controller" >&2; exit 1', monkeypatch)
    with pytest.raises(NoAnswer, match="Unable to contact"):
        asyncio.run(ask_queue("slurm", ["17"]))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoAnswer, match="there is no command qstat"):
        asyncio.run(ask_queue("pbs", ["17"]))
