"""The walk of the training page, from an own image to a score, by the very commands that stand there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import tifffile
import yaml

from blockwise.arrays.volume import Volume
from contraband.cli import call
from contraband.label.labelling import points_beside, write_run
from contraband.label.pairs import PairsRecord, pairs_beside
from contraband.label.record import PointsRecord
from contraband.label.session import LabelSession
from contraband.volumes.settings import VolumeSettings
from tests.house.test_pages import SERVED, fenced, text_of
from tests.support.labelled import drawn, labelled_image

SHAPE = (2, 120, 140)
HEADING = "## From an own volume to segments in half an hour"
LABEL = "contraband label vol.yaml --train"


def test_the_walk_of_the_training_page_runs(tmp_path: Path, monkeypatch):
    """Each command of the walk works, or is served and driven by a test of its own; the segments have a score."""
    monkeypatch.chdir(tmp_path)
    raw, classes, labels = labelled_image(SHAPE, spacing=9)
    tifffile.imwrite("scan.tif", raw)
    tifffile.imwrite("truth.tif", labels.astype(np.uint16))
    walk = text_of("experiments/README.md").partition(HEADING)[2].partition("\n## ")[0]
    (block,) = fenced(walk, "yaml")
    Path("vol.yaml").write_text(block)
    commands = [line.partition("   #")[0].strip() for line in fenced(walk)[0].splitlines()]
    assert LABEL in [re.sub(r" +#.*", "", command) for command in commands]
    for command in (re.sub(r" +#.*", "", command) for command in commands):
        if command == LABEL:
            label(classes)
        elif command.replace("-labelled", "") not in SERVED:
            assert (
                call([*shlex.split(command)[1:], *(["--set", "cluster.kind=none"] if " run " in command else [])]) == 0
            )
    scores = json.loads(Path("out/vol.zarr/evaluation.json").read_text())
    assert scores


def label(classes: np.ndarray) -> None:
    """What twenty clicks and two pairs of keys on the page do; tests/end_to_end/test_labelling.py presses them."""
    data = yaml.safe_load(Path("vol.yaml").read_text())
    with PointsRecord(points_beside(Path("data/vol.zarr/raw")), SHAPE) as record:
        pairs = PairsRecord(pairs_beside(record.path), SHAPE)
        volume = VolumeSettings.parse(data, "test")
        session = LabelSession(Volume(path=Path("data/vol.zarr/raw")), volume, None, record, pairs)
        for voxel, one in zip(*drawn(classes, 10), strict=True):
            session.click(voxel, int(one))
        assert write_run(Path("vol.yaml"), data, session, record) == Path("vol-labelled.yaml")
