"""Which jobs are submitted, replaced and given up, decided from what happened."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from blockwise.cluster.batch.keeping import FRUITLESS, BatchJob, Fate, Keeping
from blockwise.cluster.batch.queue import GONE, Cause, JobState

RUNNING = JobState("running", "RUNNING")
FAILED = JobState("ended", "FAILED (NonZeroExitCode)")


def ended(cause: Cause, words: str = "ENDED") -> JobState:
    """A job that ended for this cause."""
    return JobState("ended", words, cause)


class Play:
    """Jobs in a made-up cluster, and its time."""

    def __init__(self, wanted: Mapping[str, int]) -> None:
        self.keeping = Keeping("slurm", wanted)
        self.now_s = 0.0
        self.count = 0

    def submit(self) -> list[BatchJob]:
        """What is to be submitted now, submitted."""
        found = []
        for group, count in self.keeping.to_submit(self.now_s).items():
            for _ in range(count):
                self.count += 1
                found.append(BatchJob(f"w{self.count}", group, str(self.count), self.now_s))
                self.keeping.submitted(found[-1])
        return found

    def come(self, *jobs: BatchJob) -> None:
        """Exactly these workers are there now."""
        self.keeping.note_states(self.now_s, {job.number: RUNNING for job in jobs})
        self.keeping.note_workers(self.now_s, {job.name for job in jobs})

    def end(self, state: JobState, *jobs: BatchJob) -> None:
        """These jobs end."""
        self.keeping.note_states(self.now_s, {job.number: state for job in jobs})


@pytest.mark.parametrize("cause", ["cancelled", "walltime", "node", "preempted", "memory", ""])
def test_a_worker_that_ends_is_replaced_whatever_the_cause(cause):
    """One job for each that ended, at once, as often as it happens."""
    play = Play({"": 3})
    there = play.submit()
    assert len(there) == 3
    for _ in range(20):
        play.come(*there)
        play.now_s += 100
        play.end(ended(cause), there[0])
        play.keeping.note_workers(play.now_s, {job.name for job in there[1:]})
        new = play.submit()
        assert len(new) == 1
        there = there[1:] + new
    assert not play.keeping.over()


def test_groups_are_kept_up_separately():
    """A job with a GPU is replaced by one with a GPU."""
    play = Play({"": 2, "GPU": 1})
    jobs = play.submit()
    play.come(*jobs)
    gpu = next(job for job in jobs if job.group == "GPU")
    play.end(ended("node"), gpu)
    assert [job.group for job in play.submit()] == ["GPU"]


def test_jobs_cancelled_in_the_queue_never_end_a_run():
    """Somebody cancels all of them again and again: they are submitted again and again."""
    play = Play({"": 4})
    for _ in range(50):
        play.now_s += 100
        jobs = play.submit()
        assert len(jobs) == 4
        play.end(ended("cancelled"), *jobs)
    assert not play.keeping.over()


def test_jobs_that_end_at_once_are_tried_a_few_times_and_then_ended_with_the_words_of_the_batch_system():
    """First all, then one at a time, ever more slowly; the words say what the batch system says."""
    play = Play({"": 16})
    sizes = []
    while not play.keeping.over():
        jobs = play.submit()
        if jobs:
            sizes.append(len(jobs))
            play.end(FAILED, *jobs)
        play.now_s += 1
        assert play.now_s < 100
    assert sizes == [16] + [1] * (FRUITLESS - 1)
    assert "FAILED (NonZeroExitCode)" in play.keeping.over()


def test_jobs_that_vanish_from_the_queue_count_as_ended():
    """They are replaced, and are no reason to go on for ever."""
    play = Play({"": 1})
    for _ in range(FRUITLESS):
        (job,) = play.submit()
        play.end(GONE, job)
        play.now_s += 100
    assert "knows it no more" in play.keeping.over()


def test_one_worker_that_comes_shows_that_jobs_are_all_right():
    """After it all that are missing are submitted, and earlier failures are forgotten."""
    play = Play({"": 5})
    play.end(FAILED, *play.submit())
    play.now_s += 10
    (probe,) = play.submit()
    assert not play.submit()
    play.come(probe)
    assert len(play.submit()) == 4


def test_a_node_where_every_job_fails_does_not_end_a_run_that_has_workers():
    """As long as one is there, or may come, the run goes on."""
    play = Play({"": 2})
    good, bad = play.submit()
    play.come(good)
    for _ in range(10):
        play.end(FAILED, bad)
        play.now_s += 100
        play.come(good)
        found = play.submit()
        bad = found[0] if found else bad
    assert not play.keeping.over()


def test_a_refusal_at_the_beginning_ends_the_run_in_time_a_later_one_does_not():
    """A partition that does not exist is found out in seconds; a controller that restarts is waited for."""
    play = Play({"": 2})
    while not play.keeping.over():
        if play.keeping.to_submit(play.now_s):
            play.keeping.refused(play.now_s, "", "invalid partition")
        play.now_s += 0.5
    assert play.now_s < 10
    assert "invalid partition" in play.keeping.over()

    play = Play({"": 2})
    jobs = play.submit()
    play.come(*jobs)
    play.end(ended("node"), *jobs)
    begin = play.now_s
    while not play.keeping.over():
        if play.keeping.to_submit(play.now_s):
            play.keeping.refused(play.now_s, "", "unable to contact the controller")
        play.now_s += 1
    assert play.now_s - begin > 600


def test_a_worker_that_is_restarted_in_its_job_is_not_replaced():
    """The job goes on, and with it the nanny."""
    play = Play({"": 1})
    (job,) = play.submit()
    play.come(job)
    assert play.keeping.note_workers(1.0, set()) == ["w1"]
    assert not play.submit()


@pytest.mark.parametrize(
    ("state", "is_innocent"),
    [(ended("cancelled"), True), (ended("walltime"), True), (ended("memory"), False), (FAILED, False), (GONE, False)],
)
def test_the_fate_of_a_worker_is_known_once_the_batch_system_has_said_it(state, is_innocent):
    """Until then nobody is blamed."""
    play = Play({"": 1})
    (job,) = play.submit()
    play.come(job)
    play.now_s = 10
    play.keeping.note_workers(10, set())
    assert play.keeping.fate(10.5, "w1") is None
    assert play.keeping.fate(10.5, "") is None
    play.now_s = 12
    play.end(JobState("ending", "COMPLETING"), job)
    assert play.keeping.fate(12.5, "w1") is None
    play.now_s = 14
    play.end(state, job)
    assert play.keeping.fate(14.5, "w1") == Fate(state.words, is_innocent, state.cause == "walltime")
    found = play.keeping.fate(14.5, "")
    assert found is not None
    assert found.is_innocent is is_innocent


def test_a_worker_that_dies_inside_a_job_that_goes_on_is_to_blame_itself():
    """The batch system had nothing to do with it; and what it never says is not waited for."""
    play = Play({"": 2})
    first, second = play.submit()
    play.come(first, second)
    play.now_s = 10
    play.keeping.note_workers(10, {second.name})
    play.now_s = 11
    play.keeping.note_states(11, {first.number: RUNNING})
    assert play.keeping.fate(11, first.name) == Fate("", False)
    assert play.keeping.fate(20, second.name) is None  # it seems to be there: started again within a moment?
    assert play.keeping.fate(24, second.name) == Fate("", False)


def test_workers_that_are_not_wanted_any_more_are_cancelled_once_idle():
    """Those that wait in the queue first; not at once, and none that holds a block."""
    play = Play({"": 4})
    jobs = play.submit()
    play.come(*jobs[:3])
    play.keeping.want("", 1)
    busy = {jobs[0].name}
    assert not play.keeping.to_cancel(0, busy)
    assert {job.name for job in play.keeping.to_cancel(31, busy)} == {jobs[1].name, jobs[2].name, jobs[3].name}
    assert not play.keeping.to_cancel(32, busy)
    assert not play.submit()


def test_a_released_worker_is_replaced_at_once_and_cancelled_when_it_is_idle():
    """Its job soon ends: the next one is submitted while it ends its block."""
    play = Play({"": 1})
    (job,) = play.submit()
    play.come(job)
    play.keeping.release(job.name)
    assert len(play.submit()) == 1
    assert not play.keeping.to_cancel(1, {job.name})
    assert play.keeping.to_cancel(2, set()) == [job]


def test_what_the_queue_says_is_told_and_ever_more_rarely():
    """How many workers there are, how many are wanted, and what the queue says; a day in it is no thousand lines."""
    play = Play({"": 3, "GPU": 1})
    jobs = play.submit()
    play.come(jobs[0])
    pending = JobState("waiting", "PENDING (Resources)")
    play.end(pending, *jobs[1:])
    lines = []
    for second in range(86_400):
        lines += play.keeping.to_say(float(second))
    assert lines[0] == "cluster: 1 of 3 workers and 0 of 1 workers with GPU; the queue says: 3 PENDING (Resources)"
    assert 10 < len(lines) < 400


def test_a_lost_worker_is_told_with_its_cause():
    """One line each."""
    play = Play({"": 1})
    (job,) = play.submit()
    play.come(job)
    play.end(ended("walltime", "TIMEOUT (TimeLimit)"), job)
    assert "cluster: worker w1 is lost, job 1 ended: walltime (TIMEOUT (TimeLimit))" in play.keeping.to_say(1)
