"""The Python interface as people use it: the code of the README, and a notebook that is interrupted and goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import blockwise as bw
import contraband as cb
from tests.support.paths import ROOT
from tests.support.scripts import python_blocks, run_script
from tests.support.volumes import cells, store_volume, whole

SHAPE = (24, 40, 48)
WORKERS = {"none": "{kind: none}", "local": "{kind: local, workers: 2, dashboard: false}"}

SETUP = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import contraband as cb"
LOAD = (
    "settings = cb.load_settings('out/demo/test.yaml', ['output=out/n.zarr', 'blocks.shape=[4, 8, 8]', 'cluster={}'])"
)
RUN = "rows = cb.run(settings)"
LOOK = """
import asyncio, numpy
assert asyncio.get_running_loop().is_running()
result = cb.open_result(settings)
print(sorted({row["stage"]: row["blocks_skipped"] > 0 for row in rows}.items()))
print(len(numpy.unique(result.segments(0.35))), min(row["voi_sum"] for row in result.scores))
"""


@pytest.fixture
def demo(in_tmp: Path) -> Path:
    """A folder as the demo leaves it, but with a smaller volume whose affinities are given."""
    affinities, labels = cells(SHAPE)
    folder = in_tmp / "out" / "demo"
    store_volume(folder / "volume.zarr" / "affinities", affinities)
    store_volume(folder / "volume.zarr" / "labels", labels)
    settings = {
        "affinities": "out/demo/volume.zarr/affinities",
        "volume": {"labels": "out/demo/volume.zarr/labels"},
        "output": "out/demo/test.zarr",
        "blocks": {"shape": [12, 20, 24]},
        "cluster": {"kind": "local", "workers": 2, "threads": 1},
    }
    (folder / "test.yaml").write_text(json.dumps(settings))
    return in_tmp


def test_the_code_of_the_readme_runs_as_it_stands(demo: Path) -> None:
    """As a script without a main guard, with workers: the output of the demo is there afterwards."""
    blocks = python_blocks("README.md")
    assert blocks
    assert run_script("\n".join(blocks), demo)
    assert cb.open_result("out/demo/test.zarr").scores


class Notebook:
    """A notebook in a kernel of its own, whose cells are run one by one."""

    def __init__(self, folder: Path) -> None:
        self.notes = nbformat.v4.new_notebook()
        self.client = NotebookClient(self.notes, timeout=240, resources={"metadata": {"path": str(folder)}})

    async def run(self, source: str) -> str:
        """Run a cell to its end; all text below it."""
        cell = nbformat.v4.new_code_cell(source)
        self.notes.cells.append(cell)
        await self.client.async_execute_cell(cell, len(self.notes.cells) - 1)
        return text_below(cell)

    async def interrupt(self, source: str, condition: Callable[[], bool]) -> str:
        """Run a cell, interrupt the kernel as people do once the condition holds; all text below the cell."""
        running = asyncio.create_task(self.run(source))
        while not condition():
            assert not running.done(), "it ended before it could be interrupted"
            await asyncio.sleep(0.05)
        await self.client.km.interrupt_kernel()
        with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
            await running
        return text_below(self.notes.cells[-1])


def text_below(cell: Any) -> str:
    """Streams, displays and errors, as text."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "error":
            texts.append("\n".join(output.traceback))
        else:
            texts.append(output.text if output.output_type == "stream" else output.data["text/plain"])
    return "\n".join(texts)


def blocks_done() -> int:
    """Blocks of the first stage that the store of the notebook's run knows as done."""
    settings = cb.load_settings("out/demo/test.yaml", ["output=out/n.zarr", "blocks.shape=[4, 8, 8]"])
    return int(cb.status(settings)[0]["done"])


@pytest.mark.parametrize("kind", WORKERS)
def test_a_notebook_is_interrupted_and_goes_on(kind: str, demo: Path) -> None:
    """In a running event loop: progress below the cell, one line for what is wrong, and the same cell goes on.

    The segments are those of a run in one piece.
    """

    async def play() -> tuple[str, str, str, str]:
        notebook = Notebook(demo)
        async with notebook.client.async_setup_kernel():
            await notebook.run(SETUP)
            await notebook.run(LOAD.format(WORKERS[kind]))
            with pytest.raises(CellExecutionError):
                await notebook.run("cb.run(settings, first='evaluation')")
            wrong = text_below(notebook.notes.cells[-1])
            stopped = await notebook.interrupt(RUN, lambda: blocks_done() >= 20)
            gone_on = await notebook.run(RUN)
            return wrong, stopped, gone_on, await notebook.run(LOOK)

    wrong, stopped, gone_on, seen = asyncio.run(play())
    assert wrong.startswith("BadInput: --from: no such stage in this run; got evaluation")
    assert len(wrong.splitlines()) == 1
    assert "interrupted; what is finished is kept, and the same call goes on from there" in stopped
    assert "fragments: " in stopped
    lines = gone_on.splitlines()
    assert [line for line in lines if line.startswith("fragments: ")] == [lines[0 if kind == "none" else 2]]
    assert "fragments: 180 of 180 blocks" in gone_on
    assert "evaluate: 180 of 180 blocks" in gone_on
    assert ("dashboard: " in gone_on) == (kind == "local")
    assert "('fragments', True)" in seen
    whole_run = cb.load_settings("out/demo/test.yaml", ["output=out/whole.zarr", "cluster={kind: none}"])
    cb.run(whole_run, progress=False)
    expected, found = (cb.open_result(f"out/{name}.zarr") for name in ("whole", "n"))
    assert (found.stored("segments/0.5")[...] == expected.stored("segments/0.5")[...]).all()
    assert (found.segments(0.35)[...] == expected.segments(0.35)[...]).all()
    assert found.scores == expected.scores


OWN_STAGE = """
store.clear("brightest")
stage = Brightest(source=raw, target=bw.Volume(path=folder / "again"), block=(16, 32, 32))
with bw.open_cluster(bw.Cluster(workers=1, dashboard=False)) as client, bw.OnDask(client, store.url) as executor:
    print(bw.run_stages([stage], store, executor)[0].blocks_done)
"""


def test_a_stage_written_in_a_notebook_runs_on_workers(in_tmp: Path) -> None:
    """The class of a cell is sent to workers, who know no notebook."""

    async def play() -> str:
        notebook = Notebook(in_tmp)
        async with notebook.client.async_setup_kernel():
            await notebook.run(SETUP)
            for block in python_blocks("blockwise/README.md")[:2]:
                await notebook.run(block)
            return await notebook.run(OWN_STAGE)

    assert asyncio.run(play()).split() == ["64"]
    raw, made, again = (whole(bw.Volume(path=Path("out/own.zarr") / name)) for name in ("raw", "brightest", "again"))
    assert (made == again).all()
    assert (made >= raw).all()
