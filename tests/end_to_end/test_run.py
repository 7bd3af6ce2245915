"""`contraband run` as a user runs it: a process of its own, killed and started again, on both stores."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blockwise.arrays.volume import Volume
from contraband.importing.volume import import_volume
from tests.support.killing import blocks_done, kill_when
from tests.support.paths import ROOT, real_data
from tests.support.servers import fresh_database, mongo_server
from tests.support.volumes import cells, digest, store_volume

SHAPE = (24, 40, 48)
SETTINGS = """
volume:      {{raw: null, labels: {folder}/vol.zarr/labels}}
affinities:  {folder}/vol.zarr/affinities
output:      {folder}/{name}.zarr
blocks:      {{shape: {block}}}
agglomerate: {{stop: 0.05}}
segment:     {{thresholds: [0.3, 0.5]}}
cluster:     {{kind: {kind}, workers: {workers}, threads: 1}}
"""
STAGES = ["fragments", "edges", "agglomerate", "segment", "evaluate"]
REPORT_KEYS = {
    "blocks_done",
    "blocks_skipped",
    "blocks_failed",
    "voxels",
    "wall_seconds",
    "cpu_seconds",
    "peak_rss_bytes",
    "context_inflation",
    "fingerprint",
    "read_bytes",
    "read_requests",
    "read_ratio",
    "written_bytes",
    "written_requests",
}
ROW_KEYS = {"threshold", "voi_split", "voi_merge", "voi_sum", "arand", "segments"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small volume."""
    path = tmp_path_factory.mktemp("run")
    affinities, labels = cells(SHAPE)
    store_volume(path / "vol.zarr" / "affinities", affinities)
    store_volume(path / "vol.zarr" / "labels", labels)
    return path


def write_settings(folder: Path, name: str, block: tuple[int, ...], kind: str = "none", workers: int = 2) -> Path:
    """A settings file."""
    path = folder / f"{name}.yaml"
    text = SETTINGS.format(folder=folder, name=name, block=list(block), kind=kind, workers=workers)
    path.write_text(text.replace("raw: null, ", ""))
    return path


def contraband(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "contraband", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)


