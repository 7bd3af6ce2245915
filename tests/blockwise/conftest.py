"""Executors for tests of stages: once in this process, once on real workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blockwise.arrays.volume import Volume
from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.executor import Executor, InProcess, OnDask
from blockwise.store import Store, open_store
from tests.support.toys import source_volume


@pytest.fixture(scope="session")
def dask_client() -> Iterator[Any]:
    """Two workers that all tests share; a test that kills workers gets new ones by the nanny."""
    with open_cluster(Cluster(workers=2, dashboard=False)) as client:
        yield client


@pytest.fixture
def source(tmp_path: Path) -> Volume:
    """Random numbers, (8, 9, 10)."""
    return source_volume(tmp_path / "in.zarr" / "raw")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An SQLite store that does not exist yet."""
    found = open_store(f"sqlite:///{tmp_path}/store.db")
    yield found
    found.close()


@pytest.fixture(params=["in process", "dask"])
def new_executor(request: pytest.FixtureRequest) -> Callable[[Store], Executor]:
    """Makes an executor for a store."""
    if request.param == "in process":
        return lambda store: InProcess(store.url)
    client = request.getfixturevalue("dask_client")
    return lambda store: OnDask(client, store.url)


@pytest.fixture
def executor(new_executor: Callable[[Store], Executor], store: Store) -> Iterator[Executor]:
    """Processes blocks of stages that use `store`."""
    with new_executor(store) as found:
        yield found
