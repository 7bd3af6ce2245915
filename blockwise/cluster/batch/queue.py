"""What batch systems say of jobs: each asked by its own command, and read into the same few words."""

from __future__ import annotations

import asyncio
import getpass
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from blockwise.errors import one_line

Phase = Literal["waiting", "running", "ending", "ended"]
Cause = Literal["", "cancelled", "walltime", "memory", "node", "preempted"]
"""Why a job ended, where that is known."""

ELSEWHERE = ("cancelled", "walltime", "node", "preempted")
"""Causes that are no fault of what ran there."""
_ANSWER_S = 30.0
"""A batch system that is busy takes its time."""


@dataclass(frozen=True)
class JobState:
    """How one job stands."""

    phase: Phase
    words: str
    """The batch system's own, such as "PENDING (Resources)"."""
    cause: Cause = ""
    lingers: bool = False
    """It will never run, and stays in the queue until it is cancelled."""


GONE = JobState("ended", "the batch system knows it no more")


@dataclass(frozen=True)
class Dialect:
    """How one batch system is asked."""

    command: Callable[[Sequence[str]], list[str]]
    """From the numbers of jobs."""
    read: Callable[[str], dict[str, JobState]]
    """From what the command writes; jobs that are not in it have ended."""


class NoAnswer(Exception):
    """A batch system that says nothing of its jobs now; its text is what it says instead."""


async def ask_queue(kind: str, jobs: Sequence[str]) -> dict[str, JobState]:
    """How these jobs stand, each of them; raises NoAnswer if the batch system does not say.

    Example:
        states = await ask_queue("slurm", ["17", "18"])
    """
    if not jobs:
        return {}
    dialect = DIALECTS[kind]
    said, complaint, code = await call(dialect.command(jobs))
    found = dialect.read(said)
    # Asked for jobs that ended long ago, most of them complain; of the others they tell nevertheless.
    if code and not found and not _UNKNOWN.search(complaint):
        raise NoAnswer(one_line(complaint)[:300] or f"exit code {code}")
    return {job: found.get(job, GONE) for job in jobs}


async def call(command: Sequence[str]) -> tuple[str, str, int]:
    """What a command writes to stdout and stderr, and its exit code; raises NoAnswer if it cannot run, or hangs."""
    if shutil.which(command[0]) is None:
        raise NoAnswer(f"there is no command {command[0]}")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), _ANSWER_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        raise NoAnswer(f"{command[0]} has not answered for {_ANSWER_S:.0f} s") from None
    return out.decode(errors="replace"), err.decode(errors="replace"), process.returncode or 0


_UNKNOWN = re.compile(r"invalid job id|unknown job|job has finished|is not found|do(es)? not exist", re.IGNORECASE)

_SLURM_WAITS = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
_SLURM_ENDS: Mapping[str, Cause] = {
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "TIMEOUT": "walltime",
    "DEADLINE": "walltime",
    "OUT_OF_MEMORY": "memory",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "PREEMPTED": "preempted",
    "FAILED": "",
    "COMPLETED": "",
}


def read_slurm(text: str) -> dict[str, JobState]:
    """From lines of `squeue -o "%i|%T|%r"`."""
    found = {}
    for line in text.splitlines():
        job, state, reason = (*line.strip().split("|", 2), "", "")[:3]
        words = f"{state} ({reason})" if reason not in ("", "None") else state
        if state in _SLURM_ENDS:
            found[job] = JobState("ended", words, _SLURM_ENDS[state])
        elif state == "COMPLETING":
            found[job] = JobState("ending", words)
        elif state:
            found[job] = JobState("waiting" if state in _SLURM_WAITS else "running", words)
    return found


_LSF_ENDS: Mapping[str, Cause] = {
    "TERM_OWNER": "cancelled",
    "TERM_ADMIN": "cancelled",
    "TERM_FORCE_OWNER": "cancelled",
    "TERM_FORCE_ADMIN": "cancelled",
    "TERM_RUNLIMIT": "walltime",
    "TERM_DEADLINE": "walltime",
    "TERM_MEMLIMIT": "memory",
    "TERM_SWAP": "memory",
    "TERM_PREEMPT": "preempted",
}


def read_lsf(text: str) -> dict[str, JobState]:
    """From lines of `bjobs -o "jobid stat exit_reason pend_reason delimiter='|'"`."""
    found = {}
    for line in text.splitlines():
        job, state, reason, pending = (*line.strip().split("|", 3), "", "", "")[:4]
        said = next((one for one in (reason, pending) if one.strip(" -")), "")
        words = f"{state} ({said})" if said else state
        if state in ("DONE", "EXIT"):
            cause: Cause = next((_LSF_ENDS[word] for word in _LSF_ENDS if word in reason), "")
            found[job] = JobState("ended", words, cause)
        elif state:
            found[job] = JobState("waiting" if state in ("PEND", "PSUSP", "WAIT") else "running", words)
    return found


