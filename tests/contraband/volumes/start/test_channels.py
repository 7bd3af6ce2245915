"""`contraband start` of images with channels, to what other programs get of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from contraband.cli import call
from contraband.interface import load_settings, open_result
from tests.support.discs import discs
from tests.support.nuclei import THICKNESS, nuclei

SHAPE = (12, 96, 104)


def stained(kind: str) -> np.ndarray:
    """Nuclei in the first channel, in the second what is around them: (z, c, y, x), or (c, y, x) of one section."""
    raw, labels = nuclei(SHAPE)
    around = np.where(labels > 0, raw // 4, 300 + raw // 8)
    both = np.stack([raw, around], axis=1).astype(np.uint16)
    return both if kind == "deep" else both[SHAPE[0] // 2]


@pytest.mark.parametrize("kind", ["deep", "flat"])
def test_two_channels_go_all_the_way(in_tmp: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """A TIFF of ImageJ with two channels, in 3D and 2D: segmented, exported with both, and measured in both."""
    image = stained(kind)
    about = {"spacing": 0.25 * THICKNESS, "unit": "um", "axes": "ZCYX"[-image.ndim :]}
    tifffile.imwrite("a.tif", image, imagej=True, resolution=(4, 4), metadata=about)
    assert call(["start", "a.tif"]) == 0
    assert " of 2" in capsys.readouterr().out.partition("  channels ")[2].partition("or 0,1 chooses others")[0]
    found = open_result("out/a.zarr").segments(0.5)[:]
    assert len(np.unique(found)) > 10
    assert call(["export", "a.yaml", "b.ome.zarr"]) == 0
    raw = zarr.open_group("b.ome.zarr")["0"][:]
    np.testing.assert_array_equal(raw, np.moveaxis(image, 1, 0) if kind == "deep" else image[:, None])
    assert call(["export", "a.yaml", "b.tif"]) == 0
    assert len(np.unique(tifffile.imread("b.tif"))) == len(np.unique(found))
    assert call(["objects", "a.yaml", "a.csv"]) == 0
    with Path("a.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        inside = found == int(row["object"])
        for channel in (0, 1):
            assert float(row[f"mean_{channel}"]) == pytest.approx(raw[channel][inside].mean())


def test_the_channel_with_objects_is_found(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the mean of the colours shows nothing, the one in which pieces are round is segmented, unless told else."""
    nucleus = np.concatenate(discs(3)[0], axis=1)
    noise = np.random.default_rng(0).integers(0, 120, nucleus.shape, np.uint8)
    Image.fromarray(np.stack([255 - nucleus, noise, nucleus], -1)).save("a.png")
    assert call(["start", "a.png", "--dry-run"]) == 0
    said = capsys.readouterr().out
    chosen = said.partition("  channels    ")[2].partition(" ")[0]
    assert chosen in ("0", "2")
    assert f"{chosen} of 3 (--channel {chosen} or 0,1 chooses others)" in said
    assert "and round" in said
    assert call(["start", "a.png", "--channel", "1,2", "--dry-run"]) == 0
    assert "1, 2 of 3, averaged" in capsys.readouterr().out


def test_a_picture_never_takes_the_place_of_the_image(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a PNG in the working folder the picture has another name, and the file is as it was."""
    Image.fromarray((stained("flat")[0] / 8).clip(0, 255).astype(np.uint8)).save("a.png")
    before = Path("a.png").read_bytes()
    assert call(["start", "a.png", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["picture"] == "a-segments.png"
    assert Path("a-segments.png").exists()
    assert Path("a.png").read_bytes() == before
    assert load_settings("a.yaml").volume.channels is None
