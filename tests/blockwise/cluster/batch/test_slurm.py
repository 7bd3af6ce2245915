"""Runs on a real SLURM; jobs end: cancelled, at their longest time, in a queue that stands still, without a driver."""

from __future__ import annotations

import asyncio
import gc
import signal
import stat
import subprocess
import sys
import threading

import pytest
from distributed.core import rpc
from distributed.security import Security

from blockwise.cluster.open import dashboard_address, open_cluster
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.errors import BadInput, WorkFailed
from blockwise.executor import OnDask
from blockwise.store import open_store
from tests.faults.planned import attempts, plan
from tests.support.paths import ROOT
from tests.support.slurm import Slurm
from tests.support.submitted import Once, checksum, run, settings, stage, undisturbed
from tests.support.toys import Idle

pytestmark = pytest.mark.slow


def test_a_run_on_slurm_leaves_no_job_behind(slurm: Slurm, tmp_path):
    """It gives what a run in one process gives; afterwards the queue is empty."""
    assert run(tmp_path, settings(tmp_path), 6, 0.1) == undisturbed(tmp_path / "here", 6)
    slurm.wait_until_empty(10)


def test_all_jobs_may_be_cancelled_twice(slurm: Slurm, tmp_path, caplog):
    """They are submitted again, the result is the same, and each lost worker is told with its cause."""
    cancel = Once(lambda: slurm.cancel(*slurm.jobs()), 5, 15)
    assert run(tmp_path, settings(tmp_path), 25, 0.3, cancel) == undisturbed(tmp_path / "here", 25)
    assert not cancel.when
    assert caplog.text.count("is lost, job") >= 2
    assert "ended: cancelled (CANCELLED" in caplog.text
    assert "attempt" not in caplog.text  # nobody was blamed
    assert "TLS handshake" not in caplog.text
    slurm.wait_until_empty(10)


def test_a_partition_that_is_down_is_waited_for(slurm: Slurm, tmp_path, caplog):
    """Jobs that are gone are submitted all the same, what the queue says is told, and it goes on when it is up."""

    def interrupt() -> None:
        slurm.partition("DOWN")
        slurm.cancel(*slurm.jobs())

    watch = Once(interrupt, 5)
    up = threading.Timer(40, slurm.partition, ("UP",))
    up.start()
    assert run(tmp_path, settings(tmp_path), 12, 0.3, watch) == undisturbed(tmp_path / "here", 12)
    up.join()
    assert "the queue says: 2 PENDING (PartitionDown)" in caplog.text


def test_a_block_is_not_begun_that_would_be_cut_off(slurm: Slurm, tmp_path, caplog):
    """With jobs of one minute and blocks of four seconds: every block begins once only, and jobs follow each other."""
    smear = stage(tmp_path, 34, 4.0).model_copy(update={"faults": tmp_path / "faults"})
    plan(tmp_path / "faults", {})
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    cluster = settings(tmp_path, walltime="00:01:00")
    with open_cluster(cluster) as client, OnDask(client, store.url) as executor:
        run_stages([smear], store, executor)
        numbers = {str(worker["name"]) for worker in client.scheduler_info(n_workers=-1)["workers"].values()}
    store.close()
    assert checksum(smear.target) == undisturbed(tmp_path / "here", 34)
    assert set(attempts(tmp_path / "faults").values()) == {1}
    assert not numbers & {"slurm-1", "slurm-2"}
    assert "is lost" not in caplog.text


def test_blocks_longer_than_a_job_end_the_run_with_a_line(slurm: Slurm, tmp_path):
    """Workers would come and go for ever."""
    with pytest.raises(WorkFailed, match=r"no block can be done in time, as jobs end after 6 s .*walltime"):
        run(tmp_path, settings(tmp_path, walltime="00:00:06"), 8, 5.0)
    slurm.wait_until_empty(10)


class Enough(Exception):
    """Ends a run that has shown what it should."""


def test_workers_follow_the_work_that_is_left(slurm: Slurm, tmp_path):
    """Of one to three workers one comes at first, and three when blocks have shown how long they take."""
    counts = []

    def watch(done: int, total: int) -> None:
        counts.append(len(slurm.jobs()))
        if counts[-1] == 3:
            raise Enough

    with pytest.raises(Enough):
        run(tmp_path, settings(tmp_path, workers={"min": 1, "max": 3}), 60, 4.0, watch)
    assert counts[0] == 1
    slurm.wait_until_empty(10)


