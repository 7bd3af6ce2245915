"""Volumes in object stores: runs give the bytes that they give on a disk, also killed or where requests fail."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blockwise.arrays.volume import Volume, info
from blockwise.files import objects
from blockwise.files.address import place_of
from tests.support.buckets import BUCKET, SECRET, environment, proxy, s3_server
from tests.support.killing import blocks_done, kill_when
from tests.support.paths import ROOT
from tests.support.servers import free_port
from tests.support.volumes import cells, digest, store_volume, whole

pytestmark = pytest.mark.slow

SHAPE = (24, 40, 48)
SETTINGS = """
volume:     {{labels: "{source}/labels", mask: "{source}/mask"}}
affinities: {source}/affinities
output:     {output}
blocks:     {{shape: [12, 20, 24]}}
segment:    {{thresholds: [0.3, 0.5]}}
cluster:    {{kind: {kind}, workers: 2, threads: 1}}
"""
ARRAYS = ("fragments", "segments/0.3", "segments/0.5")
STORED = f"s3://{BUCKET}/vol.zarr"
FAULTS = ("503", "cut", "lost", "torn", "429")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder."""
    return tmp_path_factory.mktemp("addresses")


@pytest.fixture(scope="module")
def endpoint(folder: Path) -> Iterator[str]:
    """A server with a small volume, which lies on the disk too."""
    affinities, labels = cells(SHAPE)
    mask = np.ones(SHAPE, np.uint8)
    mask[:, :5] = 0
    with s3_server(folder / "s3") as address, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(address).items():
            patch.setenv(name, value)
        for place in (folder / "vol.zarr", place_of(STORED)):
            store_volume(place / "affinities", affinities)
            store_volume(place / "labels", labels)
            store_volume(place / "mask", mask)
        yield address


def settings(folder: Path, name: str, source: object, output: object, kind: str = "none") -> str:
    """A settings file in the working folder."""
    (folder / f"{name}.yaml").write_text(SETTINGS.format(source=source, output=output, kind=kind))
    return f"{name}.yaml"


