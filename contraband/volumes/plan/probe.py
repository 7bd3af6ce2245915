"""Some blocks of a volume, processed from the first stage to the last into a folder that is gone afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod

import numpy as np
import psutil

from blockwise.cluster.settings import Cluster
from blockwise.engine.loop import Loop, Tally, voxels_of
from blockwise.engine.options import Policy, RunOptions
from blockwise.engine.preflight import Job
from blockwise.errors import WorkFailed
from blockwise.executor import Executor
from blockwise.executor.base import Outcome
from blockwise.executor.work import last_line
from blockwise.files.address import on_disk
from blockwise.files.whole import staging
from blockwise.grid import Grid, as_voxels, pack, unpack
from blockwise.stage import Stage
from blockwise.stages.agglomerate.region_graph import GROWTH
from blockwise.stages.agglomerate.stage import Agglomerate
from blockwise.stages.tables import EDGES, HISTOGRAMS, JOINS
from blockwise.store.base import StageInfo, Store, mask_of
from contraband.volumes.belonging import opened_store
from contraband.volumes.line import absolute, stages
from contraband.volumes.output import Output
from contraband.volumes.plan.forecast import Forecast, Measured, Startup, chosen_blocks, extrapolate
from contraband.volumes.run import opened_executor
from contraband.volumes.settings import VolumeSettings, with_cluster

ENOUGH_S = 20.0
"""If the first blocks took this long, they are not repeated, but others are processed only."""


def probe(settings: VolumeSettings) -> Forecast:
    """Process some blocks with the workers of the settings, and tell what all will cost.

    The workers are started as in a run if they are on this machine; else the blocks are processed in this process,
    as nobody wants jobs submitted for a plan. Writes into a hidden folder beside the output, gone when this ends.
    Raises WorkFailed if a block fails.
    """
    before = _clock()
    settings = with_cluster(settings)
    with staging(on_disk(settings.output), ".probing-") as folder:
        places = {"output": folder / "probe.zarr", "store": f"sqlite:///{folder}/probe.db"}
        scratch = settings.model_copy(update={**places, "cluster": here(settings.cluster)})
        line = [absolute(stage) for stage in stages(scratch, kept=Output(settings.output))]
        with opened_store(scratch) as store, opened_executor(scratch, store, RunOptions()) as executor:
            ready = time.time()
            trial = Trial(line, store, executor, scratch.cluster)
            trial.run()
            ran = time.time()
        probed = sum(voxels_of(trial.grid, key) for key in trial.everything)
        stored = sum(path.stat().st_size for path in folder.glob("probe.db*"))
    after = _clock()
    cpu = max(0.0, after.cpu - trial.cpu_seconds)
    wall = max(0.0, ready - before.born + trial.warming_seconds + time.time() - ran)
    slots = settings.cluster.most_workers * settings.cluster.threads if not settings.cluster.in_process else 1
    forecasts = [extrapolate(stage.grid(), trial.measured[stage.name], trial.slots(stage, slots)) for stage in line]
    voxels = prod(trial.grid.volume)
    files = sum(stage.grid().count * len(stage.outputs()) for stage in line)
    return Forecast(
        len(trial.everything), slots, Startup(cpu, wall), tuple(forecasts), voxels, stored * voxels // probed, files
    )


@dataclass(frozen=True)
class _Clock:
    """When this process began, and the CPU seconds of it and its ended children."""

    born: float
    cpu: float


def _clock() -> _Clock:
    times = os.times()
    return _Clock(psutil.Process().create_time(), sum(times[:4]))


def here(cluster: Cluster) -> Cluster:
    """The same workers if they are processes of this machine, else this process."""
    if cluster.kind == "local" and cluster.address is None:
        return cluster.model_copy(update={"dashboard": False})
    return Cluster(kind="none")


class Trial:
    """The line on some blocks: once to warm up, once to measure, and once on more blocks."""

    def __init__(self, line: Sequence[Stage], store: Store, executor: Executor, cluster: Cluster) -> None:
        self.line = line
        self.store = store
        self.executor = executor
        self.gpus = cluster.gpus
        self.count = 1 if cluster.in_process else cluster.most_workers * cluster.threads
        self.grid = max((stage.grid() for stage in line), key=lambda grid: grid.count)
        more = max(2, self.count)
        keys = chosen_blocks(self.grid, self.count + more, list(_hashed(4 * (self.count + more))))
        self.first = keys[: self.count]
        self.second = keys[self.count :]
        self.everything = keys
        self.measured = {stage.name: Measured() for stage in line}
        self.cpu_seconds = 0.0
        """Of the blocks themselves, in all passes; what a pass takes longer because it is the first is left out."""
        self.warming_seconds = 0.0
        """Wall time that the first pass took longer than the second."""

    def run(self) -> None:
        """Fill `measured`."""
        cold_s, _ = self.walk(self.first)
        for name in self.measured:
            self.measured[name] = Measured()
        # The first pass may have compiled or loaded code for a minute, so it says nothing of the blocks.
        if cold_s < ENOUGH_S or not self.second:
            passes = [self.first, self.second]
        else:
            passes = [self.second[: len(self.first)]]
            self.everything = self.first + passes[0]
        walked = [self.walk(keys) for keys in passes if keys]
        self.warming_seconds = max(0.0, cold_s - walked[0][0])
        self.cpu_seconds = walked[0][1] + sum(cpu for _, cpu in walked)
        for stage in self.line:
            self.weigh(stage)

    def walk(self, keys: Sequence[int]) -> tuple[float, float]:
        """All stages on these blocks, those that see the whole volume on all so far; wall and CPU seconds."""
        begin = time.perf_counter()
        done = len(self.first) if keys == self.first else len(self.everything)
        seen = sum(voxels_of(self.grid, key) for key in self.everything[:done])
        cpu = sum(self.do(stage, keys, seen) for stage in self.line)
        return time.perf_counter() - begin, cpu

    def do(self, stage: Stage, keys: Sequence[int], seen: int) -> float:
        """One stage on these blocks, as a run does it; `seen`: voxels of all blocks so far. Returns CPU seconds."""
        measured, grid = self.measured[stage.name], stage.grid()
        cpu, wall = time.process_time(), time.perf_counter()
        stage.prepare(self.store)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        outcomes = self.process(stage, around(self.grid, keys, grid))
        # These few blocks are one box, so that what is done for boxes sees the whole of them, too.
        closing = [one for substage in stage.closing(self.store) for one in self.process(substage, _all_of(substage))]
        again = time.process_time(), time.perf_counter()
        stage.finish(self.store)
        cpu += time.process_time() - again[0] + sum(outcome.cpu_seconds for outcome in closing)
        wall += time.perf_counter() - again[1] + sum(outcome.wall_seconds for outcome in closing)
        if grid.count > 1:
            measured.blocks += [(outcome, voxels_of(grid, outcome.key)) for outcome in outcomes]
        else:
            measured.alone.append((seen, outcomes[0].cpu_seconds, outcomes[0].wall_seconds))
        measured.whole.append((seen, cpu, wall))
        peaks = (outcome.peak_rss_bytes for outcome in (*outcomes, *closing))
        measured.peak_rss_bytes = max(measured.peak_rss_bytes, *peaks)
        return cpu + sum(outcome.cpu_seconds for outcome in outcomes)

    def process(self, stage: Stage, keys: Sequence[int]) -> list[Outcome]:
        """Have the blocks processed as a run does; raises WorkFailed for the first that fails."""
        outcomes: list[Outcome] = []
        grid = stage.grid()
        self.executor.check(stage)
        job = Job(stage, grid, StageInfo(stage.name, "probe", {}, grid), was_finished=False)
        tally = Tally()
        # One attempt: what fails here would fail in the run.
        policy = Policy(max_attempts=1, first_errors=1)
        loop = Loop([job], [tally], self.store, self.executor, policy, lambda _, some: outcomes.extend(some))
        try:
            loop.run([~mask_of(np.array(keys, np.int64), grid)])
        except WorkFailed:
            if not tally.errors:
                raise
        for outcome in outcomes:
            if not outcome.ok:
                raise _failed(stage, outcome)
        return outcomes

    def weigh(self, stage: Stage) -> None:
        """What the probed blocks take on the disk; and the memory of the merging, which grows with the whole graph."""
        measured = self.measured[stage.name]
        files = [path for volume in stage.outputs() for path in volume.path.rglob("*") if path.is_file()]
        measured.written_bytes = sum(path.stat().st_size for path in files)
        grid = stage.grid() if stage.grid().count > 1 else self.grid
        measured.written_voxels = sum(voxels_of(grid, key) for key in around(self.grid, self.everything, grid))
        if isinstance(stage, Agglomerate):
            counted = (EDGES, HISTOGRAMS, JOINS)
            graph = GROWTH * sum(rows.nbytes for table in counted for _, rows in self.store.each(table))
            whole = graph * prod(self.grid.volume) // measured.written_voxels
            limit = stage.limit_bytes
            measured.peak_rss_bytes += max(0, (whole if limit is None else min(whole, limit)) - graph)

    def slots(self, stage: Stage, slots: int) -> int:
        """Blocks of a stage at a time: those that need a GPU wait for one."""
        return max(1, min(slots, self.gpus)) if stage.resources().get("GPU") else slots


def around(fine: Grid, keys: Sequence[int], coarse: Grid) -> list[int]:
    """Keys of the blocks of another grid, of whole blocks of the first, in which these lie; each once."""
    times = [-(-large // small) for large, small in zip(coarse.block, fine.block, strict=True)]
    places = (unpack(key) for key in keys)
    inside = (as_voxels(at // by for at, by in zip(place, times, strict=True)) for place in places)
    return list(dict.fromkeys(pack(place) for place in inside))


def _failed(stage: Stage, outcome: Outcome) -> WorkFailed:
    raised = WorkFailed(
        f"{stage.name}: probe block {unpack(outcome.key)} failed: {last_line(outcome.error)}; fix the cause, "
        "or leave the probe out with --no-probe"
    )
    raised.add_note(outcome.error)
    return raised


def _hashed(count: int) -> Iterator[int]:
    """Numbers spread evenly, the same in each process."""
    return (int.from_bytes(sha256(f"probe {number}".encode()).digest()[:8], "big") for number in range(count))


def _all_of(stage: Stage) -> list[int]:
    """The keys of all blocks."""
    found: list[int] = stage.grid().keys().ravel().tolist()
    return found