def done(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    result = contraband(*arguments)
    assert result.returncode == 0, result.stderr
    return result


def segments(folder: Path, name: str) -> list[str]:
    """Digests of everything that a run wrote."""
    output = folder / f"{name}.zarr"
    return [digest(Volume(path=output / part)) for part in ("fragments", "segments/0.3", "segments/0.5")]


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> list[str]:
    """Digests of a run in one piece, in one process."""
    done("run", write_settings(folder, "undisturbed", (12, 20, 24)))
    return segments(folder, "undisturbed")


def test_the_contract_of_the_outputs(folder: Path, undisturbed: list[str]) -> None:
    """report.json and evaluation.json have the agreed keys, arrays their metadata."""
    output = folder / "undisturbed.zarr"
    report = json.loads((output / "report.json").read_text())
    assert list(report["stages"]) == STAGES
    assert all(set(row) >= REPORT_KEYS for row in report["stages"].values())
    assert {"contraband", "python", "zarr"} <= set(report["versions"])
    evaluation = json.loads((output / "evaluation.json").read_text())
    assert all(set(row) >= ROW_KEYS for row in [evaluation["best"], *evaluation["thresholds"]])
    assert {0.3, 0.5} <= {row["threshold"] for row in evaluation["thresholds"]}
    ome = json.loads((output / "zarr.json").read_text())["attributes"]["ome"]
    assert ome["version"] == "0.5"
    assert ome["multiscales"][0]["datasets"][0]["path"] == "fragments"


@pytest.mark.parametrize(("block", "workers"), [((24, 40, 48), 1), ((12, 20, 24), 4), ((7, 40, 17), 2)], ids=str)
def test_blocks_and_workers_change_nothing(
    block: tuple[int, ...], workers: int, folder: Path, undisturbed: list[str]
) -> None:
    """On Dask workers, the result is the same bytes for every block shape and number of workers."""
    name = f"dask-{workers}"
    done("run", write_settings(folder, name, block, "local", workers))
    assert segments(folder, name) == undisturbed


@pytest.mark.parametrize("stage", ["fragments", "edges", "segment"])
def test_a_killed_run_ends_the_same(stage: str, folder: Path, undisturbed: list[str]) -> None:
    """Killed with -9 in the middle of a stage and started again, a run ends with the same bytes."""
    name = f"killed-{stage}"
    settings, store = write_settings(folder, name, (6, 20, 12)), folder / f"{name}.db"
    kill_when(["run", settings], lambda: blocks_done(store, stage) >= 3)
    before = blocks_done(store, stage)
    result = done("run", settings, "--json")
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["stages"][stage]["blocks_skipped"] >= before
    assert segments(folder, name) == undisturbed


def test_ctrl_c_leaves_a_run_that_goes_on(folder: Path, undisturbed: list[str]) -> None:
    """An interrupt ends the run with one line and exit code 1; the same command finishes it."""
    settings, store = write_settings(folder, "interrupted", (6, 20, 12)), folder / "interrupted.db"
    command = [sys.executable, "-m", "contraband", "run", str(settings)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while blocks_done(store, "fragments") < 3 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted; what is finished is kept" in stderr
    assert "Traceback" not in stderr, stderr
    done("run", settings)
    assert segments(folder, "interrupted") == undisturbed


def test_mongodb_gives_the_same(folder: Path, undisturbed: list[str], mongo: str) -> None:
    """With progress and graph in MongoDB the result is the same bytes."""
    settings = write_settings(folder, "mongo", (12, 20, 24))
    done("run", settings, "--set", f"store={mongo}")
    assert segments(folder, "mongo") == undisturbed
    assert not (folder / "mongo.db").exists()


def test_a_further_threshold_only_relabels(folder: Path, undisturbed: list[str]) -> None:
    """`segment --threshold` on a finished run writes the new segments and touches nothing else."""
    result = done("segment", folder / "undisturbed.yaml", "--threshold", "0.7", "--json")
    stages = json.loads(result.stdout.splitlines()[-1])["stages"]
    assert [stages[name]["blocks_done"] for name in STAGES[:4]] == [0, 0, 0, 8]
    assert (folder / "undisturbed.zarr" / "segments" / "0.7").exists()
    assert segments(folder, "undisturbed") == undisturbed


def test_status_and_plan_show_every_stage(folder: Path, undisturbed: list[str]) -> None:
    """Both name all stages with their blocks, before and after a run."""
    settings = folder / "undisturbed.yaml"
    rows = json.loads(done("status", settings, "--json").stdout.splitlines()[-1])["stages"]
    assert {row["stage"].partition("/")[0] for row in rows} == set(STAGES)
    assert all(row["done"] == row["blocks"] > 0 for row in rows)
    fresh = write_settings(folder, "fresh", (12, 20, 24))
    rows = json.loads(done("status", fresh, "--json").stdout.splitlines()[-1])["stages"]
    assert all(row["done"] == 0 for row in rows)
    assert len(json.loads(done("plan", fresh, "--json").stdout.splitlines()[-1])["stages"]) == 6
    assert not (folder / "fresh.zarr").exists()
    assert not (folder / "fresh.db").exists()


def test_changed_settings_make_blocks_stale(folder: Path, undisturbed: list[str]) -> None:
    """A run with other settings stops with the reason and `--redo`, and changes nothing."""
    settings = folder / "undisturbed.yaml"
    result = contraband("run", settings, "--set", "fragments.smooth=1.0")
    assert result.returncode == 2
    assert "smooth" in result.stderr
    assert "--redo fragments" in result.stderr
    assert segments(folder, "undisturbed") == undisturbed


@pytest.mark.real_data("gala.npz")
def test_gala_reaches_its_reference(tmp_path: Path) -> None:
    """gala's real boundary probabilities: VOI at most 0.226, and three block shapes give the same bytes."""
    source, container = real_data("gala.npz"), tmp_path / "gala.zarr"
    import_volume(source, container / "affinities", name="boundary_prob", boundaries=True)
    import_volume(source, container / "labels", name="labels")
    found = []
    for number, block in enumerate(["[32, 64, 64]", "[50, 100, 200]", "[17, 40, 110]"]):
        output = tmp_path / f"out{number}.zarr"
        done(
            "run",
            ROOT / "configs" / "gala.yaml",
            "--set",
            f"output={output}",
            "--set",
            f"blocks.shape={block}",
            "--set",
            f"affinities={container}/affinities",
            "--set",
            "cluster.kind=none",
            "--set",
            f"volume={{labels: {container}/labels}}",
        )
        best = json.loads((output / "evaluation.json").read_text())["best"]
        assert best["voi_sum"] <= 0.226
        found.append(digest(Volume(path=output / "segments" / "0.03")))
    assert len(set(found)) == 1
    assert np.isfinite(best["arand"])


@pytest.fixture(scope="module")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty database."""
    with mongo_server(tmp_path_factory.mktemp("mongo")) as address:
        yield fresh_database(address)
