"""What is read and written at addresses is counted, is no more than is needed, and is told in results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, create, read, write
from blockwise.engine.options import StageResult
from blockwise.engine.run import run_stages
from blockwise.executor.inprocess import InProcess
from blockwise.files import objects
from blockwise.files.address import place_of
from blockwise.files.traffic import Meter, Traffic, meter
from blockwise.grid import pack
from blockwise.stage import Stage
from blockwise.store import Store, open_store
from tests.support.buckets import BUCKET, Proxy, environment, proxy, s3_server
from tests.support.volumes import cells, line, store_volume

SHAPE, BLOCK = (24, 40, 48), (12, 20, 24)
Ran = tuple[list[Stage], Store, list[StageResult]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that sees all that is asked of a bucket; the environment leads there."""
    with (
        s3_server(tmp_path_factory.mktemp("s3") / "data") as endpoint,
        proxy(endpoint) as before,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment(before.address).items():
            patch.setenv(name, value)
        yield before


@pytest.fixture(scope="module")
def ran(
    server: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[Stage], Store, list[StageResult]]]:
    """Stages from affinities to scores whose arrays lie in the bucket, their store, and what their run came to."""
    affinities, labels = cells(SHAPE)
    place = place_of(f"s3://{BUCKET}/vol.zarr")
    stages = line(
        place_of(f"s3://{BUCKET}/out.zarr"),
        store_volume(place / "affinities", affinities, BLOCK),
        BLOCK,
        store_volume(place / "labels", labels, BLOCK),
    )
    folder = tmp_path_factory.mktemp("beside")
    stages[-1] = stages[-1].model_copy(update={"target": folder / "evaluation.json"})
    with closing(open_store(f"sqlite:///{folder}/out.db")) as store, InProcess(store) as executor:
        yield stages, store, run_stages(stages, store, executor)


def test_a_meter_is_read_once() -> None:
    """What was taken is gone, chunks are counted by their array, and nothing is None."""
    one = Meter()
    one.read(5, "s3://b/vol.zarr/raw/c/0/1/2")
    one.read(7, "s3://b/old.zarr/raw/0.1.2")
    one.read(3, "s3://b/vol.zarr/raw/zarr.json")
    one.wrote(11)
    assert one.take() == Traffic(3, 15, 1, 11, {"s3://b/vol.zarr/raw": 5, "s3://b/old.zarr/raw": 7})
    assert one.take() is None


def test_bytes_are_those_on_the_wire(server: Proxy) -> None:
    """The proxy has handed out as many as were counted."""
    volume = store_volume(place_of(f"s3://{BUCKET}/wire.zarr/raw"), cells(SHAPE)[1])
    meter().take()
    before = server.sent_bytes
    read(volume, Roi((1, 2, 3), (20, 30, 40)))
    taken = meter().take()
    assert taken is not None
    assert taken.read_bytes == server.sent_bytes - before > 0
    assert set(taken.arrays) == {str(volume.path)}


def test_only_the_nearest_chunks_of_a_shard_are_read(server: Proxy) -> None:
    """A block and one voxel around it: of the shards beside it, only the chunks at its faces."""
    volume = Volume(path=place_of(f"s3://{BUCKET}/halo.zarr/raw"))
    create(volume, (128, 128, 256), "uint8", (128, 128, 128))
    data = np.random.default_rng(0).integers(0, 256, (128, 128, 256), np.uint8)  # chunks of one size
    write(volume, Roi((0, 0, 0), data.shape), data)
    meter().take()
    assert np.array_equal(read(volume, Roi((0, 0, 0), (128, 128, 129))), data[..., :129])
    taken = meter().take()
    assert taken is not None
    assert taken.read_bytes < 1.27 * 128**3


def test_a_block_reads_no_chunk_twice(server: Proxy, ran: Ran) -> None:
    """Of each stage, a block in the middle asks for each range of each object once."""
    stages, store, _ = ran
    for stage in stages:
        if stage.grid().count > 1:
            server.ranges.clear()
            stage.process(stage.grid().block_at(pack((1, 1, 1))), store)
            chunks = {key: count for key, count in server.ranges.items() if "/c/" in key[0]}
            assert chunks, stage.name
            assert set(chunks.values()) == {1}, (stage.name, chunks)


def test_results_tell_what_was_read_and_written(ran: Ran) -> None:
    """Bytes, requests, and how many times what its arrays have; labels and fragments are read once."""
    _, _, results = ran
    found = {result.name.partition("/")[0]: result for result in results}
    outputs = ("out.zarr/fragments", "out.zarr/segments")  # segment writes fragments again, with final numbers
    written = sum(objects.size_below(f"s3://{BUCKET}/{name}", 99) or 0 for name in outputs)
    assert found["segment"].traffic.written_bytes == pytest.approx(written, rel=0.1)
    for name in ("fragments", "edges", "segment", "evaluate"):  # what neighbours need as well is kept for them
        assert found[name].read_ratio == pytest.approx(1, abs=0.1)
    assert found["agglomerate"].read_ratio is None


def test_a_run_on_the_disk_counts_nothing(tmp_path: Path) -> None:
    """There is no ratio, and no request."""
    affinities, labels = cells(BLOCK)
    source = store_volume(tmp_path / "affinities", affinities)
    stages = line(tmp_path / "out.zarr", source, BLOCK, store_volume(tmp_path / "labels", labels))
    with closing(open_store(f"sqlite:///{tmp_path}/out.db")) as store, InProcess(store) as executor:
        results = run_stages(stages, store, executor)
    assert not [result for result in results if result.traffic != Traffic()]
    assert {result.read_ratio for result in results} == {None}
