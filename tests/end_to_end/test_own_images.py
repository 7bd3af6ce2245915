"""The page "Your own images": its commands are run, one after the other, by a user with a stack and no labels."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile

from blockwise.arrays.volume import Volume
from contraband.cli import call
from contraband.interface import open_result
from tests.house.test_pages import fenced, text_of
from tests.support.nuclei import THICKNESS, nuclei
from tests.support.volumes import whole

PAGE = "configs/OWN-IMAGES.md"


@pytest.mark.slow
def test_the_commands_of_the_page_lead_to_objects(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All blocks of commands in order, each without an error: a first segmentation, thresholds, scores, and again."""
    raw, labels = nuclei((8, 64, 72))
    about = {"spacing": 0.25 * THICKNESS, "unit": "um", "axes": "ZYX"}
    tifffile.imwrite("cells.tif", raw, imagej=True, resolution=(4, 4), metadata=about)
    tifffile.imwrite("truth.tif", labels, imagej=True, metadata={"axes": "ZYX"})
    commands = [line for block in fenced(text_of(PAGE)) for line in block.splitlines()]
    assert len(commands) >= 9
    for command in commands:
        assert call(shlex.split(command)[1:]) == 0, f"{command}: {capsys.readouterr().err}"
    said = capsys.readouterr().out
    assert "F1" in said
    assert Path("seen.png").stat().st_size > 5_000
    stored = whole(Volume(path=Path("out/cells.zarr/segments/0.5")))
    np.testing.assert_array_equal(open_result("out/cells.zarr").segments(0.5)[:], stored)


def test_the_page_names_the_test_that_runs_it() -> None:
    """Readers are told which test runs the commands, and it is this one."""
    assert f"tests/end_to_end/{Path(__file__).name}" in text_of(PAGE)
