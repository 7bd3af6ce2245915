"""`contraband plan`: what it predicts from a few blocks, and that it leaves nothing behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
import zarr

import contraband as cb
from blockwise.arrays.volume import Volume
from blockwise.cluster.settings import Cluster
from blockwise.executor.base import Outcome
from blockwise.grid import Block, Grid, unpack
from blockwise.stages.agglomerate.stage import Agglomerate
from blockwise.stages.segment import Segment
from contraband.cli import call
from contraband.volumes.line import stages
from contraband.volumes.plan.estimate import outlook
from contraband.volumes.plan.forecast import Forecast, Measured, Startup, chosen_blocks, extrapolate, line_through
from contraband.volumes.plan.probe import here
from contraband.volumes.settings import VolumeSettings
from tests.support.volumes import cells, digest, store_volume

SHAPE, BLOCK = (12, 20, 48), (12, 20, 16)
STAGES = ["fragments", "edges", "agglomerate", "segment/0.5", "evaluate"]


@pytest.fixture
def volume(in_tmp: Path) -> Path:
    """A working folder with a volume of three blocks, and its settings."""
    affinities, labels = cells(SHAPE)
    store_volume(in_tmp / "vol.zarr" / "affinities", affinities, (12, 20, 16))
    store_volume(in_tmp / "vol.zarr" / "labels", labels)
    settings = {
        "volume": {"labels": "vol.zarr/labels"},
        "affinities": "vol.zarr/affinities",
        "output": "out/a.zarr",
        "blocks": {"shape": list(BLOCK)},
        "cluster": {"kind": "none"},
    }
    (in_tmp / "vol.yaml").write_text(yaml.safe_dump(settings))
    return in_tmp


def files(folder: Path) -> list[Path]:
    """Everything below a folder."""
    return sorted(folder.rglob("*"))


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def planned(capsys: pytest.CaptureFixture[str], *more: str) -> dict:
    """What the command says to programs."""
    assert call(["plan", "vol.yaml", "--json", *more]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_plan_predicts_every_stage_and_leaves_nothing(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The probe goes through all stages beside the output, which a run then fills with the bytes foretold."""
    before = files(volume)
    said = planned(capsys)
    assert files(volume) == before
    assert [row["stage"] for row in said["stages"]] == [row["stage"] for row in said["predicted"]["stages"]] == STAGES
    total = said["predicted"]["total"]
    assert total["probe_blocks"] == 3
    assert total["cpu_seconds"] >= sum(row["cpu_seconds"] for row in said["predicted"]["stages"]) > 0
    assert total["wall_seconds"] > total["startup_wall_seconds"] > 0
    assert total["peak_rss_bytes"] > 50_000_000
    assert total["files"] == 6
    assert total["store_bytes"] > 10_000
    assert call(["run", "vol.yaml"]) == 0
    # All three blocks were probed, but not yet joined with each other.
    written = sum(size_of(volume / "out" / "a.zarr" / name) for name in ("fragments", "segments/0.5"))
    assert total["bytes_written"] == pytest.approx(written, rel=0.05)


