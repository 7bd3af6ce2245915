"""Workers that are not wanted any more, as Dask's scheduler sees them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client, LocalCluster

from blockwise.cluster.batch.keeper import close_to_tasks, is_busy


@pytest.fixture
def client() -> Iterator[Client]:
    """Of two workers with one thread each."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as found,
    ):
        yield found


def states(scheduler: Any) -> list[Any]:
    """Dask's states of both workers, in the order of their addresses."""
    return [scheduler.workers[address] for address in sorted(scheduler.workers)]


def place(serial: int) -> int:
    """Work for a moment; longer than Dask takes to move it elsewhere."""
    time.sleep(0.25)
    return serial


def sent_to_the_first(client: Client, count: int) -> list[Any]:
    """Tasks for the first worker, which others may do as well."""
    first = min(client.scheduler_info(n_workers=-1)["workers"])
    return client.map(place, range(count), workers=[first], allow_other_workers=True, pure=False)


def tasks_done(client: Client) -> list[int]:
    """How many results lie at the first and at the second worker."""
    return client.run_on_scheduler(lambda dask_scheduler: [len(worker.has_what) for worker in states(dask_scheduler)])


def test_an_idle_worker_takes_what_waits_at_others(client):
    """So Dask balances them, wherever tasks were sent to: without this the next test would show nothing."""
    client.gather(futures := sent_to_the_first(client, 12))
    assert min(tasks_done(client)) > 0
    assert len(futures) == sum(tasks_done(client))


def test_a_worker_that_is_not_wanted_is_given_nothing(client):
    """Neither by whoever sends tasks to any worker, nor by Dask's balancing."""

    def close(dask_scheduler: Any) -> None:
        close_to_tasks(dask_scheduler, states(dask_scheduler)[1])

    client.run_on_scheduler(close)
    futures = [*sent_to_the_first(client, 8), *client.map(place, range(4), pure=False)]
    client.gather(futures)
    assert tasks_done(client) == [12, 0]


def test_a_worker_is_busy_from_the_moment_it_is_to_take_a_task(client):
    """Before that has come: its job must not be cancelled then."""

    async def take(dask_scheduler: Any) -> tuple[list[bool], list[bool]]:
        victim, thief = states(dask_scheduler)
        before = [is_busy(dask_scheduler, one) for one in (victim, thief)]
        task = next(one for one in dask_scheduler.tasks.values() if one.processing_on is victim)
        dask_scheduler.extensions["stealing"].move_task_request(task, victim, thief)
        return before, [is_busy(dask_scheduler, one) for one in (victim, thief)]

    futures = sent_to_the_first(client, 1)
    while not client.run_on_scheduler(lambda dask_scheduler: bool(states(dask_scheduler)[0].processing)):
        time.sleep(0.01)
    before, after = client.run_on_scheduler(take)
    assert (before, after) == ([True, False], [True, True])
    client.gather(futures)
