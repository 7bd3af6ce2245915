"""What an executor must do: process the blocks it is given, and say of each how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from blockwise.files.traffic import Traffic
from blockwise.stage import Stage


@dataclass(frozen=True)
class Outcome:
    """How one attempt at one block ended, and what it cost."""

    key: int
    ok: bool
    error: str = ""
    """Traceback text, or what became of the worker."""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0
    stage: str = ""
    """Name of the stage whose block it is."""
    traffic: Traffic | None = None
    """What went to and from addresses meanwhile, in the same process; None if nothing did."""


class Executor(Protocol):
    """Processes blocks of one stage at a time, or of a chain of stages; a context manager, used by one thread.

    Every block submitted comes back from `collect` exactly once, unless `cancel` is called.
    """

    def capacity(self, stage: Stage) -> int:
        """Blocks of the stage that should be out at a time to keep workers busy; changes as durations are measured."""

    def check(self, stage: Stage) -> None:
        """Raise BadInput if no worker can ever process this stage; harmless."""

    def keep_logs(self, folder: Path) -> None:
        """Keep what is logged within blocks in this folder, by stage; see `blocklog`."""

    def start(self, *stages: Stage) -> None:
        """Get ready for the blocks of these stages, in the order of the line; nothing is out."""

    def expect(self, left: Mapping[str, int]) -> None:
        """Blocks that are left, by the name of the stage: workers may come and go with them."""

    def submit(self, stage: Stage, keys: Sequence[int], attempt: int) -> None:
        """Have these blocks processed; the first attempt is 1, later ones are kept from other blocks."""

    def collect(self, timeout_s: float) -> list[Outcome]:
        """What has ended, waiting for the first up to `timeout_s`; may be empty."""

    def workers_alive(self) -> int:
        """Workers there are now that can do what is out."""

    def cancel(self) -> None:
        """Forget everything that is out; blocks already being processed may go on for a while."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...
