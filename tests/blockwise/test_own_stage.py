"""A stage that a user writes goes through the same engine as ours: the page about it is run as it stands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import ndimage

import blockwise as bw
from blockwise.arrays.volume import open_array
from tests.support.scripts import python_blocks, run_script

PAGE = "blockwise/README.md"

DISTURBED = """
import json
import os
import signal

folder = Path("out.zarr").absolute()
raw, shape = bw.Volume(path=folder / "raw"), (32, 64, 64)
bw.create(raw, shape, "uint8", block=(8, 16, 16))
bw.write(raw, bw.Roi((0, 0, 0), shape), np.random.default_rng(1).integers(0, 255, shape).astype("uint8"))
stage = Brightest(source=raw, target=bw.Volume(path=folder / "brightest"), block=(4, 8, 8), radius=3)
store = bw.open_store(f"sqlite:///{folder.parent}/out.db")
told = {"results": []}

def interrupted(name, done, total, note=""):
    if done >= 100:
        raise KeyboardInterrupt

with bw.InProcess(store) as executor:
    try:
        bw.run_stages([stage], store, executor, bw.RunOptions(progress=interrupted))
    except KeyboardInterrupt:
        told["interrupted"] = store.totals("brightest").done

with bw.open_cluster(bw.Cluster(workers=2)) as client, bw.OnDask(client, store.url) as executor:
    told["dashboard"] = client.dashboard_link

    def killing(name, done, total, note=""):
        if done > told["interrupted"] + 50 and "killed" not in told:
            told["killed"] = next(iter(client.run(os.getpid).values()))
            told["prefixes"] = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes))
            os.kill(told["killed"], signal.SIGKILL)

    (result,) = bw.run_stages([stage], store, executor, bw.RunOptions(progress=killing))
told["skipped"], told["done"] = result.blocks_skipped, result.blocks_done
print(json.dumps(told))
"""


def expected(raw: np.ndarray, radius: int) -> np.ndarray:
    """The whole volume at once, by another library."""
    found: np.ndarray = ndimage.maximum_filter(raw, size=2 * radius + 1, mode="nearest")
    return found


def stored(path: Path) -> np.ndarray:
    """A whole array."""
    return np.asarray(open_array(bw.Volume(path=path))[:])


def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    """A stage in thirty lines, in this process and on workers, from one script without a main guard."""
    first, *others = python_blocks(PAGE)
    assert 25 <= len(first[first.index("class ") :].splitlines()) <= 36
    said = run_script("\n".join([first, *others]), tmp_path)
    assert "8 blocks done, 0 before" in said
    assert "8 blocks done again" in said
    assert "dashboard: http://127.0.0.1:" in said
    output = tmp_path / "out" / "own.zarr"
    assert np.array_equal(stored(output / "brightest"), expected(stored(output / "raw"), 2))


def test_it_is_taken_up_where_it_was_and_outlives_a_worker(tmp_path: Path) -> None:
    """Interrupted in one process, gone on with on workers, one of them killed: the bytes of the whole volume at once.

    The scheduler, and with it the dashboard, knows the blocks by the name of the stage.
    """
    told = json.loads(run_script(python_blocks(PAGE)[0] + DISTURBED, tmp_path).splitlines()[-1])
    blocks = 8 * 8 * 8
    assert 100 <= told["interrupted"] < blocks
    assert told["skipped"] == told["interrupted"]
    assert told["skipped"] + told["done"] == blocks
    assert told["killed"]
    assert "brightest" in told["prefixes"]
    output = tmp_path / "out.zarr"
    assert np.array_equal(stored(output / "brightest"), expected(stored(output / "raw"), 3))
