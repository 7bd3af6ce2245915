"""What is asked of a run apart from its stages, and what it answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from blockwise.files.traffic import Traffic
from blockwise.stage import Stage

log = logging.getLogger(__name__)

Chain = bool | Literal["auto"]


@dataclass(frozen=True)
class Policy:
    """How failures are met."""

    max_attempts: int = 3
    first_errors: int = 4
    """So many blocks that fail alike before any is done end the run: the code is broken, not the block."""
    patience_s: float = 60.0
    """How long a run waits with no worker alive."""


class Progress(Protocol):
    """Is told how far each stage is."""

    def __call__(self, name: str, done: int, total: int, note: str = "") -> None: ...


@dataclass(frozen=True)
class StageResult:
    """What a run did for one stage, as report.json shows it.

    `blocks_*` and `wall_seconds` (time passed; in a chain, that of all its stages) are of this run. `voxels`,
    `cpu_seconds` and `peak_rss_bytes` are of all finished blocks, whichever run made them, so that CPU time a voxel
    stays right after a resume; the latter two include its substages.
    """

    name: str
    blocks_done: int
    blocks_skipped: int
    """Done by earlier runs."""
    blocks_failed: int
    voxels: int
    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    context_inflation: float
    """Voxels read for each voxel written."""
    fingerprint: str
    traffic: Traffic = field(default_factory=Traffic)
    """Of this run, its substages included; that of workers that were lost is lost with them."""
    read_ratio: float | None = None
    """Bytes that blocks read of chunks at addresses for each byte that these arrays have there in the blocks done.

    None where nothing was read from there, the stage is not finished, or there are more objects than are asked after.
    """


@dataclass(frozen=True)
class RunOptions:
    """How a run deals with what is there, and whom it tells.

    Example:
        RunOptions(redo_failed=True)
        RunOptions(progress=lambda name, done, total, note="": print(name, done, "of", total))
    """

    redo: str | None = None
    """This stage and all that depend on it are made again."""
    redo_failed: bool = False
    """Blocks that were given up are tried again."""
    grown: bool = False
    """The user's word that no old voxel of a larger volume has changed, where that cannot be proved; see `growth`."""
    before: Sequence[Stage] | None = None
    """The stages ahead, not run but checked to be finished with their present settings; None: the store is believed."""
    chain: Chain = "auto"
    """Whether stages that follow each other block by block run at the same time; see `run.chains`."""
    policy: Policy = Policy()
    progress: Progress | None = None
    on_result: Callable[[StageResult], None] | None = None
    """Is given every result at once, also that of a stage that fails or is interrupted."""
    announce: Callable[[str], None] = log.info
    """Is told in one line where the dashboard is, and what is kept of a volume that has grown."""
