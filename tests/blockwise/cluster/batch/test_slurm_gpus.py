"""Workers with a GPU and those without are jobs of their own on a real SLURM, which gives GPUs out."""

from __future__ import annotations

from blockwise.cluster.open import open_cluster
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.executor import OnDask
from blockwise.store import open_store
from tests.blockwise.cluster.batch.test_slurm import Once, settings
from tests.support.slurm import Slurm
from tests.support.toys import Idle

BLOCKS = 20


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
    stage = Idle(blocks=BLOCKS, seconds=0.3, needs_gpus=1.0)
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
