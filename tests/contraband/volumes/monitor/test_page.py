"""The page of a run that goes on, in a browser, against the store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from blockwise.grid import pack
from contraband.volumes.belonging import find_belonging, opened_store
from contraband.volumes.monitor.facts import Facts
from contraband.volumes.monitor.serving import tunnel
from contraband.volumes.run import running_dashboards
from tests.support.browser import opened_browser
from tests.support.gated import BAD, COUNTS, LAST, Gated, gated_settings
from tests.support.paths import ROOT

PATIENCE_S = 120
BLOCKS = COUNTS[0] * COUNTS[1] * COUNTS[2]
COLUMNS = ("blocks", "done", "running", "failed", "stale")


@pytest.fixture
def run(tmp_path):
    """A run on two workers whose last block waits, and the address of its page."""
    command = [sys.executable, "-m", "tests.support.gated", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stdout.readline, "")
        yield process, next(line.split()[1] for line in lines if line.startswith("progress: "))
    finally:
        (tmp_path / "gate").touch()
        process.kill()
        process.wait()


def until(ask, wanted):
    """Ask until the answer is the wanted one; fails with the last answer."""
    end = time.monotonic() + PATIENCE_S
    while (found := ask()) != wanted:
        assert time.monotonic() < end, f"{found}, not {wanted}"
        time.sleep(0.2)


def settled(store):
    """What the store has once the bad block is given up and nothing moves any more but the block at the gate."""
    end = time.monotonic() + PATIENCE_S
    before = None
    while True:
        totals = store.totals("gated")
        is_given_up = [one.attempt for one in store.failures("gated")] == [3]
        if is_given_up and totals.done > BLOCKS // 2 and totals == before:
            return totals
        assert time.monotonic() < end, f"{totals}"
        before = totals
        time.sleep(3)


def numbers(driver):
    """What the row of the stage shows, by column; nothing before there is one."""
    script = """const row = document.querySelector('tr[data-stage=gated]');
        const number = (name) => Number(row.querySelector('td.' + name).textContent);
        return row && Object.fromEntries(arguments[0].map((name) => [name, number(name)]));"""
    return driver.execute_script(script, list(COLUMNS))


def click(driver, block):
    """Click where a block is on the map, in its layer."""
    script = """const [[z, y, x], [, height, width]] = arguments, slider = document.getElementById('z');
        slider.value = z; slider.dispatchEvent(new Event('input'));
        document.getElementById('block').replaceChildren();  // it may show this block as it was
        const canvas = document.getElementById('plane'), box = canvas.getBoundingClientRect();
        const scale = Math.min(box.width / width, box.height / height);
        canvas.dispatchEvent(new MouseEvent('click', {clientX: box.left + (x + .1) * scale,
            clientY: box.top + (y + .1) * scale}));"""
    driver.execute_script(script, list(block), list(COUNTS))
    until(lambda: f"block {', '.join(map(str, block))} " in driver.find_element("id", "block").text, True)
    return driver.find_element("id", "block").text


def pixel(driver, block):
    """The colour of a block on the map of the layer that is shown."""
    script = """return Array.from(document.getElementById('plane').getContext('2d')
        .getImageData(arguments[1], arguments[0], 1, 1).data.slice(0, 3));"""
    return driver.execute_script(script, block[1], block[2])


def test_the_page_shows_a_run_and_has_a_failed_block_tried_again(run, tmp_path):
    """Numbers, map and traceback are those of the store; the button is heard by the run, which then ends well."""
    process, address = run
    settings = gated_settings(tmp_path)
    identity = find_belonging(settings).identity
    with opened_browser((1300, 850)) as driver, opened_store(settings, identity) as store:
        driver.get(address)
        done = settled(store).done
        # Blocks that went to a worker together with the last one wait with it.
        wanted = {"blocks": BLOCKS, "done": done, "running": BLOCKS - 1 - done, "failed": 1, "stale": 0}
        until(lambda: numbers(driver), wanted)
        assert address in running_dashboards(settings)
        assert "PlannedError: planned for block" in click(driver, BAD)
        assert pixel(driver, BAD) == [0xD3, 0x3A, 0x2C]
        assert pixel(driver, (0, 0, 0)) == [0x3A, 0x9D, 0x5D]
        click(driver, BAD)
        driver.save_screenshot(str(tmp_path / "page.png"))
        driver.find_element("id", "again").click()
        until(lambda: numbers(driver)["failed"], 0)
        assert store.failures("gated") == []
        assert "running" in click(driver, LAST)
        assert pixel(driver, LAST) == [0x4F, 0x8E, 0xF7]
        with urllib.request.urlopen(f"{address}metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        assert f'contraband_blocks_done{{stage="gated"}} {done}' in lines
        assert f'contraband_blocks_running{{stage="gated"}} {BLOCKS - 1 - done}' in lines
        loaded = driver.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
        assert all(one.startswith((address, "data:")) for one in loaded)
        Gated(folder=tmp_path).gate.touch()
        assert process.wait(PATIENCE_S) == 0
        assert store.totals("gated").done == BLOCKS
    assert running_dashboards(settings) == []


def test_a_lost_worker_and_a_failed_block_are_on_the_page(run, tmp_path):
    """A worker that is killed is named with its signal; a block tells who had it, before and after."""
    process, address = run
    settings = gated_settings(tmp_path)
    facts = Facts(settings, [Gated(folder=tmp_path)])
    with opened_browser((1300, 850)) as driver, opened_store(settings, find_belonging(settings).identity) as store:
        driver.get(address)
        settled(store)
        until(lambda: numbers(driver)["failed"], 1)
        first = facts.block("gated", pack(LAST))["worker"]
        assert f"worker {first['process']} ({first['worker']})" in click(driver, LAST)
        os.kill(int(first["process"].rpartition("-")[2]), signal.SIGKILL)
        until(lambda: len(facts.lost_workers()), 1)
        line = f"worker {first['worker']} was lost: signal SIGKILL"
        until(lambda: line in driver.find_element("id", "lost").text, True)
        assert f"block {', '.join(map(str, BAD))} failed: " in driver.find_element("id", "notes").text
        until(lambda: facts.block("gated", pack(LAST))["worker"]["process"] != first["process"], True)
        second = facts.block("gated", pack(LAST))["worker"]
        text = click(driver, LAST)
        assert f"worker {second['process']} ({second['worker']})" in text
        assert "lost" not in text
        click(driver, BAD)
        driver.save_screenshot(str(tmp_path / "lost.png"))
        assert shown_at_once(driver, "lost")
        Gated(folder=tmp_path).gate.touch()
        assert process.wait(PATIENCE_S) == 1  # the bad block is given up
    assert [one["worker"] for one in facts.lost_workers()] == [first["worker"]]


def shown_at_once(driver, name):
    """Whether an element has a place in the window as it is, without scrolling."""
    script = """const box = document.getElementById(arguments[0]).getBoundingClientRect();
        return box.height > 0 && box.top >= 0 && box.bottom <= window.innerHeight;"""
    return driver.execute_script(script, name)


def test_only_the_page_may_push_its_buttons(run):
    """A request without our header, as pages of other servers send it, is refused; so is what makes no sense."""
    _, address = run
    body = json.dumps({"stage": "gated", "key": pack(BAD)}).encode()
    for path, data, headers, code in (
        ("again", body, {}, 403),
        ("again", json.dumps({"stage": "gated", "key": pack((0, 0, 0))}).encode(), {"X-Contraband": "1"}, 400),
        ("plane?stage=gated&z=2", None, {}, 400),
        ("plane?stage=nothing&z=0", None, {}, 400),
        ("block?stage=gated&key=x", None, {}, 400),
        (f"block?stage=gated&key={pack((9, 0, 0))}", None, {}, 400),
        ("nothing", None, {}, 404),
    ):
        request = urllib.request.Request(f"{address}{path}", data, headers)
        with pytest.raises(urllib.error.HTTPError, match=str(code)):
            urllib.request.urlopen(request, timeout=30)


def test_nobody_knows_what_runs_elsewhere(run, tmp_path):
    """Facts from the store alone, as another machine has them, are those of the page but for what is at workers."""
    _, address = run

    def ask():
        with urllib.request.urlopen(f"{address}facts", timeout=30) as answer:
            return json.load(answer)["stages"][0]

    settings = gated_settings(tmp_path)
    with opened_store(settings, find_belonging(settings).identity) as store:
        done = settled(store).done
    until(lambda: ask()["done"], done)
    (elsewhere,) = Facts(settings, [Gated(folder=tmp_path)]).stages()
    assert elsewhere["running"] == 0
    here = ask()
    same = elsewhere.keys() - {"running", "rate", "left_s"}
    assert {key: elsewhere[key] for key in same} == {key: here[key] for key in same}
    logged = Facts(settings, [Gated(folder=tmp_path)]).block("gated", pack(BAD))["log"]
    assert sum("PlannedError" in line["text"] for line in logged) == 3


def test_the_tunnel_leads_to_the_page(run):
    """The line for people on a login node forwards the port of the address."""
    port = run[1].split(":")[2].split("/")[0]
    assert tunnel(run[1]).startswith(f"ssh -N -L {port}:127.0.0.1:{port} ")
