"""A run that stops at a gate, so that it can be looked at: `python -m tests.support.gated FOLDER`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import ClassVar

from blockwise.engine.options import RunOptions
from blockwise.grid import Block, Grid, Voxels
from blockwise.stage import Stage
from blockwise.store.base import Store
from contraband.volumes.run import execute
from contraband.volumes.settings import VolumeSettings
from tests.faults.planned import RAISE, plan, strike

COUNTS: Voxels = (2, 3, 4)
BAD = (0, 1, 2)
"""The block that fails three times, then no more."""
LAST = (1, 2, 3)
"""The block that waits."""
PATIENCE_S = 300


class Gated(Stage):
    """Does nothing, but for one block that waits until there is a file, and one that fails as planned."""

    name: ClassVar[str] = "gated"

    folder: Path

    def grid(self) -> Grid:
        return Grid(self.name, COUNTS, (1, 1, 1))

    def parameters(self) -> dict[str, object]:
        return {}

    def process(self, block: Block, store: Store) -> None:
        strike(self.folder / "plan", block.key, "before write")
        end = time.monotonic() + PATIENCE_S
        while tuple(block.write_roi.begin) == LAST and not self.gate.exists():
            assert time.monotonic() < end, "nobody opened the gate"
            time.sleep(0.05)

    @property
    def gate(self) -> Path:
        """The file that the last block waits for."""
        return self.folder / "gate"


def gated_settings(folder: Path) -> VolumeSettings:
    """Settings of the run; only where it writes, and its workers, are used."""
    return VolumeSettings(
        output=folder / "out.zarr",
        affinities=folder / "nothing",
        cluster={"workers": 2, "dashboard": 0},  # type: ignore[arg-type]
    )


def main(folder: Path) -> None:
    """Run it, and print what is announced."""
    stage = Gated(folder=folder)
    plan(folder / "plan", {stage.grid().keys()[BAD]: [RAISE] * 3})
    execute(gated_settings(folder), [stage], RunOptions(announce=lambda line: print(line, flush=True)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
