"""Scripts, notebooks and pipes start workers, and no worker runs the script again."""

from __future__ import annotations

import multiprocessing.spawn
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blockwise.cluster.spawning import without_main
from tests.support.paths import ROOT

USES = """
from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.errors import BadInput
def use():
    with open_cluster(Cluster(workers=1, dashboard=False)) as client:
        print("answer", client.submit(sum, [40, 2]).result(), flush=True)
"""
PLAIN = "print('begin', flush=True)" + USES + "use()\n"
LOOP = "print('begin', flush=True)" + USES + "import asyncio\nasync def main(): use()\nasyncio.run(main())\n"

CHILD = (
    "import multiprocessing"
    + USES
    + """
def child(): pass
context = multiprocessing.get_context("spawn")
try:
    with open_cluster(Cluster(workers=1, dashboard=False)):
        print("cluster", flush=True)
        process = context.Process(target=child)
        process.start()
        process.join()
        print("child ended with", process.exitcode, flush=True)
except BadInput as error:
    print(f"refused: {error}", flush=True)
    raise SystemExit(3)
"""
)

DAEMON = (
    "import multiprocessing"
    + USES
    + """
def child():
    try:
        use()
    except BadInput as error:
        print(f"refused: {error}", flush=True)
if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
    process.start()
    process.join()
"""
)


def ran(arguments: list[str], folder: Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Python's end in a folder; what it says."""
    command = [sys.executable, *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, input=text or "", capture_output=True, text=True, timeout=120, env=env)


@pytest.mark.parametrize("script", [PLAIN, LOOP], ids=["plain", "in a running event loop"])
def test_a_script_needs_no_main_guard(script: str, tmp_path: Path) -> None:
    """Without `if __name__ == "__main__"` the script runs once, and its workers work."""
    (tmp_path / "script.py").write_text(script)
    done = ran(["script.py"], tmp_path)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (0, ["begin", "answer 42"]), done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def test_a_script_may_come_from_a_pipe(tmp_path: Path) -> None:
    """Without a file to read again, workers start all the same."""
    done = ran(["-"], tmp_path, PLAIN)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (0, ["begin", "answer 42"]), done.stderr


def test_other_processes_of_a_script_are_told_of_the_guard_in_one_line(tmp_path: Path) -> None:
    """A process that others spawn reads the script again; there a cluster is refused, and the guard is named."""
    (tmp_path / "script.py").write_text(CHILD)
    done = ran(["script.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [lines[0], lines[-1]] == ["cluster", "child ended with 3"]
    assert 'put what runs under `if __name__ == "__main__":`, or set cluster.kind: none' in lines[1]
    assert len(lines) == 3
    assert "Traceback" not in done.stderr, done.stderr


def test_a_daemon_is_told_that_it_may_start_no_workers(tmp_path: Path) -> None:
    """One line instead of an assertion of Python's for each worker."""
    (tmp_path / "script.py").write_text(DAEMON)
    done = ran(["script.py"], tmp_path)
    assert (
        done.stdout
        == "refused: cluster: this process is a daemon, which may start no workers; set cluster.kind: none\n"
    )


def test_where_python_has_changed_workers_start_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the hook of `multiprocessing` nothing is touched, and nothing fails."""
    monkeypatch.delattr(multiprocessing.spawn, "get_preparation_data")
    with without_main():
        assert not hasattr(multiprocessing.spawn, "get_preparation_data")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first first", "last first"])
def test_the_hook_is_gone_when_the_last_cluster_is_closed(
    order: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is closed first, and processes other than workers read the main module all the time."""
    # That of a process which pytest-xdist has started is no file, and would not be read in any case.
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
    main = {"init_main_from_name", "init_main_from_path"}
    before = multiprocessing.spawn.get_preparation_data
    opened = [without_main(), without_main()]
    for one in opened:
        one.__enter__()
    for place in order:
        assert not main & set(multiprocessing.spawn.get_preparation_data("Dask Worker process (from Nanny)"))
        assert main & set(multiprocessing.spawn.get_preparation_data("SpawnProcess-1"))
        opened[place].__exit__(None, None, None)
    assert multiprocessing.spawn.get_preparation_data is before
