"""What each stage reads of an object store, in times of what its arrays have there: chunks at faces are read whole."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from blockwise.engine.run import run_stages
from blockwise.executor.inprocess import InProcess
from blockwise.files.address import place_of
from blockwise.grid import Voxels
from blockwise.store import open_store
from tests.benchmarks.report import Row
from tests.support.buckets import BUCKET, environment, s3_server
from tests.support.volumes import cells, line, store_volume

NAME = "traffic"
STAGES = ("fragments", "edges", "segment", "evaluate")


def measure(folder: Path, quick: bool) -> list[Row]:
    """Affinities in chunks as wide as half a block, and in chunks of 16 voxels."""
    shape, block = ((64, 128, 128), (32, 64, 64)) if quick else ((128, 256, 256), (64, 128, 128))
    half = (block[0] // 2, block[1] // 2, block[2] // 2)
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="traffic-", dir=folder))
    try:
        with s3_server(place / "bucket") as endpoint, pytest.MonkeyPatch.context() as patch:
            for name, value in environment(endpoint).items():
                patch.setenv(name, value)
            return [row for chunk in (half, (16, 16, 16)) for row in stage_rows(place, shape, block, chunk)]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def stage_rows(folder: Path, shape: Voxels, block: Voxels, chunk: Voxels) -> list[Row]:
    """A row a stage; chunk: of the affinities and labels."""
    name = "x".join(map(str, chunk))
    source, output = (place_of(f"s3://{BUCKET}/{name}-{which}.zarr") for which in ("in", "out"))
    affinities, labels = cells(shape)
    stored = [store_volume(source / key, data, chunk) for key, data in (("a", affinities), ("l", labels))]
    stages = line(output, stored[0], block, stored[1])
    stages[-1] = stages[-1].model_copy(update={"target": folder / f"{name}.json"})
    with closing(open_store(f"sqlite:///{folder.absolute()}/{name}.db")) as store, InProcess(store) as executor:
        results = {result.name.partition("/")[0]: result for result in run_stages(stages, store, executor)}
    sizes = " x ".join(map(str, block))
    return [
        Row(
            f"{one}: blocks of {sizes}, inputs in chunks of {name}",
            results[one].read_ratio or 0.0,
            "times",
            "<= 1.5",
            note=f"{results[one].traffic.read_bytes / 1e6:.1f} MB in {results[one].traffic.read_requests:,} requests",
        )
        for one in STAGES
    ]
