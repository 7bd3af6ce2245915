"""A person labels a volume in the browser: real keys and clicks in Chromium, from the first one to a segmentation."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import ndimage
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from blockwise.arrays.volume import Volume
from contraband.cli import call
from contraband.label.pairs import read_pairs
from contraband.samples.points import Points, read_points
from tests.support.browser import opened_browser, picture
from tests.support.labelled import labelled_image
from tests.support.paths import ROOT
from tests.support.scores import variation_of_information
from tests.support.trained import tiny_params
from tests.support.volumes import store_volume, whole

SHAPE = (1, 240, 300)
POINTS = Path("vol.raw.points.csv")
PAIRS = Path("vol.raw.pairs.csv")
PANEL = ".neuroglancer-rendered-data-panel"
WAIT_S = 120
LONG = 100_000
"""Steps that nobody waits for."""
FAR = 10**6
NEAR = 2
"""Voxels by which panels of an odd size are off, and rounding."""


class Person:
    """Somebody at the page, who sees the left panel at one pixel per voxel."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def point_at(self, voxel: tuple[int, int]) -> None:
        """Move the mouse to a voxel (y, x) of the section, and wait until the page says that it is there."""
        panel = self.browser.find_elements("css selector", PANEL)[0]
        y, x = (at - size // 2 for at, size in zip(voxel, SHAPE[1:], strict=True))
        ActionChains(self.browser).move_to_element_with_offset(panel, x, y).perform()
        until(lambda: max(map(abs, self._beside(voxel))) <= NEAR)

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        ActionChains(self.browser).send_keys(*keys).perform()

    def control_click(self) -> None:
        """Click while the control key is held."""
        ActionChains(self.browser).key_down(Keys.CONTROL).click().key_up(Keys.CONTROL).perform()

    def _beside(self, voxel: tuple[int, int]) -> tuple[int, int]:
        """How far the mouse is below and to the right of a voxel, as the page says."""
        shown = self.browser.find_element("css selector", ".neuroglancer-mouse-position-widget").text
        found = re.search(r"y (-?\d+)\s+x (-?\d+)", shown)
        return (int(found[1]) - voxel[0], int(found[2]) - voxel[1]) if found else (FAR, FAR)

    def reads(self, words: str) -> bool:
        """Whether words stand on the page."""
        return words in self.browser.find_element("tag name", "body").text

    def colours(self, panel: int) -> int:
        """How many different saturated colours the middle of a panel shows."""
        one = self.browser.find_elements("css selector", PANEL)[panel].rect
        middle = (one["x"] + one["width"] / 2, one["y"] + one["height"] / 2)
        x, y = (int(at) for at in middle)
        pixels = picture(self.browser)[y - 90 : y + 90, x - 90 : x + 90].astype(np.int64)
        vivid = pixels[np.ptp(pixels, axis=2) > 30] // 16
        return len(np.unique(vivid, axis=0))


@pytest.fixture
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    with opened_browser((1000, 600)) as opened:
        yield opened


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Classes and cells of a made-up section, stored in the working folder with settings."""
    monkeypatch.chdir(tmp_path)
    raw, classes, labels = labelled_image(SHAPE, spacing=9)
    store_volume(Path("vol.zarr/raw"), raw, SHAPE, voxel_size=[40, 4, 4])
    settings = {"volume": {"raw": "vol.zarr/raw"}, "output": "out.zarr", "cluster": {"kind": "none"}}
    Path("vol.yaml").write_text(yaml.safe_dump(settings))
    return classes, labels


@pytest.fixture
def served(image: object) -> Iterator[subprocess.Popen[str]]:
    """`contraband label` in a process of its own, with a training behind it that is never at its end."""
    Path("tiny.json").write_text(json.dumps(tiny_params(2, steps=LONG)))
    command = [sys.executable, "-m", "contraband", "label", "vol.yaml", "--train", "--params", "tiny.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_person_labels_a_section_in_the_browser(browser: Any, served: subprocess.Popen[str], image: Any) -> None:
    """Fourteen keys and clicks give a segmentation beside the image, and settings with which a run makes the same.

    Two keys make a pair, and a network is trained meanwhile, which tests of the page and of the process wait for.
    """
    classes, labels = image
    assert served.stdout is not None
    browser.get(served.stdout.readline().split()[0])
    person = Person(browser)
    until(
        lambda: len(browser.find_elements("css selector", PANEL)) == 2 and person.reads("label voxels of two classes")
    )

    meant = [(label, voxel) for label in (1, 2) for voxel in aims(classes, label, 7)]
    for count, (label, voxel) in enumerate(meant, start=1):
        person.point_at(voxel)
        person.press(str(label))
        until(lambda count=count: len(points()) == count)
    found = points()
    assert np.abs(found.positions[:, 1:] - [voxel for _, voxel in meant]).max() <= NEAR
    assert found.labels.tolist() == [label for label, _ in meant]

    person.point_at(aims(classes, 2, 8)[7])
    person.control_click()
    until(lambda: len(points()) == len(meant) + 1)
    assert points().labels[-1] == 2
    person.press("u")
    until(lambda: len(points()) == len(meant))
    until(lambda: person.reads("told right when left out") and person.reads("7 inside, 7 boundary"))
    until(lambda: person.colours(1) > 20)  # segments, in the panel beside
    say_pairs(person, classes, labels)
    until(lambda: person.reads("7 boundary, 2 pairs") and person.reads("told right when left out"))
    until(lambda: person.reads("shown: quick head") and person.reads("training: "))
    if "SCREENSHOT" in os.environ:  # for whoever wants to see it
        browser.save_screenshot(os.environ["SCREENSHOT"])
    person.press("n")
    until(lambda: person.reads("taken for"))
    person.press("w")
    until(lambda: person.reads("contraband run vol-labelled.yaml"))

    served.send_signal(signal.SIGINT)
    told = served.communicate(timeout=WAIT_S)[0]
    assert served.returncode == 0
    assert "points: vol.raw.points.csv" in told
    assert "contraband run vol-labelled.yaml" in told
    assert call(["run", "vol-labelled.yaml"]) == 0
    segments = whole(Volume(path=Path("out.zarr/segments/0.5")))
    assert sum(variation_of_information(segments, labels)) < sum(variation_of_information(labels * 0, labels)) / 4


def say_pairs(person: Person, classes: np.ndarray, labels: np.ndarray) -> None:
    """Say of two voxels that they are one object, of two others that they are two; take a third pair back."""
    one, other = neighbours(classes, labels)
    person.point_at(one[0])
    person.press("s")
    until(lambda: person.reads("and the same object"))
    person.point_at(one[1])
    person.press("s")
    until(lambda: len(read_pairs(PAIRS)) == 1)
    for count in (2, 3):
        person.point_at(one[0])
        person.press("o")
        until(lambda: person.reads("and another object"))
        person.point_at(other[0])
        person.press("o")
        until(lambda count=count: len(read_pairs(PAIRS)) == count)
    person.press("u")
    until(lambda: len(read_pairs(PAIRS)) == 2)
    assert [pair.is_same for pair in read_pairs(PAIRS)] == [True, False]
    for pair, ends in zip(read_pairs(PAIRS), (one, (one[0], other[0])), strict=True):
        assert np.abs(np.subtract([pair.first[1:], pair.second[1:]], ends)).max() <= NEAR


def neighbours(classes: np.ndarray, labels: np.ndarray) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Two voxels (y, x) in each of two large cells near the middle of the section, away from their boundaries."""
    inner = ndimage.binary_erosion(classes[0] == 1, iterations=NEAR)
    inner[:40] = inner[-40:] = inner[:, :40] = inner[:, -40:] = False
    cells, counts = np.unique(labels[0][inner], return_counts=True)
    found = []
    for cell in cells[np.argsort(counts)[-2:]]:
        places = np.argwhere(inner & (labels[0] == cell))
        found.append([(int(y), int(x)) for y, x in (places[0], places[-1])])
    return found[0], found[1]


def points() -> Points:
    """The points on disk."""
    return read_points(POINTS) if POINTS.exists() else Points(np.zeros((0, 3), np.int64), np.zeros(0, np.int64))


def aims(classes: np.ndarray, label: int, count: int) -> list[tuple[int, int]]:
    """Voxels (y, x) of a class, with others of it around them, all over the middle of the section."""
    same = classes[0] == label
    around = same.copy()
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        around &= np.roll(same, step, axis)
    around[:20] = around[-20:] = around[:, :20] = around[:, -20:] = False
    chosen = np.random.default_rng(label).permutation(np.argwhere(around))[:count]
    return [(int(y), int(x)) for y, x in chosen]


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; fail if it does not within two minutes."""
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)
