"""Two blocks never write into one file: what splits a shard is refused, and many writers at once lose no voxel."""

from __future__ import annotations

import json
import multiprocessing
import re
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
import zarr
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, check_whole_shards, create, info, write
from blockwise.engine.preflight import check_outputs
from blockwise.engine.run import run_stages
from blockwise.errors import BadInput
from blockwise.executor import InProcess
from blockwise.grid import Grid, Voxels
from blockwise.store import Store
from tests.support.toys import Smear, source_volume
from tests.support.volumes import cells, line, store_volume, whole

WRITERS = 4
SHAPE, BLOCK = (9, 32, 31), (8, 8, 8)
PATIENCE_S = 100


def write_turns(path: str, turns: list[tuple[list[int], list[int], int]], together: Barrier) -> None:
    """Write one block a turn; every file is replaced only when all writers are about to replace theirs."""
    replace = zarr.storage.LocalStore.set

    async def replace_together(self: zarr.storage.LocalStore, key: str, value: object) -> None:
        together.wait(PATIENCE_S)
        await replace(self, key, value)  # type: ignore[arg-type]

    zarr.storage.LocalStore.set = replace_together  # type: ignore[method-assign, assignment]
    for begin, shape, value in turns:
        write(Volume(path=Path(path)), Roi(begin, shape), np.full(shape, value, np.uint32))
        together.wait(PATIENCE_S)


