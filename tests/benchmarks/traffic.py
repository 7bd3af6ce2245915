"""What each stage reads of an object store, in times of what its arrays have there: chunks at faces are read whole.

On two workers, over a volume of eight cubes of 4 x 4 x 4 blocks, far more than workers keep of what they read.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.run import run_stages
from blockwise.executor import OnDask
from blockwise.files.address import place_of
from blockwise.grid import Voxels
from blockwise.store import open_store
from tests.benchmarks.report import Row
from tests.benchmarks.runs import write_affinities
from tests.support.buckets import BUCKET, environment, s3_server
from tests.support.volumes import line

NAME = "traffic"
BLOCK, SHAPE, QUICK_SHAPE = (64, 128, 128), (512, 1024, 1024), (128, 256, 512)
CHUNK = (32, 32, 32)
STAGES = ("fragments", "edges", "segment")
WORKERS = 2


def measure(folder: Path, quick: bool) -> list[Row]:
    """A row a stage, inputs in chunks of their own and in shards as large as blocks."""
    shape = QUICK_SHAPE if quick else SHAPE
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="traffic-", dir=folder))
    try:
        with s3_server(place / "bucket") as endpoint, pytest.MonkeyPatch.context() as patch:
            for name, value in environment(endpoint).items():
                patch.setenv(name, value)
            return [row for shard in (CHUNK, BLOCK) for row in stage_rows(place, shape, shard)]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def stage_rows(folder: Path, shape: Voxels, shard: Voxels) -> list[Row]:
    """A row a stage; shard: of the affinities, which have chunks of 32 voxels."""
    name = "x".join(map(str, shard))
    source, output = (place_of(f"s3://{BUCKET}/{name}-{which}.zarr") for which in ("in", "out"))
    stages = line(output, write_affinities(source / "affinities", shape, BLOCK, shard), BLOCK)[:4]
    with (
        closing(open_store(f"sqlite:///{folder.absolute()}/{name}.db")) as store,
        open_cluster(Cluster(workers=WORKERS, threads=1, dashboard=False)) as client,
        OnDask(client, store.url) as executor,
    ):
        results = {result.name.partition("/")[0]: result for result in run_stages(stages, store, executor)}
    inputs = "shards as large as blocks" if shard == BLOCK else "chunks of 32"
    return [
        Row(
            f"{one}: blocks of {' x '.join(map(str, BLOCK))}, affinities in {inputs}",
            results[one].read_ratio or 0.0,
            "times",
            "<= 1.5",
            note=f"{results[one].traffic.read_bytes / 1e6:.1f} MB in {results[one].traffic.read_requests:,} requests",
        )
        for one in STAGES
    ]