SCRIPT = """
import sys
from pathlib import Path
from tests.support.submitted import run, settings
folder = Path(sys.argv[1])
def watch(done, total):
    if done >= 3:
        print("ready", flush=True)
if __name__ == "__main__":
    run(folder, settings(folder, workers=3), 60, 0.5, watch)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_job_outlives_its_driver(slurm: Slurm, tmp_path, how):
    """Ctrl-C cancels all; of a driver that was killed, workers end by themselves within a minute, and jobs that were
    still in the queue end as soon as they start. The next run goes on from there."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if how == signal.SIGKILL:  # what is cancelled now is submitted again, and waits
        slurm.partition("DOWN")
        slurm.cancel(slurm.jobs("RUNNING")[0])
        slurm.wait_for_pending(20)
    process.send_signal(how)
    process.wait(60)
    slurm.partition("UP")
    took_s = slurm.wait_until_empty(60)
    if how == signal.SIGINT:
        assert took_s < 10
    assert run(tmp_path, settings(tmp_path), 60, 0.0) == undisturbed(tmp_path / "here", 60)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"queue": "nosuch"}, "slurm takes no jobs .*invalid partition"),
        ({"prologue": ["exit 3"]}, r"slurm jobs end without becoming a worker, 3 times in a row .*FAILED"),
    ],
)
def test_jobs_that_cannot_work_are_refused_with_the_words_of_slurm(slurm: Slurm, tmp_path, changes, words):
    """In one line, after a few tries."""
    with (
        pytest.raises(BadInput, match=f"(?i){words}") as raised,
        open_cluster(settings(tmp_path, **changes)),
    ):
        pass
    assert "\n" not in str(raised.value)
    slurm.wait_until_empty(10)


def test_strangers_get_neither_into_the_scheduler_nor_into_a_worker(slurm: Slurm, tmp_path):
    """Without the certificates of the run, which only the user can read, nobody is let in."""
    with open_cluster(settings(tmp_path)) as client:
        assert dashboard_address(client).startswith("http://127.0.0.1:")
        (worker,) = list(client.scheduler_info(n_workers=-1)["workers"])[:1]
        address = client.scheduler.address
        assert address.startswith("tls://")
        assert worker.startswith("tls://")
        for stranger in (None, Security.temporary()):
            for scheme in ("tls://", "tcp://"):
                for server in (address, worker):
                    with pytest.raises((OSError, TimeoutError, RuntimeError, TypeError, ValueError)):
                        asyncio.run(identity(server.replace("tls://", scheme), stranger))
        assert asyncio.run(identity(address, client.security))["type"] == "Scheduler"
        assert asyncio.run(identity(worker, client.security))["type"] == "Worker"
        (folder,) = (tmp_path / "shared").iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        found = list(folder.iterdir())
        assert len(found) == 3
        assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
        assert not any("PRIVATE KEY" in path.read_text() for path in (tmp_path / "jobs").iterdir())
    assert not folder.exists()
    gc.collect()  # no file was left open until now


async def identity(address: str, security: Security | None) -> dict[str, object]:
    """What a Dask server says of itself, if it lets us in."""
    given = None if security is None else security.get_connection_args("client")
    async with rpc(address, timeout=3, connection_args=given) as server:
        found: dict[str, object] = await asyncio.wait_for(server.identity(), 5)
    return found


def test_two_hundred_blocks_survive_ten_cancelled_jobs(slurm: Slurm, tmp_path):
    """One job after the other is cancelled in the middle, and the result is that of an undisturbed run."""
    cancelled: list[str] = []

    def cancel() -> None:
        running = slurm.jobs("RUNNING")
        if running:
            cancelled.append(running[0])
            slurm.cancel(running[0])

    watch = Once(cancel, *range(15, 195, 18))
    assert run(tmp_path, settings(tmp_path), 200, 0.1, watch) == undisturbed(tmp_path / "here", 200)
    assert len(set(cancelled)) == 10


def test_the_job_with_a_gpu_is_replaced_by_one_with_a_gpu(slurm: Slurm, tmp_path, caplog):
    """It is cancelled in the middle; the job without a GPU stays, and blocks that need one wait for the new worker."""
    slurm.give_gpu()
    seen: dict[str, list[str]] = {}

    def cancel() -> None:
        seen["with"] = slurm.called("blockwise-gpu")
        seen["without"] = slurm.called("blockwise")
        slurm.cancel(*seen["with"])

    watch = Once(cancel, 5)
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    cluster = settings(tmp_path, gpus=1)
    stage = Idle(blocks=20, seconds=0.3, needs_gpus=1.0)
    options = RunOptions(progress=lambda name, done, total, note="": watch(done, total))
    with (
        open_cluster(cluster) as client,
        OnDask(client, store.url, cluster.promised(), batch_limit=1) as executor,
    ):
        run_stages([stage], store, executor, options)
        assert slurm.called("blockwise") == seen["without"]
        (after,) = slurm.called("blockwise-gpu")
        given = slurm.command("scontrol", "show", "job", after)
    store.close()
    assert seen["with"] != [after]
    assert len(seen["with"]) == len(seen["without"]) == 1
    assert "gpu:1" in given
    assert caplog.text.count("is lost, job") == 1
    slurm.wait_until_empty(10)
