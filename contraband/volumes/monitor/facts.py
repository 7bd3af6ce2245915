"""The facts about a run, that `status`, the page and Prometheus show: how far each stage is, what each block cost."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from blockwise.engine.standing import Standing, standings
from blockwise.errors import BadInput
from blockwise.executor.blocklog import read_lines
from blockwise.executor.work import last_line
from blockwise.executor.workerlog import lost_workers, worker_of
from blockwise.grid import Grid, pack, unpack
from blockwise.stage import Stage
from blockwise.store import empty_store
from blockwise.store.base import Failure, Store
from contraband.volumes.belonging import find_belonging, is_store_there, opened_store
from contraband.volumes.line import absolute
from contraband.volumes.output import Output
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.view.notice import running_viewer

STATES = ("waiting", "running", "done", "failed", "stale")
"""What a block may be, in the order of their numbers in `plane`."""
FRESH_S = 1.0
"""Facts that are asked for more often than so are not computed again."""
COSTLY = 20.0
"""How much longer than it takes to compute it, what is stale and gone is believed."""
MOST_LINES = 200
"""So many of what a block logged are told, the last ones."""
RATE_S = 60.0
"""Over how long rates are measured."""

Running = Callable[[], Mapping[str, Sequence[int]]]
"""The blocks of each stage that are at workers now."""


class Facts:
    """What is known of a run. Reads only, but for `try_again`; safe to use from several threads."""

    def __init__(self, settings: VolumeSettings, line: Sequence[Stage], running: Running = dict) -> None:
        """running: of the run, where it goes on in this process; elsewhere nobody knows."""
        self.settings = settings
        self._line = [absolute(stage) for stage in line]
        self._grids = {stage.name: stage.grid() for stage in self._line}
        self._running = running
        self._rates = _Rates()
        self._standings: list[Standing] = []
        self._known_until_s = -math.inf
        self._rows: list[dict[str, Any]] = []
        self._at_s = -math.inf
        self._lock = threading.Lock()

    def stages(self) -> list[dict[str, Any]]:
        """A row for each stage: `stage`, `blocks` in all, `done`, `running`, `failed`, `stale` ones; `state` in a word.

        Also `voxels`, `block_seconds` (summed over blocks), `peak_rss_bytes` of the finished blocks; `rate` in blocks a
        second and `left_s`, None unless blocks were finished while this looked on; `changes` that made it stale, paths
        that are `gone`, and `failures`, a list with `block`, its `place` (z, y, x in blocks), `attempts` and `error`.
        """
        with self._lock:
            if time.monotonic() - self._at_s > FRESH_S:
                with self._store() as store:
                    running = self._running()
                    self._rows = [self._row(one, store, running) for one in self._stand(store)]
                self._at_s = time.monotonic()
            return self._rows

    def lost_workers(self) -> list[dict[str, Any]]:
        """The workers that this run and those before it have lost, in order.

        `at` (s since 1970), `worker`, its address or the name of its job, and `how`, the cause as far as it is known.
        """
        return lost_workers(Output(self.settings.output).logs)

    def grid(self, stage: str) -> Grid:
        """How a stage is cut into blocks; raises BadInput for a stage that is not in the line."""
        if stage not in self._grids:
            raise BadInput("stage", "is not in this run", got=stage, wanted=", ".join(self._grids))
        return self._grids[stage]

    def plane(self, stage: str, z: int) -> dict[str, np.ndarray]:
        """The blocks of a stage in one layer, (y, x): `state`, places in STATES; `seconds` and `bytes`, 0 if not done.

        Raises BadInput for other stages and layers.
        """
        grid = self.grid(stage)
        if not 0 <= z < grid.counts[0]:
            raise BadInput("z", "no such layer of blocks", got=z, wanted=f"0 to {grid.counts[0] - 1}")
        is_stale = any(row["stage"] == stage and row["stale"] for row in self.stages())
        with self._store() as store:
            costs = store.costs(stage, pack((z, 0, 0)), pack((z + 1, 0, 0)))
            failed = [one.key for one in store.failures(stage)]
        state = np.zeros(grid.counts[1:], np.uint8)
        seconds = np.zeros(grid.counts[1:], np.float32)
        size = np.zeros(grid.counts[1:], np.float64)
        done = _places(costs["key"], z, grid)
        state[done.rows] = STATES.index("stale" if is_stale else "done")
        seconds[done.rows] = costs["wall"][done.kept]
        size[done.rows] = costs["rss"][done.kept]
        for name, keys in (("failed", failed), ("running", self._running().get(stage, ()))):
            state[_places(np.array(keys, np.int64), z, grid).rows] = STATES.index(name)
        return {"state": state, "seconds": seconds, "bytes": size}

    def block(self, stage: str, key: int) -> dict[str, Any]:
        """All about one block: where it is, its state, what it cost and logged, how often it failed and with what.

        `worker`, if it was ever given to one: who had it last, its `process` (MACHINE-PROCESS), its address as
        `worker`, and `how` it was lost, if that was after the block came to it.
        """
        grid = self.grid(stage)
        place = unpack(key)
        if key < 0 or any(at >= count for at, count in zip(place, grid.counts, strict=True)):
            raise BadInput("block", "is not in this stage", got=place, wanted=f"below {grid.counts}")
        region = grid.block_at(key).write_roi
        with self._store() as store:
            costs = store.costs(stage, key, key + 1)
            failures = [one for one in store.failures(stage) if one.key == key]
        is_running = key in self._running().get(stage, ())
        state = "running" if is_running else "failed" if failures else "done" if len(costs) else "waiting"
        row: dict[str, Any] = {"stage": stage, "key": key, "block": list(place), "state": state}
        row |= {"begin": list(region.begin), "end": list(region.end)}
        if len(costs):
            names = (("seconds", "wall"), ("cpu_seconds", "cpu"), ("peak_rss_bytes", "rss"), ("voxels", "voxels"))
            row |= {name: costs[column][0].item() for name, column in names}
        if failures:
            row |= {"attempts": failures[0].attempt, "error": failures[0].error}
        logs = Output(self.settings.output).logs
        return row | self._worker(stage, key) | {"log": read_lines(logs, stage, key)[-MOST_LINES:]}

    def viewer(self) -> str | None:
        """The address of a viewer of this run that is open now, from where its output can be read; None: there is none.

        Who knows it sees the volume.
        """
        return running_viewer(Output(self.settings.output))

    def try_again(self, stage: str, key: int) -> None:
        """Have a block that was given up tried again, by the run that goes on when it is through, or by the next.

        Raises BadInput if it has not failed.
        """
        if self.block(stage, key)["state"] != "failed":
            raise BadInput("block", "has not failed", got=unpack(key))
        with self._store() as store:
            store.forgive(stage, [key])
        with self._lock:
            self._at_s = -math.inf

    def _worker(self, stage: str, key: int) -> dict[str, Any]:
        found = worker_of(Output(self.settings.output).logs, stage, key)
        if found is None:
            return {}
        after = [one for one in self.lost_workers() if one["worker"] == found["worker"] and one["at"] >= found["at"]]
        return {"worker": {**found, "how": after[0]["how"] if after else ""}}

    def _stand(self, store: Store) -> list[Standing]:
        """How far every stage is. What makes it stale takes seconds to find out in a run of millions of blocks."""
        begin = time.monotonic()
        if begin < self._known_until_s:
            return [self._counted(one, store) for one in self._standings]
        self._standings = standings(self._line, store)
        now = time.monotonic()
        self._known_until_s = now + COSTLY * (now - begin)
        return self._standings

    def _counted(self, standing: Standing, store: Store) -> Standing:
        """The same with the blocks that are done and have failed by now."""
        name = standing.stage.name
        done = min(store.totals(name).done, self._grids[name].count)
        return replace(standing, done=done, failures=tuple(store.failures(name)))

    def _row(self, standing: Standing, store: Store, running: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        name = standing.stage.name
        blocks = standing.stage.grid().count
        totals = store.totals(name)
        rate = self._rates.of(name, standing.done)
        return {
            "stage": name,
            "blocks": blocks,
            "done": standing.done,
            "running": len(running.get(name, ())),
            "failed": len(standing.failures),
            "stale": standing.done if standing.changes else 0,
            "state": standing.state,
            "voxels": totals.voxels,
            "block_seconds": totals.wall_seconds,
            "peak_rss_bytes": totals.peak_rss_bytes,
            "rate": rate,
            "left_s": (blocks - standing.done) / rate if rate else None,
            "changes": standing.changes,
            "gone": [str(path) for path in standing.gone],
            "failures": [_failed(failure) for failure in standing.failures],
        }

    @contextmanager
    def _store(self) -> Iterator[Store]:
        """The store of the run; an empty one before there is any."""
        if not is_store_there(self.settings.store_url):
            yield empty_store()
            return
        belonging = find_belonging(self.settings)
        with opened_store(self.settings, next(iter(belonging.lost), belonging.identity)) as store:
            yield store


def _failed(failure: Failure) -> dict[str, Any]:
    place = list(unpack(failure.key))
    return {"block": failure.key, "place": place, "attempts": failure.attempt, "error": last_line(failure.error)}


class _Places:
    """Where blocks are in one layer."""

    def __init__(self, rows: tuple[np.ndarray, np.ndarray], kept: np.ndarray) -> None:
        self.rows = rows
        """Their places along y and x."""
        self.kept = kept
        """Which of the blocks are in the layer at all."""


def _places(keys: np.ndarray, z: int, grid: Grid) -> _Places:
    at, y, x = (np.asarray(one) for one in unpack(keys))
    kept = (at == z) & (y < grid.counts[1]) & (x < grid.counts[2])
    return _Places((y[kept], x[kept]), kept)


class _Rates:
    """How fast counts have grown over the last minute."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = defaultdict(deque)

    def of(self, name: str, done: int) -> float | None:
        """Blocks a second; None if none was finished while this looked on, or blocks were forgotten."""
        now = time.monotonic()
        seen = self._seen[name]
        if seen and seen[-1][1] > done:
            seen.clear()
        seen.append((now, done))
        while len(seen) > 2 and now - seen[1][0] > RATE_S:
            seen.popleft()
        begin, first = seen[0]
        return (done - first) / (now - begin) if done > first and now > begin else None