_PBS_LETTERS = {
    "Q": "queued",
    "H": "held",
    "W": "waiting",
    "T": "moved",
    "R": "running",
    "S": "suspended",
    "E": "exiting",
    "C": "completed",
    "F": "finished",
}
_PBS_EXITS: Mapping[str, Cause] = {"271": "cancelled", "265": "cancelled", "-29": "walltime"}


def read_pbs(text: str) -> dict[str, JobState]:
    """From `qstat -f`, as PBS and Torque write it: a block of lines for each job, long ones wrapped with a tab."""
    found = {}
    for block in re.split(r"^Job Id: *", text.replace("\n\t", ""), flags=re.MULTILINE)[1:]:
        job = block.splitlines()[0].strip()
        facts: dict[str, str] = dict(re.findall(r"^\s+(\w+) = (.*)$", block, flags=re.MULTILINE))
        letter = facts.get("job_state", "")
        code = facts.get("Exit_status") or facts.get("exit_status") or ""
        said = facts.get("comment") or (f"exit status {code}" if code else "")
        state_word = _PBS_LETTERS.get(letter, letter)
        words = f"{state_word} ({said})" if said else state_word
        phase: Phase = "ended" if letter in ("C", "F") else "ending" if letter == "E" else "running"
        state = JobState("waiting" if letter in ("Q", "H", "W", "T") else phase, words, _PBS_EXITS.get(code, ""))
        found[job] = state
        found[job.split(".")[0]] = state  # dask-jobqueue keeps the number alone
    return found


def read_sge(text: str) -> dict[str, JobState]:
    """From the table of `qstat`: number, priority, name, user, state, ..."""
    found = {}
    for line in text.splitlines():
        columns = line.split()
        if len(columns) < 5 or not columns[0].isdigit():
            continue
        state = columns[4]
        if "E" in state:
            found[columns[0]] = JobState("ended", f"{state} (error; see qstat -j {columns[0]})", lingers=True)
        elif "d" in state:
            found[columns[0]] = JobState("ending", state)
        else:
            found[columns[0]] = JobState("waiting" if "w" in state else "running", state)
    return found


def read_oar(text: str) -> dict[str, JobState]:
    """From `oarstat -J`: an object of jobs by their numbers."""
    try:
        jobs: Any = json.loads(text or "{}")
    except ValueError:
        return {}
    found = {}
    for job, facts in jobs.items() if isinstance(jobs, dict) else ():
        state = str(facts.get("state", ""))
        said = facts.get("message") or ""
        words = f"{state} ({one_line(str(said))[:100]})" if said else state
        if state in ("Terminated", "Error"):
            found[str(job)] = JobState("ended", words)
        else:
            waits = state in ("Waiting", "Hold", "toLaunch", "toAckReservation")
            found[str(job)] = JobState("waiting" if waits else "running", words)
    return found


_CONDOR_STATES = {"1": "idle", "2": "running", "3": "removed", "4": "completed", "5": "held", "6": "running"}


def read_htcondor(text: str) -> dict[str, JobState]:
    """From lines of `condor_q -af ClusterId ProcId JobStatus HoldReason`."""
    found = {}
    for line in text.splitlines():
        cluster, process, code, reason = (*line.split(None, 3), "", "", "", "")[:4]
        if not cluster.isdigit():
            continue
        words = _CONDOR_STATES.get(code, f"status {code}") + (f" ({reason})" if reason not in ("", "undefined") else "")
        if code in ("3", "4"):
            found[f"{cluster}.{process}"] = JobState("ended", words, "cancelled" if code == "3" else "")
        else:
            found[f"{cluster}.{process}"] = JobState("waiting" if code in ("1", "5") else "running", words)
    return found


DIALECTS: Mapping[str, Dialect] = {
    "slurm": Dialect(lambda ids: ["squeue", "-h", "-t", "all", "-o", "%i|%T|%r", "-j", ",".join(ids)], read_slurm),
    "lsf": Dialect(
        lambda ids: [*("bjobs", "-a", "-noheader", "-o", "jobid stat exit_reason pend_reason delimiter='|'"), *ids],
        read_lsf,
    ),
    "pbs": Dialect(lambda ids: ["qstat", "-f", *ids], read_pbs),
    "sge": Dialect(lambda _: ["qstat", "-u", getpass.getuser()], read_sge),
    "oar": Dialect(lambda _: ["oarstat", "-J", "-u", getpass.getuser()], read_oar),
    "htcondor": Dialect(
        lambda ids: ["condor_q", *ids, "-af", "ClusterId", "ProcId", "JobStatus", "HoldReason"], read_htcondor
    ),
}
"""By the kind of cluster."""
