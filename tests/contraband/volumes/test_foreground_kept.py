"""A foreground of 0 and 1 is read as a whole once: which number means certain is kept with the fragments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.arrays import content
from blockwise.arrays.volume import Volume, info, open_array, write
from blockwise.errors import BadInput
from contraband.cli import call
from contraband.volumes.line import stages
from contraband.volumes.output import Output
from contraband.volumes.settings import VolumeSettings, load_volume_settings
from tests.support.volumes import cells, digest, store_volume

SHAPE = (8, 20, 24)
FOREGROUND = Path("v.zarr/foreground")


@pytest.fixture
def settings(in_tmp: Path) -> VolumeSettings:
    """Those of a volume that has been run with a foreground of 0 and 1."""
    store_volume(Path("v.zarr/affinities"), cells(SHAPE)[0])
    patches = np.zeros(SHAPE, np.uint8)
    patches[:, 3:15, 2:20] = 1
    store_volume(FOREGROUND, patches)
    Path("vol.yaml").write_text(
        "affinities: v.zarr/affinities\noutput: out.zarr\ncluster: {kind: none}\n"
        "fragments: {foreground: {volume: v.zarr/foreground}}\n"
    )
    assert call(["run", "vol.yaml"]) == 0
    return load_volume_settings(Path("vol.yaml"), [])


def full_of(settings: VolumeSettings) -> object:
    """What the stages take for certain foreground."""
    return next(stage for stage in stages(settings) if stage.name == "fragments").parameters().get("foreground_full")


def break_chunks() -> None:
    """Whoever reads a voxel of the foreground fails from now on."""
    content._largest.cache_clear()  # a process asks once
    files = [file for file in FOREGROUND.joinpath("c").rglob("*") if file.is_file()]
    assert files
    for file in files:
        file.write_bytes(b"no chunk")


@pytest.mark.parametrize(
    "words",
    [
        ["status", "vol.yaml"],
        ["plan", "vol.yaml", "--no-probe"],
        ["run", "vol.yaml"],
        ["run", "vol.yaml", "--set", "segment.thresholds=[0.4]"],
        ["view", "vol.yaml", "--png", "picture.png"],
        ["objects", "vol.yaml", "objects.csv"],
        ["export", "vol.yaml", "cells.tif"],
    ],
    ids=lambda words: words[0],
)
def test_commands_after_a_run_read_no_voxel_of_it(words: Sequence[str], settings: VolumeSettings) -> None:
    """Each builds the stages, and none opens a chunk."""
    break_chunks()
    assert call([*words]) == 0


def test_a_probe_knows_it_too(settings: VolumeSettings) -> None:
    """It writes elsewhere, and knows what is kept with the output of the run."""
    scratch = settings.model_copy(update={"output": Path("probe.zarr")})
    break_chunks()
    stages(scratch, kept=Output(settings.output))
    with pytest.raises(Exception, match="shard"):
        stages(scratch)


def test_a_foreground_that_was_replaced_is_read_again(
    settings: VolumeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its metadata tell; then fragments are stale, and what it was is not believed."""
    time.sleep(0.01)
    other = np.zeros(SHAPE, np.uint8)
    other[:, 3:15, 2:20] = 200
    FOREGROUND.rename("v.zarr/before")
    store_volume(FOREGROUND, other)
    assert full_of(settings) is None
    capsys.readouterr()
    assert call(["run", "vol.yaml"]) == 2
    assert "fragments.foreground_full was 1, is now unset" in capsys.readouterr().err


def test_of_an_import_its_identity_tells(settings: VolumeSettings) -> None:
    """The same attribute by which a run knows that its inputs are as they were."""
    open_array(Volume(path=FOREGROUND), "r+").attrs["identity"] = "one"
    assert call(["run", "vol.yaml", "--redo", "fragments"]) == 0
    kept = info(Volume(path=Path("out.zarr/fragments"))).attributes["foreground"]
    assert kept["full"] == 1
    write(Volume(path=FOREGROUND), Roi((0, 0, 0), SHAPE), np.full(SHAPE, 200, np.uint8))
    assert full_of(settings) == 1
    open_array(Volume(path=FOREGROUND), "r+").attrs["identity"] = "another"
    assert full_of(settings) is None


def test_larger_numbers_written_in_place_stop_the_run(
    settings: VolumeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing but the voxels tells of them, so the block that reads them does."""
    write(Volume(path=FOREGROUND), Roi((0, 0, 0), SHAPE), np.full(SHAPE, 200, np.uint8))
    capsys.readouterr()
    assert call(["run", "vol.yaml", "--redo", "fragments"]) == 1
    assert "foreground: holds 200, where 1 was its largest number when it was read" in capsys.readouterr().err


def test_what_is_kept_changes_no_fragment(settings: VolumeSettings) -> None:
    """The same bytes whether it was read or remembered."""
    fragments = Volume(path=Path("out.zarr/fragments"))
    read_first = digest(fragments)
    assert call(["run", "vol.yaml", "--redo", "fragments"]) == 0
    assert digest(fragments) == read_first


def test_what_is_kept_and_makes_no_sense_is_refused(settings: VolumeSettings) -> None:
    """It names the array."""
    attributes = open_array(Volume(path=Path("out.zarr/fragments")), "r+").attrs
    attributes["foreground"] = {**attributes["foreground"], "full": "much"}
    with pytest.raises(BadInput, match="fragments"):
        stages(settings)
