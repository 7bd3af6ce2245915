"""What a store must do: remember which blocks are done, the tables they made, and with which settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from funlib.geometry import Roi

from blockwise.errors import BadInput
from blockwise.grid import Grid, unpack
from blockwise.store.table import Entry, Rows, Table

COST = np.dtype([("key", "<i8"), ("voxels", "<i8"), ("wall", "<f8"), ("cpu", "<f8"), ("rss", "<i8")])
"""A finished block as a row: what `Record` holds but for the fingerprint; seconds and bytes."""


@dataclass(frozen=True)
class Record:
    """One finished block and what it cost."""

    key: int
    fingerprint: str
    voxels: int
    """Voxels of its write region."""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0


@dataclass(frozen=True)
class Failure:
    """One block that failed, and how it did so the last time."""

    key: int
    attempt: int
    """Attempts so far, the first is 1."""
    error: str
    """Traceback text."""


@dataclass(frozen=True)
class StageInfo:
    """With what the finished blocks of a stage were made."""

    name: str
    fingerprint: str
    ingredients: Mapping[str, Any]
    """What the fingerprint is made of, as plain data."""
    grid: Grid
    finished: bool = False
    """Whether all blocks and `Stage.finish` are done."""
    outputs: tuple[str, ...] = ()
    """Absolute paths of the arrays that it writes."""
    sources: Mapping[str, Any] = field(default_factory=dict)
    """The metadata of each array from outside, as they were; none where an earlier version wrote this."""


@dataclass(frozen=True)
class Totals:
    """Sums over all finished blocks of a stage, of all runs."""

    done: int = 0
    failed: int = 0
    voxels: int = 0
    wall_seconds: float = 0.0
    """Summed over blocks, so more than the time that passed if they ran side by side."""
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0
    """The largest of any block."""


class Store(Protocol):
    """The memory of a run. Safe to use from several threads and, by its URL, from several processes."""

    @property
    def url(self) -> str:
        """What `open_store` needs on another process; may hold a password, so it is never printed."""

    @property
    def is_local(self) -> bool:
        """Whether only processes on this machine may use it."""

    def check_writable(self) -> None:
        """Raise BadInput if nothing can be written; leaves nothing."""

    def claim(self, identity: str, place: str = "") -> None:
        """Tie the store to one output, and note where that lies; raises BadInput if it belongs to another."""

    def owner(self) -> str | None:
        """The output it is tied to; None if nobody claimed it."""

    def outputs(self) -> dict[str, str]:
        """The outputs that are kept here by their identities, and the place of each; empty where it is not known."""

    def forget(self) -> None:
        """Forget everything of its output, also that it is tied to it."""

    def put_stage(self, info: StageInfo) -> None:
        """Remember with what a stage is made; replaces."""

    def stages(self) -> list[StageInfo]:
        """All stages, in the order in which they first came."""

    def done_mask(self, stage: str, grid: Grid, fingerprint: str | None = None) -> np.ndarray:
        """(grid.counts) bool: which blocks are done, if given with this fingerprint."""

    def mark(self, stage: str, records: Sequence[Record]) -> None:
        """Remember blocks as done, for good when this returns; replaces, and forgets their failures."""

    def fail(self, stage: str, failures: Sequence[Failure]) -> None:
        """Remember blocks as failed; replaces."""

    def failures(self, stage: str) -> list[Failure]:
        """Blocks that failed and have not been done since, by key."""

    def clear(self, stage: str) -> None:
        """Forget the stage: its blocks, failures, tables and settings."""

    def keep(self, stage: str, keys: np.ndarray, fingerprint: str) -> None:
        """Of the stage's finished blocks, leave only these, as if made with this fingerprint; and no failures.

        Harmless when repeated, also after a crash. The tables of the others stay until they are done again.
        """

    def totals(self, stage: str) -> Totals:
        """Sums over its blocks."""

    def costs(self, stage: str, first: int, end: int) -> np.ndarray:
        """(n,) COST of the finished blocks with keys from `first` to before `end`, by key."""

    def forgive(self, stage: str, keys: Sequence[int]) -> None:
        """Forget that these blocks failed, so that they are tried again; harmless where they have not."""

    def put(self, table: Table, key: int, rows: Rows, region: Roi | None = None) -> None:
        """Keep the rows of a key; replaces. No later `mark` survives a crash without them.

        region: the voxels that they are of, where rows are asked for by region. Raises TypeError for other rows.
        """

    def put_all(self, table: Table, entries: Sequence[Entry]) -> None:
        """Several keys at once."""

    def get(self, table: Table, key: int) -> Rows | None:
        """The rows of one key; None if it has none."""

    def each(self, table: Table, region: Roi | None = None) -> Iterator[tuple[int, Rows]]:
        """(key, rows) of all keys, in their order, or of those whose region meets `region` (in voxels)."""

    def rows(self, table: Table, region: Roi | None = None) -> Rows:
        """The same rows as one array; empty if there are none."""

    def close(self) -> None:
        """Let go of files and connections; harmless when repeated."""


class Tables:
    """What all stores do with tables in the same way."""

    def put(self: Store, table: Table, key: int, rows: Rows, region: Roi | None = None) -> None:
        """Keep the rows of a key; replaces."""
        self.put_all(table, [Entry(key, rows, region)])

    def rows(self: Store, table: Table, region: Roi | None = None) -> Rows:
        """The rows of all keys, or of those whose region meets `region`, as one array."""
        return table.joined([rows for _, rows in self.each(table, region)])


def mask_of(keys: np.ndarray, grid: Grid) -> np.ndarray:
    """(grid.counts) bool: True at the blocks that `keys` names; keys outside the grid are left out."""
    mask = np.zeros(grid.counts, dtype=bool)
    z, y, x = unpack(keys)
    inside = (z < grid.counts[0]) & (y < grid.counts[1]) & (x < grid.counts[2]) & (keys >= 0)
    mask[z[inside], y[inside], x[inside]] = True
    return mask


def info_to_json(info: StageInfo) -> str:
    """The text from which `info_from_json` makes the same again."""
    grid = info.grid
    shape = [grid.stage, grid.volume, grid.block, grid.context_low, grid.context_high]
    told = [info.name, info.fingerprint, dict(info.ingredients), shape, info.finished, info.outputs, dict(info.sources)]
    return json.dumps(told)


def info_from_json(text: str) -> StageInfo:
    """The inverse of `info_to_json`."""
    try:
        name, fingerprint, ingredients, shape, finished, outputs, *more = json.loads(text)
    except ValueError:
        raise BadInput(
            "store", "was written by another version", todo="remove it and its output, or use that version"
        ) from None
    grid = Grid(shape[0], *(tuple(axis) for axis in shape[1:]))
    return StageInfo(name, fingerprint, ingredients, grid, finished, tuple(outputs), *more)


def masked(url: str) -> str:
    """The URL without user, password and options, fit to be printed."""
    return re.sub(r"//.*@", "//***@", url).partition("?")[0]


def another_run(where: str, found: str, wanted: str) -> BadInput:
    """The error of a store that belongs to another output."""
    return BadInput(
        where,
        "this store belongs to another output",
        got=found,
        wanted=wanted,
        todo="give each output its own store, e.g. store: sqlite:///out/NAME.db",
    )