def contraband(folder: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in the working folder."""
    command = [sys.executable, "-m", "contraband", *arguments]
    own = environment(endpoint) | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=own, capture_output=True, text=True, timeout=280, stdin=subprocess.DEVNULL
    )


def done(folder: Path, endpoint: str, *arguments: str) -> str:
    """What a command prints that must succeed."""
    result = contraband(folder, endpoint, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def digests(output: str | Path) -> list[str]:
    """Of everything that a run has written."""
    return [digest(Volume(path=place_of(output) / name)) for name in ARRAYS]


@pytest.fixture(scope="module")
def on_disk(folder: Path, endpoint: str) -> list[str]:
    """Digests of the run that knows no address."""
    done(folder, endpoint, "run", settings(folder, "disk", "vol.zarr", "out/disk.zarr"))
    return digests(folder / "out" / "disk.zarr")


@pytest.mark.parametrize("source", [STORED, "http"])
def test_inputs_are_read_from_addresses(source: str, folder: Path, endpoint: str, on_disk: list[str]) -> None:
    """Affinities, labels and mask from a bucket, and over http; the output lies on the disk as ever."""
    name = source.partition(":")[0]
    address = f"{endpoint}/{BUCKET}/vol.zarr" if source == "http" else source
    file = settings(folder, name, address, f"out/{name}.zarr")
    done(folder, endpoint, "plan", file, "--no-probe")
    done(folder, endpoint, "run", file)
    assert digests(folder / "out" / f"{name}.zarr") == on_disk
    scores = [json.loads((folder / "out" / f"{one}.zarr" / "evaluation.json").read_text()) for one in (name, "disk")]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("kind", ["none", "local"])
def test_outputs_are_written_to_addresses(kind: str, folder: Path, endpoint: str, on_disk: list[str]) -> None:
    """In one process and on workers; what is no array lies in the working folder, and no secret anywhere."""
    output = f"s3://{BUCKET}/out/{kind}.zarr"
    file = settings(folder, f"out-{kind}", STORED, output, kind)
    done(folder, endpoint, "plan", file)
    assert "at addresses" in done(folder, endpoint, "run", file)
    assert digests(output) == on_disk
    rows = json.loads(done(folder, endpoint, "status", file, "--json").splitlines()[-1])["stages"]
    assert {row["state"] for row in rows} == {"done"}
    assert "best" in done(folder, endpoint, "evaluate", file)
    beside = folder / "s3" / BUCKET / "out"
    assert {"evaluation.json", "report.json"} <= {path.name for path in (beside / f"{kind}.zarr").iterdir()}
    assert (beside / f"{kind}.db").is_file()
    stored = {path for path in folder.rglob("*") if path.is_file()}
    assert not [path for path in stored if SECRET.encode() in path.read_bytes()]


@pytest.fixture(scope="module")
def in_bucket(folder: Path, endpoint: str) -> str:
    """A settings file whose run is finished, with its output in the bucket."""
    file = settings(folder, "used", STORED, f"s3://{BUCKET}/out/used.zarr")
    done(folder, endpoint, "run", file)
    return file


def test_outputs_at_addresses_are_used_as_those_on_disks(folder: Path, endpoint: str, in_bucket: str) -> None:
    """They are exported, measured, corrected and audited; further thresholds are written beside the others."""
    done(folder, endpoint, "export", in_bucket, "used.tif", "--threshold", "0.5")
    assert (folder / "used.tif").is_file()
    assert "objects" in done(folder, endpoint, "objects", in_bucket, "used.csv")
    done(folder, endpoint, "segment", in_bucket, "--threshold", "0.4")
    assert info(Volume(path=place_of(f"s3://{BUCKET}/out/used.zarr/segments/0.4"))).spatial == SHAPE
    done(folder, endpoint, "audit", in_bucket, "--samples", "8")
    assert "1 corrections" in done(folder, endpoint, "correct", in_bucket, "--join", "1,8,1,20,30,40")


@pytest.mark.parametrize("command", ["export", "objects", "clean"])
def test_what_needs_a_disk_says_so(command: str, folder: Path, endpoint: str, in_bucket: str) -> None:
    """One line, exit code 2, and no folder called `s3:`."""
    targets = {"export": [f"s3://{BUCKET}/e.ome.zarr"], "objects": [f"s3://{BUCKET}/e.csv"], "clean": ["--yes"]}
    result = contraband(folder, endpoint, command, in_bucket, *targets[command])
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "is an address" in result.stderr
    assert not (folder / "s3:").exists()


def test_each_shard_is_one_request(folder: Path, endpoint: str, on_disk: list[str]) -> None:
    """Nothing is put together from pieces that a killed writer would leave, and no shard is written twice."""
    with proxy(endpoint) as server:
        done(folder, server.address, "run", settings(folder, "once", STORED, f"s3://{BUCKET}/out/once.zarr"))
    written = {path: count for (method, path), count in server.requests.items() if method == "PUT" and "/c/" in path}
    shards = [path for path in written if "/segments/0.5/c/" in path]
    assert len(shards) == 8
    assert all(written[path] == 1 for path in shards)
    assert not [path for method, path in server.requests if method == "POST"]
    outside = {path for method, path in server.requests if method == "PUT" and "/once.zarr/" not in path}
    assert outside == {f"/{BUCKET}/out/.writable-once.zarr"}


def test_failing_requests_change_nothing(folder: Path, endpoint: str, on_disk: list[str]) -> None:
    """Throttling, errors of the server, answers that are cut or lost and uploads that are torn are tried again."""
    output = f"s3://{BUCKET}/out/faults.zarr"
    with proxy(endpoint, FAULTS) as server:
        told = done(folder, server.address, "run", settings(folder, "faults", STORED, output), "--json")
    assert set(server.met) == set(FAULTS)
    stages = json.loads(told.splitlines()[-1])["stages"].values()
    assert not any(row["blocks_failed"] for row in stages)
    assert digests(output) == on_disk


@pytest.mark.parametrize("stage", ["fragments", "segments/0.3"])
def test_a_killed_run_goes_on(stage: str, folder: Path, endpoint: str, on_disk: list[str]) -> None:
    """Killed with -9 while it writes objects, and started again, a run ends with the same bytes."""
    name = f"killed-{stage[0]}"
    output = f"s3://{BUCKET}/out/{name}.zarr"
    file = settings(folder, name, STORED, output)
    store = folder / "s3" / BUCKET / "out" / f"{name}.db"
    with proxy(endpoint) as server:
        own = environment(server.address) | {"PYTHONPATH": str(ROOT)}

        def in_the_middle() -> bool:
            written = [path for method, path in list(server.requests) if method == "PUT"]
            return sum(f"{name}.zarr/{stage}/c/" in path for path in written) >= 3 and blocks_done(store) > 0

        kill_when(["run", file], in_the_middle, folder, own)
    report = json.loads(done(folder, endpoint, "run", file, "--json").splitlines()[-1])
    assert sum(row["blocks_skipped"] for row in report["stages"].values())
    assert digests(output) == on_disk


def test_credentials_are_told_to_nobody(folder: Path, endpoint: str, on_disk: list[str]) -> None:
    """Refused in the middle of a run: neither what it says nor what it keeps holds the secret or a signature."""
    name = "revoked"
    file = settings(folder, name, STORED, f"s3://{BUCKET}/out/{name}.zarr")
    with proxy(endpoint) as server:
        server.allowed = 200
        result = contraband(folder, server.address, "--verbose", "run", file)
    assert result.returncode
    assert "access is refused" in result.stderr
    status = contraband(folder, endpoint, "status", file, "--json")
    assert "access is refused" in status.stdout
    kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    said = [text.encode() for one in (result, status) for text in (one.stdout, one.stderr)]
    for secret in (SECRET, "Signature=", "AWS4-HMAC"):
        assert not [text for text in [*kept, *said] if secret.encode() in text]


def test_a_changed_input_is_noticed(folder: Path, endpoint: str) -> None:
    """By the tag of its metadata, where a file has its time."""
    source = place_of(f"s3://{BUCKET}/changed.zarr")
    affinities, labels = cells((12, 20, 24))
    for name, data in (("affinities", affinities), ("labels", labels), ("mask", np.ones_like(labels))):
        store_volume(source / name, data)
    file = settings(folder, "changed", source, f"s3://{BUCKET}/out/changed.zarr")
    done(folder, endpoint, "run", file)
    described = source / "affinities" / "zarr.json"
    objects.put(str(described), described.read_bytes() + b"\n")  # it says the same
    result = contraband(folder, endpoint, "run", file)
    assert result.returncode == 2
    assert "fragments: its finished blocks were made from something else: input 0 (affinities) changed" in result.stderr


def test_volumes_are_imported_to_addresses(folder: Path, endpoint: str) -> None:
    """With the last request the array is there; the working folder is as it was."""
    data = np.arange(20 * 30 * 40, dtype=np.uint16).reshape(20, 30, 40)
    np.save(folder / "image.npy", data)
    before = set(folder.iterdir())
    target = f"s3://{BUCKET}/imported.zarr/raw"
    told = done(folder, endpoint, "import", "image.npy", target, "--block", "10,16,16")
    assert told.startswith(f"{target}: 20x30x40 uint16")
    assert np.array_equal(whole(Volume(path=place_of(target))), data)
    assert info(Volume(path=place_of(target))).attributes["identity"]
    again = contraband(folder, endpoint, "import", "image.npy", target)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert f"{target}: exists already" in again.stderr
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("source", "output", "fault"),
    [
        ("s3://none/vol.zarr", "out/x.zarr", "there is no bucket s3://none"),
        (f"s3://{BUCKET}/none.zarr", "out/x.zarr", f"s3://{BUCKET}/none.zarr/affinities: no such volume"),
        (STORED, "s3://none/x.zarr", "there is no bucket s3://none"),
        (STORED, "https://host/x.zarr", "outputs are not written over http"),
        ("https://me:SESAME@host/vol.zarr", "out/x.zarr", "must not hold a user or password"),
    ],
)
def test_wrong_addresses_end_with_one_line(source: str, output: str, fault: str, folder: Path, endpoint: str) -> None:
    """Exit code 2, nothing written, no password said."""
    before = set(folder.rglob("*"))
    file = settings(folder, "wrong", source, output)
    result = contraband(folder, endpoint, "run", file)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert fault in result.stderr
    assert "SESAME" not in result.stderr
    assert set(folder.rglob("*")) - before <= {folder / file}


@pytest.mark.parametrize("why", ["keys", "silence"])
def test_a_server_that_refuses_ends_the_run_soon(why: str, folder: Path, endpoint: str) -> None:
    """Wrong credentials, or nobody there: one line, exit code 2."""
    file = settings(folder, "refused", STORED, f"s3://{BUCKET}/out/refused.zarr")
    with proxy(endpoint) as server:
        own = environment(server.address, "an-unknown-key") if why == "keys" else environment("http://127.0.0.1:1")
        if why == "silence":
            own["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{free_port()}"
        result = subprocess.run(
            [sys.executable, "-m", "contraband", "run", file],
            cwd=folder,
            env=own | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert ("access is refused (InvalidAccessKeyId)" if why == "keys" else "does not answer") in result.stderr


def test_volumes_on_disks_load_nothing_of_it(folder: Path, on_disk: list[str]) -> None:
    """Neither `--help` nor a run on the disk imports the package for object stores."""
    told = "import atexit, sys; from contraband.__main__ import command; sys.argv = ['contraband', *{arguments}]\n"
    told += "atexit.register(lambda: print('loaded' if 'obstore' in sys.modules else 'not loaded'))\ncommand()"
    for arguments in (["--help"], ["run", "disk.yaml"]):
        result = subprocess.run(
            [sys.executable, "-c", told.format(arguments=arguments)],
            cwd=folder,
            env=environment("http://127.0.0.1:1") | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "not loaded" in result.stdout, result.stderr
