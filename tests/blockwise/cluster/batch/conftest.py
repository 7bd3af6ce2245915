"""A SLURM that all tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT
from tests.support.slurm import Slurm, running_slurm


@pytest.fixture(scope="session")
def shared_slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Started once, ended when all tests are through."""
    with running_slurm(tmp_path_factory.mktemp("slurm")) as found:
        yield found


@pytest.fixture
def slurm(shared_slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """With an empty queue; jobs find the stages of the tests."""
    shared_slurm.wait_until_empty(90)
    monkeypatch.setenv("SLURM_CONF", shared_slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield shared_slurm
    shared_slurm.partition("UP")
    shared_slurm.cancel(*shared_slurm.jobs())
