"""What all tests share: few threads, data sets that may be absent, a working folder of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# Several workers with a thread pool each are slower than one thread each; read when the libraries are loaded.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# A shell has what it runs in the background ignore Ctrl-C, and nohup SIGHUP; so would all processes that tests start
# and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

from tests.support.paths import SHARED_DATA  # noqa: E402 - it may import what reads them


def pytest_xdist_auto_num_workers() -> int:
    """Two processes for each core, as many tests wait for others most of their time."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files of slow tests, that none is left at the end with idle processes beside it.

    Skip `@pytest.mark.real_data("name.npz", ...)` where one of the named files is absent.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        for marker in item.iter_markers("real_data"):
            for name in marker.args:
                if not (SHARED_DATA / name).exists():
                    item.add_marker(pytest.mark.skip(reason=f"needs the data set {name} in ../shared/data"))


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: relative paths of the test end up in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
