"""What a run will cost, from what some blocks of it did cost: arithmetic only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from blockwise.executor.base import Outcome
from blockwise.grid import Grid


@dataclass
class Measured:
    """What one stage cost on the probe blocks."""

    blocks: list[tuple[Outcome, int]] = field(default_factory=list)
    """Blocks with their voxels, processed when all was warm."""
    whole: list[tuple[int, float, float]] = field(default_factory=list)
    """What is done once a run, `prepare` and `finish`: voxels there were, CPU and wall seconds."""
    alone: list[tuple[int, float, float]] = field(default_factory=list)
    """The same for the block of a stage that has one only."""
    peak_rss_bytes: int = 0
    written_bytes: int = 0
    """Compressed, of `written_voxels`."""
    written_voxels: int = 0


@dataclass(frozen=True)
class Startup:
    """What is paid once, whatever the volume: imports, workers, compiled code that is loaded."""

    cpu_seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class StageForecast:
    """What one stage will cost."""

    stage: str
    cpu_seconds: float
    wall_seconds: float
    peak_rss_bytes: int
    """Of a worker, its libraries included."""
    bytes_written: int


@dataclass(frozen=True)
class Forecast:
    """What the run will cost."""

    probes: int
    """Blocks that were processed to find out."""
    workers: int
    """Blocks that will be processed at a time."""
    startup: Startup
    stages: tuple[StageForecast, ...]
    voxels: int = 0
    """Of the volume."""
    store_bytes: int = 0
    """Marks and tables of SQLite, at the end."""
    files: int = 0
    """Shards of arrays."""

    @property
    def cpu_seconds(self) -> float:
        """Of all processes."""
        return self.startup.cpu_seconds + sum(stage.cpu_seconds for stage in self.stages)

    @property
    def wall_seconds(self) -> float:
        """From the command to its end."""
        return self.startup.wall_seconds + sum(stage.wall_seconds for stage in self.stages)

    @property
    def peak_rss_bytes(self) -> int:
        """Of the largest worker."""
        return max(stage.peak_rss_bytes for stage in self.stages)

    @property
    def bytes_written(self) -> int:
        """To the output."""
        return sum(stage.bytes_written for stage in self.stages)


def extrapolate(grid: Grid, measured: Measured, slots: int) -> StageForecast:
    """The cost of all blocks, so many of them at a time, and of what is done once."""
    voxels = grid.volume[0] * grid.volume[1] * grid.volume[2]
    cpu, wall = (line_through(measured.whole, column, voxels) for column in (1, 2))
    if measured.alone:
        # In proportion, since a line through two small graphs says little of a large one.
        seen, alone_cpu, alone_wall = measured.alone[-1]
        cpu = cpu + alone_cpu * voxels / seen
        wall = wall + alone_wall * voxels / seen
    probed = sum(size for _, size in measured.blocks)
    if probed:
        share = voxels / probed
        cpu += share * sum(outcome.cpu_seconds for outcome, _ in measured.blocks)
        each = sum(outcome.wall_seconds for outcome, _ in measured.blocks) / len(measured.blocks)
        # The last blocks leave some workers idle: whole rounds are counted.
        rounds = max(share * len(measured.blocks) / slots, min(1, grid.count))
        wall += rounds * each
    written = measured.written_bytes * voxels // max(1, measured.written_voxels)
    return StageForecast(grid.stage, cpu, wall, measured.peak_rss_bytes, written)


def line_through(points: Sequence[Sequence[float]], column: int, at: float) -> float:
    """The value at `at` of the rising line through the first and the last point; points: (place, values ...)."""
    if not points:
        return 0.0
    (first, low), (last, high) = ((point[0], point[column]) for point in (points[0], points[-1]))
    if last <= first:
        return high
    slope = max(0.0, (high - low) / (last - first))
    return max(0.0, high + slope * (at - last))


def chosen_blocks(grid: Grid, wanted: int, numbers: Sequence[int]) -> list[int]:
    """Keys of so many different blocks, of full size where there are such, by the given hashed numbers."""
    counts = [max(1, size // step) for size, step in zip(grid.volume, grid.block, strict=True)]
    total = counts[0] * counts[1] * counts[2]
    places = list(dict.fromkeys(number % total for number in numbers))
    if total <= wanted:
        places = list(range(total))
    keys = grid.keys()[: counts[0], : counts[1], : counts[2]].ravel()
    return [int(keys[place]) for place in places[:wanted]]


def totals(forecast: Forecast) -> Mapping[str, object]:
    """The sums as plain data."""
    return {
        "probe_blocks": forecast.probes,
        "blocks_at_a_time": forecast.workers,
        "cpu_seconds": forecast.cpu_seconds,
        "wall_seconds": forecast.wall_seconds,
        "startup_cpu_seconds": forecast.startup.cpu_seconds,
        "startup_wall_seconds": forecast.startup.wall_seconds,
        "peak_rss_bytes": forecast.peak_rss_bytes,
        "bytes_written": forecast.bytes_written,
        "store_bytes": forecast.store_bytes,
        "files": forecast.files,
    }
