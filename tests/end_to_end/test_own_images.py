"""The page "Your own images": its commands are run, one after the other, by a user with a stack and no labels.

So are those of each way to a network, with the files that the page shows and the labels that a user brings.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from blockwise.arrays.volume import Volume
from contraband.cli import call
from contraband.interface import load_settings, open_result
from contraband.volumes.view.page import add_page
from contraband.volumes.view.viewer import RunViewer, close_viewer
from tests.house.test_pages import fenced, text_of
from tests.support.browser import opened_browser, picture
from tests.support.networks import onnx_file
from tests.support.nuclei import THICKNESS, nuclei
from tests.support.paths import ROOT
from tests.support.volumes import whole

PAGE = "configs/OWN-IMAGES.md"
PATIENCE_S = 90


def write_cells() -> np.ndarray:
    """The stack of the page; its true objects."""
    raw, labels = nuclei((8, 64, 72))
    about = {"spacing": 0.25 * THICKNESS, "unit": "um", "axes": "ZYX"}
    tifffile.imwrite("cells.tif", raw, imagej=True, resolution=(4, 4), metadata=about)
    return labels


def write_labels(labels: np.ndarray) -> None:
    """What a user makes by hand: all objects of a box, and strokes of classes; -1 is what nobody has labelled."""
    box = np.full(labels.shape, -1, np.int16)
    box[2:6, 10:54, 10:60] = labels[2:6, 10:54, 10:60]
    tifffile.imwrite("box.tif", box)
    inside = ndimage.binary_erosion(labels > 0, np.ones((1, 3, 3)))
    classes = np.where(inside, 1, np.where(labels > 0, 2, 0)).astype(np.int16)
    strokes = np.full(labels.shape, -1, np.int16)
    for stroke in ((slice(3, 6), slice(30, 33)), (slice(3, 6), slice(None), slice(40, 43))):
        strokes[stroke] = classes[stroke]
    tifffile.imwrite("scribbles.tif", strokes)


def played(text: str, capsys: pytest.CaptureFixture[str]) -> int:
    """Write the files that a text shows and run its commands, each without an error; how many these were."""
    for name, code in re.findall(r"`([^`\n]+)`:\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(code, encoding="utf-8")
    commands = [line for block in fenced(text) for line in block.splitlines()]
    for command in commands:
        assert call(shlex.split(command)[1:]) == 0, f"{command}: {capsys.readouterr().err}"
    return len(commands)


@pytest.mark.slow
def test_the_commands_of_the_page_lead_to_objects(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All blocks of commands in order, each without an error: a first segmentation, thresholds, scores, and again."""
    labels = write_cells()
    tifffile.imwrite("truth.tif", labels, imagej=True, metadata={"axes": "ZYX"})
    everything = text_of(PAGE)
    assert played(re.sub(r"^### .*?(?=^## )", "", everything, flags=re.MULTILINE | re.DOTALL), capsys) >= 9
    said = capsys.readouterr().out
    assert "F1" in said
    assert Path("seen.png").stat().st_size > 5_000
    stored = whole(Volume(path=Path("out/cells.zarr/segments/0.5")))
    np.testing.assert_array_equal(open_result("out/cells.zarr").segments(0.5)[:], stored)


def assert_same_picture(made: Path, name: str) -> None:
    """That the picture of the page is this one, but for letters, which other machines draw otherwise."""
    pictures = [Image.open(path).convert("RGB") for path in (made, ROOT / "configs" / name)]
    assert pictures[0].size == pictures[1].size
    small = [np.asarray(one.resize((64, 40), Image.Resampling.BOX), float) for one in pictures]
    apart = np.abs(small[0] - small[1]).mean()
    assert apart < 4, f"configs/{name} is not what the commands of the page make: copy {made.resolve()} there"


@pytest.mark.slow
def test_the_pictures_of_the_page_are_made_by_its_commands(in_tmp: Path) -> None:
    """What `start` draws, and what a browser shows of `view`, in the files that the page shows."""
    assert {*re.findall(r"!\[.*?\]\((.*?)\)", text_of(PAGE))} == {"own-images-start.png", "own-images-view.png"}
    write_cells()
    assert call(["start", "cells.tif"]) == 0
    assert_same_picture(Path("cells.png"), "own-images-start.png")
    try:
        with opened_browser((900, 560)) as driver:
            driver.get(add_page(RunViewer(load_settings("cells.yaml"), "127.0.0.1", 0)))
            seen = settled(lambda: picture(driver))
            listed = driver.find_element("tag name", "aside").text
    finally:
        close_viewer()
    assert "Objects" in listed
    assert "false merges" not in listed  # nobody has said what is true
    Image.fromarray(seen).save("view.png", optimize=True)
    assert_same_picture(Path("view.png"), "own-images-view.png")


def settled(look: Callable[[], np.ndarray]) -> np.ndarray:
    """What is seen once it has been the same for some seconds, and is not nothing."""
    end = time.monotonic() + PATIENCE_S
    last, since = look(), time.monotonic()
    while time.monotonic() < end:
        time.sleep(0.5)
        now = look()
        if not np.array_equal(now, last):
            last, since = now, time.monotonic()
        elif np.ptp(now) > 200 and time.monotonic() - since > 5:
            return now
    return pytest.fail(f"what is seen still changes after {PATIENCE_S} s")


WAYS = re.findall(r"^### (.*)$", text_of(PAGE), re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_a_network_is_played(in_tmp: Path, capsys: pytest.CaptureFixture[str], way: str) -> None:
    """After `start`, the files and commands of its section alone lead to segments, and what was asked for is used."""
    write_labels(write_cells())
    onnx_file(Path("membranes.onnx"))
    assert call(["import", "cells.tif", "data/cells.zarr/raw"]) == 0
    section = text_of(PAGE).partition(f"### {way}\n")[2].partition("\n##")[0]
    assert played(section, capsys) >= 1
    (settings,) = Path().glob("cells-*.yaml")
    found = open_result(f"out/{settings.stem}.zarr").segments(0.5)[:]
    assert found.shape == (8, 64, 72)
    if way == WAYS[-1]:
        assert len(np.unique(found)) > 3
    else:
        assert "checkpoint: experiments/cells/EXP" in capsys.readouterr().out


def test_no_way_to_a_network_is_lost() -> None:
    """Points, a box, scribbles, and a network of another program."""
    assert WAYS == ["Points from a CSV", "A labelled box", "Scribbles", "A network that there is already"]


def test_the_page_names_the_test_that_runs_it() -> None:
    """Readers are told which test runs the commands, and it is this one."""
    assert f"tests/end_to_end/{Path(__file__).name}" in text_of(PAGE)
