"""The page of a run whose scheduler was there before it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.options import RunOptions
from contraband.volumes.run import execute, running_dashboards
from contraband.volumes.settings import VolumeSettings
from tests.faults.planned import plan
from tests.support.gated import COUNTS, Gated

BLOCKS = COUNTS[0] * COUNTS[1] * COUNTS[2]


def rows(address):
    """What the page tells of the stages."""
    with urllib.request.urlopen(f"{address}facts", timeout=30) as answer:
        return json.load(answer)["stages"]


def test_the_run_serves_its_page_itself(tmp_path):
    """As long as it goes on, and says where; with `dashboard: false` it does not."""
    stage = Gated(folder=tmp_path)
    plan(tmp_path / "plan", {})
    stage.gate.touch()
    said: list[str] = []
    seen = []
    found: list[str] = []

    def look(name, done, total, note=""):
        found[:] = running_dashboards(settings)
        seen.extend(rows(found[0]) if not seen else [])

    with open_cluster(Cluster(workers=1, dashboard=False)) as client:
        cluster = {"address": client.scheduler.address}
        settings = VolumeSettings(output=tmp_path / "a.zarr", affinities=tmp_path / "nothing", cluster=cluster)
        execute(settings, [stage], RunOptions(announce=said.append, progress=look))
        silent = settings.model_copy(
            update={"output": tmp_path / "b.zarr", "cluster": Cluster(**cluster, dashboard=False)}
        )
        execute(silent, [stage], RunOptions(announce=said.append))
    (address,) = [line.split()[1] for line in said if line.startswith("progress: ")]
    assert address == found[0]
    assert (seen[0]["stage"], seen[0]["blocks"], seen[0]["failed"]) == ("gated", BLOCKS, 0)
    assert running_dashboards(settings) == []
    with pytest.raises(urllib.error.URLError):
        rows(address)