def test_a_plan_ends_with_a_bill(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Core hours, room and money in one line, by assumptions that are named; times are measured, so they vary."""
    assert call(["plan", "vol.yaml"]) == 0
    (line,) = " ".join(capsys.readouterr().out.split()).split("by the assumptions of ")[1:]
    number = r"[\d.]+"
    needs = rf"{number} core hours, {number} hours on \d+ cores?; memory of a worker {number} GB"
    room = rf"store {number} GB, arrays {number} GB in 6 files; {number} USD"
    assert re.match(rf"\S*prices\.yaml: 1\.2e\+04 voxels: {needs}; {room}", line)


def test_what_is_read_and_written_is_told_without_a_probe(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes in and out from the shapes alone: context, channels and types counted."""
    said = planned(capsys, "--no-probe")
    assert "predicted" not in said
    rows = {row["stage"]: row for row in said["stages"]}
    voxels = 12 * 20 * 48
    reach = rows["fragments"]["context"][0][2]
    assert reach > 0
    assert rows["fragments"]["bytes_read_raw"] == 3 * (16 + 2 * reach) / 16 * voxels
    assert rows["fragments"]["bytes_written_raw"] == 8 * voxels
    assert rows["edges"]["bytes_read_raw"] == (8 * 18 / 16 + 3) * voxels
    assert rows["segment/0.5"]["bytes_read_raw"] == 8 * voxels
    assert rows["evaluate"]["bytes_read_raw"] == (8 + 4) * voxels
    assert [rows[name]["files"] for name in STAGES] == [3, 0, 0, 3, 0]


@pytest.mark.parametrize(
    "assignment", ["blocks.shape=[12, 20, 24]", "store=sqlite:///vol.yaml/a.db", "output=vol.yaml/a.zarr"]
)
def test_a_wrong_setting_fails_before_the_probe(
    assignment: str, volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Blocks that split shards of the output, a store that cannot be, an output below a file: exit code 2."""
    assert call(["run", "vol.yaml", "--to", "fragments"]) == 0
    before = files(volume)
    capsys.readouterr()
    assert call(["plan", "vol.yaml", "--set", assignment]) == 2
    assert "processing a few blocks" not in (line := capsys.readouterr().err)
    assert len(line.splitlines()) == 1
    assert files(volume) == before


def test_a_block_that_fails_is_named(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An input that cannot be decoded ends the probe with exit code 1 and the block; nothing is left."""
    for shard in (volume / "vol.zarr" / "affinities" / "c").rglob("2"):
        if shard.is_file():
            shard.write_bytes(shard.read_bytes()[:-100])
    before = files(volume)
    assert call(["plan", "vol.yaml"]) == 1
    assert "fragments: probe block (0, 0, " in capsys.readouterr().err.splitlines()[-1]
    assert files(volume) == before


def test_an_interrupted_probe_leaves_nothing(
    volume: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the last stage but one: exit code 1 and no folder."""
    before, seen = files(volume), []

    def interrupted(self: Segment, block: Block, store: object) -> None:
        seen.extend(volume.rglob(".probing-*/probe.zarr/fragments/c"))
        raise KeyboardInterrupt

    monkeypatch.setattr(Segment, "process", interrupted)
    assert call(["plan", "vol.yaml"]) == 1
    assert seen
    assert files(volume) == before


def test_a_plan_submits_no_jobs() -> None:
    """Workers elsewhere are not asked for: the blocks are processed in this process."""
    slurm = Cluster(kind="slurm", memory="8GB", workers=16)
    assert here(slurm).in_process
    assert here(Cluster(address="tcp://10.0.0.1:8786")).in_process
    assert here(Cluster(kind="none")).in_process
    local = here(Cluster(kind="local", workers=3))
    assert (local.workers, local.in_process, local.dashboard) == (3, False, False)


def test_costs_grow_with_the_volume() -> None:
    """Blocks by their voxels, side by side; what is done once on a line through what was measured."""
    grid = Grid("edges", (10, 10, 100), (10, 10, 10))
    measured = Measured(
        blocks=[(Outcome(0, True, cpu_seconds=1.0, wall_seconds=2.0), 1000)] * 2,
        peak_rss_bytes=7,
        whole=[(1000, 1.0, 2.0), (2000, 1.5, 2.0)],
        alone=[(1000, 9, 9), (2000, 3.0, 4.0)],
        written_bytes=500,
        written_voxels=2000,
    )
    found = extrapolate(grid, measured, 4)
    assert found.cpu_seconds == 10 * 1.0 + (1.0 + 9 * 0.5) + 5 * 3.0
    assert found.wall_seconds == 10 / 4 * 2.0 + 2.0 + 5 * 4.0
    assert (found.peak_rss_bytes, found.bytes_written) == (7, 2500)
    assert extrapolate(grid, measured, 1000).wall_seconds == 1 * 2.0 + 2.0 + 5 * 4.0
    forecast = Forecast(2, 4, Startup(0.5, 0.25), (found, found))
    assert forecast.cpu_seconds == 0.5 + 2 * found.cpu_seconds
    assert forecast.wall_seconds == 0.25 + 2 * found.wall_seconds
    assert (forecast.peak_rss_bytes, forecast.bytes_written) == (7, 5000)


def test_a_line_never_falls() -> None:
    """What took less time on more blocks costs the same however many there are."""
    assert line_through([(1, 3.0), (2, 1.0)], 1, 50) == 1.0
    assert line_through([(1, 3.0)], 1, 50) == 3.0
    assert line_through([], 1, 50) == 0.0


def test_probed_blocks_are_different_and_of_full_size() -> None:
    """Full blocks where there are such; all of them if there are few."""
    grid = Grid("edges", (25, 10, 104), (10, 10, 10))
    chosen = chosen_blocks(grid, 5, [3, 3, 23, 104, 7, 8, 9])
    assert len(set(chosen)) == 5
    assert all(z < 2 and x < 10 for z, _, x in map(unpack, chosen))
    assert len(chosen_blocks(grid, 50, [1])) == 20
    assert chosen_blocks(Grid("edges", (5, 5, 5), (5, 5, 5)), 3, [7]) == [0]


@pytest.mark.parametrize(
    ("cluster", "shape", "memory", "boxes"),
    [
        ({"kind": "local", "workers": 2, "memory": "1GB"}, (64, 64, 64), None, 1),
        ({"kind": "local", "workers": 2, "memory": "1GB"}, (512, 1024, 1024), 500_000_000, 8),
        ({"kind": "local", "workers": 2, "memory": "1GB", "threads": 4}, (512, 1024, 1024), 125_000_000, 32),
        ({"address": "tcp://elsewhere:8786"}, (512, 1024, 1024), 2_000_000_000, 2),
    ],
)
def test_the_graph_gets_half_of_a_worker(in_tmp: Path, cluster: dict, shape: tuple, memory: int | None, boxes: int):
    """Shared by its threads; no limit where no graph of the volume could need it."""
    root = zarr.open_group("vol.zarr", mode="w")
    given = root.create_array("affinities", shape=(3, *shape), dtype="uint8", chunks=(3, 64, 64, 64))
    given.attrs["offsets"] = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
    content = {"affinities": "vol.zarr/affinities", "output": "out.zarr", "cluster": cluster}
    settings = VolumeSettings.parse(content, "test")
    (stage,) = [stage for stage in stages(settings) if isinstance(stage, Agglomerate)]
    assert stage.limit_bytes == memory
    (row,) = [row for row in outlook([stage]) if row["stage"] == "agglomerate"]
    assert row["boxes"] == boxes


def test_a_limit_by_itself_changes_no_byte(volume: Path) -> None:
    """A worker with next to no memory solves the graph in boxes, without being told to."""
    written = {}
    content = yaml.safe_load((volume / "vol.yaml").read_text())
    for name, memory in (("whole", None), ("boxes", "200kB")):
        content |= {"output": f"{name}.zarr", "cluster": {"kind": "none", "memory": memory}}
        settings = VolumeSettings.parse(content, "test")
        (stage,) = [stage for stage in stages(settings) if isinstance(stage, Agglomerate)]
        assert (stage.limit_bytes is None) == (memory is None)
        cb.run(settings, progress=False)
        written[name] = digest(Volume(path=volume / f"{name}.zarr" / "segments" / "0.5"))
    assert written["whole"] == written["boxes"]
