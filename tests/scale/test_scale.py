"""`make scale`, small: a run that is killed twice, and the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contraband.volumes.plan.bill import Usage
from tests.scale.running import SHAPES, Case, Measured, measured
from tests.scale.table import HEAD, STAGES, cells, estimate, extended, told
from tests.scale.watching import shards

ONE = Measured(
    name="a",
    workers=2,
    kills=0,
    usage=Usage(1e9, 200, 10, 5e8, 1e9, 1e8, 9e8, 2000),
    wall_seconds=100,
    stages=dict.fromkeys(STAGES, 30.0),
    dendrogram_bytes=10**7,
    digest="0123456789",
    voi=1.0,
)


def test_sizes_are_whole_blocks_and_powers_of_ten() -> None:
    """Within 5 percent, so that figures of two sizes can be compared."""
    for power, shape in SHAPES.items():
        assert Case(shape, 1).voxels == pytest.approx(10**power, rel=0.05)
        assert all(size % step == 0 for size, step in zip(shape, (64, 128, 128), strict=True))


def test_the_table_has_a_row_a_run_and_tells_of_larger_ones() -> None:
    """Figures a voxel; runs with one worker are no base for what larger ones need, killed ones if there is no other."""
    large = replace(ONE, usage=Usage(1e10, 2000, 100, 5e8, 1e10, 1e9, 9e9, 20000))
    row = dict(zip(HEAD, cells(ONE), strict=True))
    assert (row["CPU ns/voxel"], row["edges"], row["store B/voxel"], row["digest"]) == (
        "200",
        "30.0",
        "0.100",
        "01234567",
    )
    assert len(told([ONE, large]).splitlines()) == 3
    said = estimate([ONE, large, replace(ONE, workers=1, usage=replace(ONE.usage, voxels=1e11))])
    assert "1e+12 voxels: 55.6 core hours" in said
    assert "breaks: memory of the driver: 1,000 GB where there are 64, too much from 6e+10 voxels on" in said
    slower = replace(large, kills=2, usage=replace(large.usage, cpu_seconds=4000))
    assert estimate([ONE, large, slower]) == estimate([ONE, large])
    assert "1e+12 voxels: 117.2 core hours" in estimate([ONE, slower])
    assert estimate([ONE, replace(ONE, kills=2)]).startswith("two sizes with two workers are needed")


def test_figures_go_on_along_a_line() -> None:
    """Through the two largest volumes, so what is paid once is paid once, and what falls stays as it is."""
    small = Usage(1e9, 360, 10, 5e8, 1e9, 1e8, 9e8, 2000)
    twice = Usage(2e9, 460, 20, 4e8, 1e9, 2e8, 18e8, 4000)
    found = extended([twice, small, replace(small, voxels=1e6, cpu_seconds=1e6)], 1e12)
    assert found.cpu_seconds == pytest.approx(260 + 1e12 * 1e-7)
    assert found.store_bytes == pytest.approx(1e11)
    assert found.files == pytest.approx(2e6)
    assert (found.worker_bytes, found.driver_bytes) == (4e8, 1e9)


@pytest.mark.slow
def test_a_run_killed_twice_makes_the_same(tmp_path: Path) -> None:
    """In the middle of its fragments and of its segments; what is measured is kept, and the volumes are gone."""
    shape = (128, 256, 256)
    whole = measured(tmp_path, Case(shape, 1))
    killed = measured(tmp_path, Case(shape, 2, kills=2))
    assert (whole.digest, whole.voi) == (killed.digest, killed.voi)
    assert (whole.kills, killed.kills) == (0, 2)
    assert whole.usage.store_bytes > 1e5
    assert min(whole.usage.driver_bytes, whole.usage.worker_bytes) > 5e7
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json"]
    assert measured(tmp_path, Case(shape, 1)) == whole
    assert not shards(tmp_path)
