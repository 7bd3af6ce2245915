"""What a run would do and cost: `contraband.plan`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blockwise.engine.preflight import check_stages
from contraband.volumes.belonging import opened_store
from contraband.volumes.line import stages
from contraband.volumes.output import check_output
from contraband.volumes.plan.estimate import outlook
from contraband.volumes.run import notes_on
from contraband.volumes.settings import VolumeSettings

if TYPE_CHECKING:
    from contraband.volumes.plan.forecast import Forecast


@dataclass(frozen=True)
class PlannedRun:
    """What a run would do; made by `contraband.plan`."""

    settings: VolumeSettings = field(repr=False)
    stages: list[dict[str, Any]]
    """A row for each stage: `blocks`, `block_shape` and `context` in voxels, `files`, `bytes_read_raw` and
    `bytes_written_raw` (before compression), `worker_memory_bytes`; of agglomerate also `boxes`; of a prediction
    `tile`, and voxels for each one that is written: `predicted_per_voxel`, `shown_per_voxel` and `read_per_voxel`."""

    notes: list[str]
    """What to know of the inputs, a line each: labels of another extent, chunks that are missing on the disk."""

    def probe(self) -> Forecast:
        """What the run will cost, from a few blocks that are processed now, in a folder that is gone afterwards.

        They are processed by the workers of the settings if these are on this machine, else in this process. The
        forecast has `cpu_seconds`, `wall_seconds`, `peak_rss_bytes` of a worker and `bytes_written`, in all and for
        each of its `stages`. Raises WorkFailed if a block fails.

        Example:
            forecast = contraband.plan(settings).probe()
            print(f"{forecast.wall_seconds / 3600:.1f} hours")
        """
        from contraband.volumes.plan.probe import probe

        return probe(self.settings)


def planned(settings: VolumeSettings) -> PlannedRun:
    """Check all that a run would, and say what it would do; reads metadata only and writes nothing."""
    line = stages(settings)
    check_output(settings, line)
    check_stages(line)
    with opened_store(settings):
        return PlannedRun(settings, outlook(line), notes_on(line, sys.maxsize))
