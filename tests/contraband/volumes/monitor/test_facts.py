"""The facts about a run, as rows, layers of blocks, text for Prometheus and the output of commands."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import yaml
from rich.console import Console

import contraband
from blockwise.errors import BadInput
from blockwise.executor.workerlog import note_lost
from blockwise.grid import pack, unpack
from blockwise.store import Failure
from contraband.volumes.belonging import find_belonging, opened_store
from contraband.volumes.line import stages
from contraband.volumes.monitor.facts import STATES, Facts
from contraband.volumes.monitor.terminal import as_prometheus, duration, print_status, watched
from contraband.volumes.output import Output
from tests.support.paths import ROOT
from tests.support.viewed import SHAPE, viewed_run

LAYERS = (2, 3, 2)
"""Blocks of each stage but agglomerate, along z, y, x."""


@pytest.fixture
def settings(tmp_path):
    return viewed_run(tmp_path)


@pytest.fixture
def store(settings):
    with opened_store(settings, find_belonging(settings).identity) as found:
        yield found


def row_of(facts, stage):
    return next(row for row in facts.stages() if row["stage"] == stage)


def test_a_row_is_what_the_store_has(settings, store):
    """Blocks, voxels, times and memory of each stage are the sums of the store; nothing is running or failed."""
    for row in Facts(settings, stages(settings)).stages():
        totals = store.totals(row["stage"])
        assert (row["done"], row["running"], row["failed"], row["stale"]) == (totals.done, 0, 0, 0)
        assert row["voxels"] == totals.voxels == np.prod(SHAPE)
        assert (row["block_seconds"], row["peak_rss_bytes"]) == (totals.wall_seconds, totals.peak_rss_bytes)
        assert (row["rate"], row["left_s"]) == (None, None)


def test_a_layer_is_what_each_block_was(settings, store):
    """States, times and memory lie at the places of their blocks; a failed block and one at a worker are seen."""
    store.fail("edges", [Failure(pack((1, 2, 0)), 3, "broken\nOSError: gone")])
    facts = Facts(settings, stages(settings), lambda: {"edges": [pack((1, 0, 1)), pack((0, 0, 0))]})
    plane = facts.plane("edges", 1)
    names = np.array(STATES)[plane["state"]]
    assert names.tolist() == [["done", "running"], ["done", "done"], ["failed", "done"]]
    for cost in store.costs("edges", 0, pack((2, 0, 0))):
        z, y, x = unpack(int(cost["key"]))
        if z == 1:
            assert plane["seconds"][y, x] == np.float32(cost["wall"])
            assert plane["bytes"][y, x] == cost["rss"]
    assert facts.block("edges", pack((1, 2, 0)))["error"].endswith("OSError: gone")
    assert facts.block("edges", pack((1, 0, 1)))["state"] == "running"
    assert row_of(facts, "edges")["failures"][0]["place"] == [1, 2, 0]
    for stage, z in (("edges", 2), ("edges", -1), ("nothing", 0)):
        with pytest.raises(BadInput):
            facts.plane(stage, z)


def test_only_a_failed_block_is_tried_again(settings, store):
    """Its failure is taken back; others are refused, and what is done stays done."""
    store.fail("edges", [Failure(pack((1, 2, 0)), 3, "broken")])
    facts = Facts(settings, stages(settings))
    with pytest.raises(BadInput, match="has not failed"):
        facts.try_again("edges", pack((0, 0, 0)))
    facts.try_again("edges", pack((1, 2, 0)))
    assert row_of(facts, "edges")["failed"] == 0
    assert row_of(facts, "edges")["done"] == np.prod(LAYERS)


def test_changed_settings_make_blocks_stale(settings):
    """The blocks of the stage and of those after it count as stale, and are so on the map."""
    changed = settings.model_copy(update={"fragments": settings.fragments.model_copy(update={"dip": 0.2})})
    facts = Facts(changed, stages(changed))
    assert row_of(facts, "fragments")["stale"] == np.prod(LAYERS)
    assert "dip" in row_of(facts, "fragments")["changes"]
    assert set(facts.plane("fragments", 0)["state"].ravel()) == {STATES.index("stale")}


def test_rates_are_those_that_were_seen(settings, store):
    """Blocks finished while somebody looks on give a rate and the time that is left; what is forgotten gives none."""
    keys = Facts(settings, stages(settings)).grid("edges").keys().ravel()
    digest = next(info.fingerprint for info in store.stages() if info.name == "edges")
    store.keep("edges", keys[:4], digest)
    facts = Facts(settings, stages(settings))
    assert row_of(facts, "edges")["rate"] is None
    begin = time.monotonic()
    contraband.run(settings, progress=False)
    facts._at_s = -1e9
    row = row_of(facts, "edges")
    assert 8 / (time.monotonic() - begin + 5) < row["rate"] <= 8 / (time.monotonic() - begin) * 1.5
    assert row["left_s"] == 0
    store.keep("edges", keys[:2], digest)
    facts._at_s = -1e9
    assert row_of(facts, "edges")["rate"] is None


def test_it_ends_when_all_is_done(settings, store):
    """Watching gives rows until every stage is done, and looks again in between."""
    waited = []

    def wait(seconds):
        waited.append(seconds)
        facts._at_s = -1e9
        contraband.run(settings, progress=False)

    digest = next(info.fingerprint for info in store.stages() if info.name == "edges")
    store.keep("edges", np.array([0]), digest)
    facts = Facts(settings, stages(settings))
    shown = [[row["state"] for row in rows] for rows in watched(facts, wait)]
    assert len(shown) == 2
    assert len(waited) == 1
    assert set(shown[0]) > {"done"}
    assert set(shown[1]) == {"done"}


def test_prometheus_can_read_it(settings):
    """Each sample has a type, a stage and a number, and says what the row says."""
    rows = Facts(settings, stages(settings)).stages()
    *lines, help_line, type_line, lost = as_prometheus(rows, 3).splitlines()
    assert help_line.startswith("# HELP contraband_workers_lost_total ")
    assert (type_line, lost) == ("# TYPE contraband_workers_lost_total counter", "contraband_workers_lost_total 3")
    samples = [re.fullmatch(r'(contraband_\w+)\{stage="([^"]+)"\} ([0-9.e+]+)', one) for one in lines if one[0] != "#"]
    assert all(samples)
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {one[1] for one in samples} == typed
    found = {(one[1], one[2]): float(one[3]) for one in samples}
    assert all(found["contraband_blocks_done", row["stage"]] == row["done"] for row in rows)


def test_durations_are_in_words():
    """Seconds, minutes and hours; nothing where nothing is known."""
    assert [duration(one) for one in (None, 4.2, 600, 9000)] == ["", "4 s", "10 min", "2.5 h"]


def test_status_and_dashboard_show_the_same(settings, tmp_path):
    """`status --watch --json` of a finished run ends at once; `dashboard` serves the same facts from the store.

    Both tell of a worker that was lost.
    """
    note_lost(Output(settings.output).logs, "tcp://127.0.0.1:4711", "signal SIGKILL")
    path = tmp_path / "vol.yaml"
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    command = [sys.executable, "-m", "contraband"]
    done = subprocess.run(
        [*command, "status", str(path), "--watch", "--json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    printed = json.loads(done.stdout.splitlines()[-1])
    rows = printed["stages"]
    with subprocess.Popen([*command, "dashboard", str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().split()[0]
            with urllib.request.urlopen(f"{address}facts", timeout=60) as answer:
                told = json.load(answer)
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()  # if anything above went wrong
    assert [{key: row[key] for key in rows[0]} for row in told["stages"]] == rows
    assert told["stages"][0]["counts"] == list(LAYERS)
    assert [one["how"] for one in told["lost_workers"]] == ["signal SIGKILL"]
    assert printed["lost_workers"] == told["lost_workers"]
    written = io.StringIO()
    print_status(Console(file=written, width=200), rows, printed["lost_workers"])
    assert written.getvalue().splitlines()[-1].endswith(" worker tcp://127.0.0.1:4711 was lost: signal SIGKILL")