def written_by_many(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Number each block's voxels, four neighbours in y and x always at once: (what is stored, what should be)."""
    grid = Grid("", SHAPE, BLOCK)
    wanted = np.zeros(SHAPE, np.uint32)
    turns: list[list[tuple[list[int], list[int], int]]] = [[] for _ in range(WRITERS)]
    for value, block in enumerate(grid.blocks(), start=1):
        wanted[block.write_roi.to_slices()] = value
        _, y, x = (begin // step for begin, step in zip(block.write_roi.begin, BLOCK, strict=True))
        turns[2 * (y % 2) + x % 2].append(([*block.write_roi.begin], [*block.write_roi.shape], value))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.blockwise.arrays.test_shards"])
    together = context.Barrier(WRITERS)
    writers = [context.Process(target=write_turns, args=(str(volume.path), own, together)) for own in turns]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(PATIENCE_S)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    return whole(volume), wanted


def test_many_writers_lose_no_voxel(tmp_path: Path) -> None:
    """Four processes that write neighbouring blocks at the same time: every voxel is there, odd ends included."""
    volume = Volume(path=tmp_path / "a.zarr" / "x")
    create(volume, SHAPE, "uint32", BLOCK)
    check_whole_shards(volume, BLOCK)
    stored, wanted = written_by_many(volume)
    assert (stored == wanted).all()


def test_without_the_guard_they_do(tmp_path: Path) -> None:
    """Four blocks a shard are refused; written all the same, of each four only the last to be written is left."""
    volume = Volume(path=tmp_path / "a.zarr" / "x")
    create(volume, SHAPE, "uint32", (8, 16, 16))
    with pytest.raises(BadInput, match="not a whole number of shards"):
        check_whole_shards(volume, BLOCK)
    stored, wanted = written_by_many(volume)
    assert ((stored == wanted) | (stored == 0)).all()
    lost = stored == 0
    for z in range(0, 9, 8):
        for y in range(0, 32, 16):
            for x in range(0, 31, 16):
                shard = (slice(z, z + 8), slice(y, y + 16), slice(x, x + 16))
                assert len(np.unique(wanted[shard][~lost[shard]])) == 1
                assert len(np.unique(wanted[shard][lost[shard]])) == 3


def test_the_guard_refuses_just_what_two_blocks_would_share(tmp_path: Path) -> None:
    """Against counting: a block shape passes if and only if no file is written by two blocks, at odd ends too."""
    random = np.random.default_rng(0)
    passed = 0
    for number in range(120):
        shape, unit, block = (tuple(int(n) for n in random.integers(1, 9, 3)) for _ in range(3))
        if number % 2:
            block = tuple(one * int(times) for one, times in zip(unit, random.integers(1, 4, 3), strict=True))
        volume = Volume(path=tmp_path / str(number))
        zarr.create_array(volume.path, shape=shape, chunks=unit, dtype="u1")
        files, blocks = (
            np.ravel_multi_index(np.indices(shape) // np.reshape(step, (3, 1, 1, 1)), (9, 9, 9))
            for step in (unit, block)
        )
        pairs = np.unique(np.stack([files.ravel(), blocks.ravel()]), axis=1)
        is_alone = pairs.shape[1] == len(np.unique(files))
        passed += is_alone
        if is_alone:
            check_whole_shards(volume, block)
            continue
        with pytest.raises(BadInput, match=r"use \[") as refused:
            check_whole_shards(volume, block)
        check_whole_shards(volume, suggested(refused.value))
    assert 20 < passed < 100


def suggested(error: BadInput) -> Voxels:
    """The block shape that the message proposes."""
    found = re.search(r"use (\[[^]]*\])", str(error))
    assert found
    z, y, x = json.loads(found[1])
    return z, y, x


def test_every_output_of_the_line_is_guarded(tmp_path: Path, store: Store) -> None:
    """Whichever output is there with other shards, the run is refused before anything is written."""
    affinities = store_volume(tmp_path / "vol.zarr" / "affinities", cells((12, 20, 24))[0])
    stages = line(tmp_path / "out.zarr", affinities, (6, 10, 12))
    writing = [stage for stage in stages if stage.outputs()]
    assert [stage.name for stage in writing] == ["fragments", "segment/0.5"]
    for stage in writing:
        (target,) = stage.outputs()
        create(target, (12, 20, 24), "uint64", (6, 20, 24))
        before = sorted(tmp_path.rglob("*"))
        with InProcess(store) as executor, pytest.raises(BadInput, match=r"multiples of \[6, 20, 24\]"):
            run_stages(stages, store, executor)
        assert sorted(tmp_path.rglob("*")) == before
        (target.path / "zarr.json").unlink()
        target.path.rmdir()


class Clumsy(Smear):
    """Makes its output with shards of several blocks."""

    def prepare(self, store: Store) -> None:
        found = info(self.source)
        create(self.target, found.shape, "uint32", (8, 8, 8), like=found)


def test_a_stage_that_makes_the_wrong_shards_processes_no_block(tmp_path: Path, store: Store) -> None:
    """The outputs are looked at again when they have just been made."""
    source, target = source_volume(tmp_path / "in.zarr" / "x"), Volume(path=tmp_path / "out.zarr" / "x")
    with InProcess(store) as executor, pytest.raises(BadInput, match=r"use \[8, 8, 8\]"):
        run_stages([Clumsy(source=source, target=target, block=(4, 8, 8))], store, executor)
    assert not store.done_mask("smear", Grid("smear", (8, 9, 10), (4, 8, 8))).any()
    assert not (target.path / "c").exists()


def test_a_stage_that_forgets_to_check_is_guarded_too(tmp_path: Path, store: Store) -> None:
    """The engine looks at all outputs itself; with shards that fit, the stage runs."""
    source, target = source_volume(tmp_path / "in.zarr" / "x"), Volume(path=tmp_path / "out.zarr" / "x")
    create(target, (8, 9, 10), "uint32", (8, 8, 8))
    stage = Smear(source=source, target=target, block=(4, 8, 8))
    with InProcess(store) as executor:
        with pytest.raises(BadInput, match=r"use \[8, 8, 8\]"):
            run_stages([stage], store, executor)
        fitting = stage.model_copy(update={"block": (8, 16, 8)})
        check_outputs(fitting)
        run_stages([fitting], store, executor)
    assert info(target).shards == (8, 8, 8)
    assert whole(target).any()
