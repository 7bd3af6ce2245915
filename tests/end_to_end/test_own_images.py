"""The page "Your own images": its commands are run, one after the other, by a user with a stack and no labels.

So are those of each kind of image and of each way to a network, with the files that the page shows and what a user has.
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
import zarr
from PIL import Image
from scipy import ndimage

from blockwise.arrays.volume import Volume
from contraband.cli import call
from contraband.interface import load_settings, open_result
from contraband.volumes.view.page import add_page
from contraband.volumes.view.viewer import RunViewer, close_viewer
from tests.house.test_pages import fenced, text_of
from tests.support.browser import opened_browser, picture
from tests.support.discs import discs
from tests.support.foreign import scale, space_axes, write_ome_zarr
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


def assert_same_picture(made: Path, name: str, most: float = 4) -> None:
    """That the picture of the page is this one, but for letters, which other machines draw otherwise.

    most: by how much colours may differ in the mean, of 255.
    """
    pictures = [Image.open(path).convert("RGB") for path in (made, ROOT / "configs" / name)]
    assert pictures[0].size == pictures[1].size
    small = [np.asarray(one.resize((64, 40), Image.Resampling.BOX), float) for one in pictures]
    apart = np.abs(small[0] - small[1]).mean()
    assert apart < most, f"configs/{name} is not what the commands of the page make: copy {made.resolve()} there"


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
    # Versions of browsers look at 3D from elsewhere, which made 6.6; without segments it is 10.7, mirrored 26.9.
    assert_same_picture(Path("view.png"), "own-images-view.png", most=9)


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


def ways_of(heading: str) -> list[str]:
    """The sections below a heading of the page."""
    section = text_of(PAGE).partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^### (.*)$", section, re.MULTILINE)


WAYS = ways_of("A network of your own")
KINDS = ways_of("Channels, folders and pyramids")


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


def write_stained() -> np.ndarray:
    """Nuclei in the second of two stains; the first shows nothing."""
    raw, labels = nuclei((8, 64, 72))
    first = np.random.default_rng(1).integers(0, 200, raw.shape).astype(raw.dtype)
    about = {"spacing": THICKNESS * 0.25, "unit": "um", "axes": "ZCYX"}
    tifffile.imwrite("stained.tif", np.stack([first, raw], axis=1), imagej=True, resolution=(4, 4), metadata=about)
    return labels


def write_photos() -> np.ndarray:
    """Two images of discs as PNG, one of them smaller; their true objects, 0 beside the smaller one."""
    raw, labels = discs(2)
    labels[1, 48:] = 0
    labels[1][labels[1] > 0] += 10
    Path("photos").mkdir()
    Image.fromarray(raw[0]).save("photos/photo1.png")
    Image.fromarray(raw[1, :48]).save("photos/photo2.png")
    return labels


def write_pyramid() -> np.ndarray:
    """Nuclei as an OME-Zarr of two levels."""
    raw, labels = nuclei((8, 64, 72))
    sizes = [[scale(THICKNESS * 0.25 * step, 0.25 * step, 0.25 * step)] for step in (1, 2)]
    units = space_axes("micrometer", "micrometer", "micrometer")
    write_ome_zarr(Path("scan.ome.zarr"), sizes, units, "0.4", None, raw)
    return labels


FILES = {"Several channels": write_stained, "A folder of images": write_photos, "An OME-Zarr pyramid": write_pyramid}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_image_is_played(in_tmp: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """The commands of its section alone find nine of ten objects, and what they write holds the segments."""
    labels = FILES[kind]()
    section = text_of(PAGE).partition(f"### {kind}\n")[2].partition("\n##")[0]
    assert played(section, capsys) >= 1
    (settings,) = Path().glob("*.yaml")
    segments = whole(Volume(path=Path(f"out/{settings.stem}.zarr/segments/0.5")))
    assert share_found(segments[tuple(slice(n) for n in labels.shape)], labels) >= 0.9  # folders are padded
    if kind == "A folder of images":
        sizes = [tifffile.imread(f"photos-segments/photo{number}.tif").shape for number in (1, 2)]
        assert sizes == [(64, 64), (48, 64)]
    if kind == "An OME-Zarr pyramid":
        assert len(np.unique(tifffile.imread("scan-segments.tif"))) == len(np.unique(segments))
        np.testing.assert_array_equal(labels_of("scan-segments.ome.zarr"), segments)
        assert len(Path("scan-objects.csv").read_text(encoding="utf-8").splitlines()) == len(np.unique(segments))


def share_found(segments: np.ndarray, labels: np.ndarray) -> float:
    """The share of true objects of which a segment has more than half of both together."""
    numbers = np.unique(labels[labels > 0])
    best = []
    for number in numbers:
        truth = labels == number
        segment = np.bincount(segments[truth]).argmax()
        found = segments == segment
        best.append(segment > 0 and (truth & found).sum() * 2 > (truth | found).sum())
    return float(np.mean(best))


def labels_of(image: str) -> np.ndarray:
    """The largest level of the only labels beside an exported image."""
    group = zarr.open_group(image, mode="r")["labels"]
    (name,) = group.attrs["ome"]["labels"]
    levels = group[name].attrs["ome"]["multiscales"][0]["datasets"]
    return np.asarray(group[f"{name}/{levels[0]['path']}"])


def test_no_way_is_lost() -> None:
    """Points, a box, scribbles, and a network of another program; and each kind of image has its files here."""
    assert WAYS == ["Points from a CSV", "A labelled box", "Scribbles", "A network that there is already"]
    assert set(KINDS) == set(FILES)


def test_the_page_names_the_test_that_runs_it() -> None:
    """Readers are told which test runs the commands, and it is this one."""
    assert f"tests/end_to_end/{Path(__file__).name}" in text_of(PAGE)
