"""Malformed settings, volumes and command lines: each ends with one line that names the fault, and writes nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr

from contraband.cli import call
from contraband.volumes.settings import VolumeSettings
from tests.support.paths import ROOT
from tests.support.volumes import cells, store_volume

SHAPE = (6, 8, 10)
SETTINGS: dict[str, Any] = {
    "volume": {"labels": "vol.zarr/labels", "raw": "vol.zarr/raw"},
    "affinities": "vol.zarr/affinities",
    "output": "out/a.zarr",
    "blocks": {"shape": [3, 8, 10]},
    "cluster": {"kind": "none"},
}
SCHEMA = VolumeSettings.model_json_schema()
WRONG: dict[str, list[Any]] = {
    "integer": ["many", 1.5, True, [], float("nan"), float("inf"), "", "1"],
    "number": ["much", False, {"a": 1}, float("nan"), float("inf"), float("-inf"), "0.5"],
    "string": [3, 0.5, True, [], {}],
    "boolean": ["yes please", 1, 0.0, "true"],
    "array": [7, "text", {}, [[]], [None]],
    "object": [1, "text", [], True],
}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file, folder and link but the settings, with its size and time of change."""
    found = {}
    for parent, folders, names in os.walk(folder):
        found.update({os.path.join(parent, name): (0, 0) for name in folders})
        for name in names:
            state = os.lstat(path := os.path.join(parent, name))
            found[path] = (state.st_size, state.st_mtime_ns)
    return {path: state for path, state in found.items() if not path.endswith(".yaml")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small volume."""
    path = tmp_path_factory.mktemp("bad")
    affinities, labels = cells(SHAPE)
    for name, data in {"affinities": affinities, "labels": labels, "raw": affinities[0]}.items():
        store_volume(path / "vol.zarr" / name, data, SHAPE)
    return path


@pytest.fixture
def refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Runs commands that must end with exit code 2, one line and, in the end, nothing written; returns the line."""
    monkeypatch.chdir(folder)
    before = snapshot(folder)

    def run(*arguments: str) -> str:
        capsys.readouterr()
        code = call(list(arguments))
        lines = capsys.readouterr().err.strip().splitlines()
        assert (code, len(lines)) == (2, 1), lines
        assert len(lines[0]) < 1000
        return lines[0]

    yield run
    assert snapshot(folder) == before


def leaves(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every key of the settings, by its path, with its own part of the schema; objects come before their keys."""
    for name, part in schema.get("properties", {}).items():
        own = resolved(part)
        yield (*path, name), own
        for choice in own["choices"]:
            yield from leaves(choice, (*path, name))


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """The choices that a key has, references followed."""
    choices = [choice for one in part.get("anyOf", part.get("allOf", [part])) for choice in [one]]
    found = []
    for choice in choices:
        found.append(SCHEMA["$defs"][choice["$ref"].rpartition("/")[2]] if "$ref" in choice else choice)
    return {"choices": found}


def wrong_values(own: dict[str, Any]) -> Iterator[Any]:
    """Values that no choice of a key allows: of another type, out of range, too many, too few, unknown words."""
    types = {choice.get("type", "string") for choice in own["choices"]}
    if not types & {"null", "object"}:  # a section of which nothing is left is empty
        yield None
    candidates = [value for kind in sorted(types - {"null"}) for value in WRONG[kind]]
    one_is_enough = {item.get("type") for choice in own["choices"] for item in [choice.get("items", {})]}
    allowed = {kind for one in types | one_is_enough - {None} for kind in same(str(one))}
    yield from (value for value in candidates if kind_of(value) not in allowed)
    for choice in own["choices"]:
        if "minimum" in choice or "exclusiveMinimum" in choice:
            yield from (choice.get("minimum", choice.get("exclusiveMinimum", 0) + 1) - 1, -(2**70))
        if "maximum" in choice:
            yield choice["maximum"] + 1
        if "enum" in choice:
            words = choice["enum"]
            yield from (words[0].upper() + "x", "") if isinstance(words[0], str) else (max(words) + 1,)
        if choice.get("type") == "array":
            yield from ([one] for one in array_faults(choice))
            if "maxItems" in choice:
                yield from ([1] * (choice["maxItems"] + 1), [1] * (choice["maxItems"] - 1))
        if choice.get("type") == "object":
            yield {"nosuchkey": 1}


def array_faults(choice: dict[str, Any]) -> Iterator[Any]:
    item = choice.get("items") or choice.get("prefixItems", [{}])[0]
    yield from (value for value in wrong_values(resolved(item)) if value is not None)


def kind_of(value: Any) -> str:
    """The JSON type of a value; text for what JSON has not."""
    if isinstance(value, float) and not np.isfinite(value):
        return "not finite"
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return kinds[type(value)] if value != [] and value != {} else "empty"


def same(kind: str) -> set[str]:
    """JSON types that pass for another; an empty array or object may be what is wanted."""
    return {"number": {"number", "integer"}, "array": {"array", "empty"}, "object": {"empty"}}.get(kind, {kind})


NUMBERS_AS_TEXT = {("cluster", "account"), ("cluster", "queue")}
GENERATED = [
    (path, value)
    for path, own in leaves(SCHEMA)
    for value in wrong_values(own)
    if not (path in NUMBERS_AS_TEXT and kind_of(value) == "integer")
]


def test_there_are_many_generated_cases() -> None:
    """Every key of the schema is covered."""
    assert len(GENERATED) > 300
    assert {path for path, _ in GENERATED} == {path for path, _ in leaves(SCHEMA)}


NEEDED: dict[str, dict[str, Any]] = {
    "model": {"checkpoint": "x"},
    "classical": {"kind": "nuclei", "dark": False, "radius": 5, "dims": 2},
}
"""Keys without which other keys of a section are not looked at."""


@pytest.mark.parametrize("key", sorted({path for path, _ in GENERATED}), ids=".".join)
def test_a_wrong_value_is_named_by_its_key(key: tuple[str, ...], folder: Path, refused: Callable[..., str]) -> None:
    """Each key with each wrong value, in the file: exit code 2 and the key."""
    for path, value in GENERATED:
        if path != key:
            continue
        data = json.loads(json.dumps(SETTINGS))
        target = data
        for name in path[:-1]:
            target = target.setdefault(name, dict(NEEDED.get(name, {})))
        target[path[-1]] = value
        (folder / "bad.yaml").write_text(yaml.safe_dump(data))
        line = refused("run", "bad.yaml")
        assert "bad.yaml" in line
        assert path[-1] in line or (path, value) == (("affinities",), None), (value, line)


BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))
TEXTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "got nothing, wanted lines such as"),
    "text": (b"segment my volume please", "got one value, wanted lines such as"),
    "a list": (b"- output: a.zarr", "got a list, wanted lines such as"),
    "not closed": (b"blocks: {shape: [1, 2", "not usable YAML"),
    "a tab": (b"blocks:\n\tshape: [1, 2, 3]", "indent by spaces, not by tabs"),
    "a key twice": (b"output: a.zarr\noutput: b.zarr", "output is given twice in line 2"),
    "a key twice within": (b"blocks: {shape: [1, 1, 1], shape: [2, 2, 2]}", "shape is given twice"),
    "aliases of aliases": (BOMB.encode(), "more than 100000 values"),
    "an alias of itself": (b"output: &x [*x]", "part of"),
    "an unknown alias": (b"output: *nosuch", "nosuch"),
    "a program": (b"output: !!python/object/apply:os.system ['touch made']", "not usable YAML"),
    "two documents": (b"output: a.zarr\n---\noutput: b.zarr", "not usable YAML"),
    "numbers as keys": (b"1: 2", "the key 1 is not a text"),
    "null as a key": (b"null: 2", "the key None is not a text"),
    "a list as a key": (b"? [a, b]\n: c", "not"),
    "a date": (b"affinities: 2026-01-01\noutput: a.zarr", "affinities: is a date; got 2026-01-01; put it in quotes"),
    "bytes": (b"output: !!binary aGVsbG8=", "output"),
    "a set": (b"output: !!set {a, b}", "output"),
    "deeply nested": (b"output: " + b"[" * 5000 + b"]" * 5000, "not usable YAML"),
    "a number of 9999 digits": (b"output: " + b"9" * 9999, "not usable YAML"),
    "no UTF-8": (b"output: \xff\xfe\x00", "save it as text in UTF-8"),
    "control characters": (b"output: \x01\x02", "not usable YAML"),
    "UTF-16": ("output: a.zarr".encode("utf-16"), "cannot be read"),
    "a zip": (b"PK\x03\x04" + bytes(range(256)), "cannot be read"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_that_is_no_settings_is_refused(name: str, folder: Path, refused: Callable[..., str]) -> None:
    """Whatever the file holds, the line names it, in little time and memory."""
    text, wanted = TEXTS[name]
    (folder / "bad.yaml").write_bytes(text)
    line = refused("run", "bad.yaml")
    assert "bad.yaml" in line
    assert wanted in line


LONG = "x" * 300
BETWEEN = re.compile(r", (?=[a-z.]+=)")
"""What stands between two `key=value`."""
BY_HAND: dict[str, str] = {
    "output=''": "output",
    "output=.zarr": "must end in .zarr",
    'output="a\\0b.zarr"': "output",
    f"output=out/{LONG}.zarr": "too long",
    f"output={'deep/' * 1000}a.zarr": "too long",
    "output=file.zarr": "file.zarr: is not a folder",
    "output=file.zarr/a.zarr": "file.zarr is a file",
    "output=link.zarr": "symbolic link",
    "output=nowhere.zarr": "symbolic link",
    "output=trap.zarr": "symbolic link",
    "output=vol.zarr/affinities/a.zarr": "overwritten",
    "output=/proc/nosuch/a.zarr": "cannot be written",
    "affinities=given.zarr/fragments, output=given.zarr": "overwritten",
    "volume.labels=given.zarr/agglomeration, output=given.zarr": "overwritten",
    "affinities='vol.zarr/../../../nosuch'": "no such volume",
    'affinities="a\\0b"': "affinities: is not the path",
    f"affinities=vol.zarr/{LONG}": "no such volume",
    "affinities=broken.zarr/text": "not a zarr array",
    "affinities=broken.zarr/truncated": "not a zarr array",
    "affinities=broken.zarr/list": "not a zarr array",
    "affinities=broken.zarr/keys": "broken.zarr/keys: is a zarr group",
    "affinities=broken.zarr/negative": "broken.zarr/negative",
    "affinities=broken.zarr/empty": "empty axis",
    "affinities=broken.zarr/flat": "wrong number of axes",
    "affinities=broken.zarr/codec": "not a zarr array",
    "affinities=broken.zarr/dtype": "not a zarr array",
    "affinities=broken.zarr/folder": "broken.zarr/folder",
    "affinities=broken.zarr/v2": "not a zarr array",
    "affinities=broken.zarr/zero size": "attribute voxel_size makes no sense; got [0, 1, 1], wanted numbers above 0",
    "affinities=broken.zarr/negative size": "wanted numbers above 0",
    "affinities=broken.zarr/NaN size": "attribute voxel_size makes no sense",
    "affinities=broken.zarr/text size": "attribute voxel_size makes no sense",
    "affinities=broken.zarr/short size": "wanted one number per axis z, y, x",
    "affinities=broken.zarr/NaN offset": "attribute offset makes no sense",
    "affinities=broken.zarr/text offsets": "offsets is not a list",
    "affinities=broken.zarr/few offsets": "one offset per channel",
    "affinities=broken.zarr/upward offsets": "not negative",
    "affinities=broken.zarr/huge offsets": "offset",
    "affinities=broken.zarr/units": "units",
    "affinities=broken.zarr/signed": "uint8 or uint16",
    "affinities=broken.zarr/wide": "uint8 or uint16",
    "affinities=huge.zarr/ids": "2**63",
    "affinities=huge.zarr/blocks, volume.labels=null, blocks.shape=[1, 1, 1]": "blocks.shape",
    "volume.labels=nosuch": "nosuch: no such volume",
    "volume.labels=vol.zarr": "vol.zarr: is a zarr group",
    "volume.labels=truth.zarr/moved": "whole voxel of the volume",
    "volume.labels=truth.zarr/outside": "no voxel in common",
    "volume.raw=nosuch": "nosuch: no such volume",
    "volume.mask=vol.zarr/affinities": "mask",
    "volume.mask=nosuch": "nosuch: no such volume",
    "volume.skeletons=nosuch.swc": "nosuch.swc: no such file",
    "volume.skeletons=bad.yaml": "not a known kind of skeleton file",
    "volume.skeletons=vol.zarr": "not a known kind of skeleton file",
    "volume.skeletons=text.swc": "text.swc",
    "volume.skeletons=nan.swc": "nan.swc",
    "volume.skeletons=far.swc": "no node lies in the volume",
    "volume.skeletons=bomb.graphml": "bomb.graphml",
    "volume.skeletons=text.graphml": "text.graphml",
    "store=''": "store",
    "store=sqlite://": "store",
    "store=sqlite:///": "store",
    "store=out.db": "unknown kind of store",
    "store=sqlite:///vol.zarr": "store",
    "store=sqlite:///text.swc": "not an SQLite file",
    "store=sqlite:///torn.db": "torn.db",
    "store=sqlite:///file.zarr/a.db": "file.zarr is a file",
    f"store=sqlite:///{LONG}.db": "too long",
    "store=sqlite:////proc/nosuch/a.db": "cannot be written",
    "store=mongodb://": "store",
    "store=mongodb://host:port/x": "store",
    "store=https://host/x": "unknown kind of store",
    "segment.thresholds=[0.5, 1e-320], agglomerate.stop=0.1": "below agglomerate.stop",
    "segment.thresholds=[0.1234567, 0.12345671]": "different",
    "agglomerate.memory=-5GB": "agglomerate.memory",
    "agglomerate.memory='0'": "agglomerate.memory",
    "agglomerate.memory=nan": "agglomerate.memory",
    "agglomerate.statistic=quantile_101": "no such statistic",
    "agglomerate.statistic='waterz:../x'": "agglomerate.statistic",
    "cluster={kind: local, memory: much}": "cluster.memory",
    "cluster={kind: local, memory: -1GB}": "cluster.memory",
    "cluster={kind: local, workers: 2, gpus: 3}": "gpus",
    "cluster={kind: slurm}": "memory must be given",
    "cluster={kind: ssh, hosts: [one]}": "hosts",
    "cluster.address=nonsense": "no address of a Dask scheduler",
    "affinities=null, model.checkpoint=nosuch": "nosuch",
    "affinities=null, model.checkpoint=vol.zarr": "vol.zarr",
    "affinities=null, model.checkpoint=text.swc": "text.swc",
    "affinities=null, model.checkpoint=pickled": "pickled",
    "affinities=null, model.checkpoint=text.swc, volume.raw=null": "volume.raw",
    "a=1": "a: unknown key",
    "=1": "key=value",
    "volume.=1": "unknown key",
    "..=1": "unknown key",
    "output.x.y=1": "not a mapping",
    f"{LONG * 100}=1": "unknown key",
    "blocks.shape=&a [*a]": "blocks.shape",
    "evaluate.least_voxels=1e9": "evaluate.least_voxels",
}


@pytest.fixture(scope="module")
def traps(folder: Path) -> Path:
    """Broken volumes, links and files beside the good volume."""
    (folder / "file.zarr").write_text("a file")
    (folder / "link.zarr").symlink_to(folder / "vol.zarr")
    (folder / "nowhere.zarr").symlink_to(folder / "not there")
    (folder / "trap.zarr").mkdir()
    (folder / "trap.zarr" / "fragments").symlink_to(folder / "vol.zarr" / "labels")
    (folder / "torn.db").write_bytes(b"SQLite format 3\0" + bytes(range(200)))
    (folder / "text.swc").write_text("1 0 not a number\n")
    (folder / "nan.swc").write_text("1 0 nan nan nan 1 -1\n")
    (folder / "far.swc").write_text("1 0 1e9 1e9 1e9 1 -1\n")
    (folder / "text.graphml").write_text("<graphml><graph>")
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    (folder / "bomb.graphml").write_text(f'<!DOCTYPE x [<!ENTITY e0 "x">{entities}]><graphml>&e11;</graphml>')
    (folder / "pickled").write_bytes(b"cos\nsystem\n(S'touch made'\ntR.")
    _volumes(folder)
    return folder


def _volumes(folder: Path) -> None:
    affinities, labels = cells(SHAPE)
    store_volume(folder / "given.zarr" / "fragments", affinities, SHAPE)
    store_volume(folder / "given.zarr" / "agglomeration", np.ones(SHAPE, np.uint32), SHAPE)
    truth = folder / "truth.zarr"
    store_volume(truth / "float", labels.astype(np.float32), SHAPE)
    store_volume(truth / "moved", labels, SHAPE, offset=[0.5, 0, 0])
    store_volume(truth / "outside", labels[:4], SHAPE, offset=[300, 0, 0])
    broken = folder / "broken.zarr"
    attributes: dict[str, dict[str, Any]] = {
        "zero size": {"voxel_size": [0, 1, 1]},
        "negative size": {"voxel_size": [1, -1, 1]},
        "NaN size": {"voxel_size": [1, float("nan"), 1]},
        "text size": {"voxel_size": "small"},
        "short size": {"voxel_size": [1, 1]},
        "NaN offset": {"offset": [0, float("nan"), 0]},
        "text offsets": {"offsets": "-1,0,0"},
        "few offsets": {"offsets": [[-1, 0, 0]]},
        "upward offsets": {"offsets": [[-1, 0, 0], [0, 1, 0], [0, 0, -1]]},
        "huge offsets": {"offsets": [[-1, 0, 0], [0, -1, 0], [-(2**40), 0, 0]]},
        "units": {"units": 7},
    }
    for name, wrong in attributes.items():
        store_volume(broken / name, affinities, SHAPE, **wrong)
    store_volume(broken / "signed", affinities.astype(np.int16), SHAPE)
    store_volume(broken / "wide", affinities.astype(np.uint64), SHAPE)
    good = json.loads((folder / "vol.zarr" / "affinities" / "zarr.json").read_text())
    for name, text in {
        "text": "no JSON",
        "truncated": json.dumps(good)[:-50],
        "list": "[]",
        "keys": '{"zarr_format": 3}',
        "negative": json.dumps({**good, "shape": [3, 6, -8, 10]}),
        "empty": json.dumps({**good, "shape": [3, 6, 0, 10]}),
        "codec": json.dumps({**good, "codecs": [{"name": "nosuch"}]}),
        "dtype": json.dumps({**good, "data_type": "x"}),
    }.items():
        (broken / name).mkdir()
        (broken / name / "zarr.json").write_text(text)
    zarr.create_array(broken / "flat", shape=(6, 8), dtype="u1")
    (broken / "folder").mkdir()
    (broken / "v2").mkdir()
    (broken / "v2" / ".zarray").write_text('{"zarr_format": 2}')
    offsets = {"offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]}
    for name, shape in {"ids": (3, 2**21, 2**21, 2**22), "blocks": (3, 1, 1, 2**22)}.items():
        chunks = tuple(min(size, 1024) for size in shape)
        zarr.create_array(folder / "huge.zarr" / name, shape=shape, chunks=chunks, dtype="u1", attributes=offsets)


@pytest.mark.parametrize("assignments", BY_HAND, ids=[name[:60] for name in BY_HAND])
def test_a_setting_that_cannot_work_is_named(assignments: str, traps: Path, refused: Callable[..., str]) -> None:
    """Each by hand: the line names the key or the file."""
    (traps / "good.yaml").write_text(yaml.safe_dump(SETTINGS))
    words = [word for one in BETWEEN.split(assignments) for word in ("--set", one)]
    assert BY_HAND[assignments] in refused("run", "good.yaml", *words)


@pytest.mark.parametrize("assignments", [name for name in BY_HAND if name.startswith(("output", "store", "segment"))])
def test_a_dry_run_refuses_what_a_run_refuses(assignments: str, traps: Path, refused: Callable[..., str]) -> None:
    """The output and the store are looked at as well, and nothing is written."""
    (traps / "good.yaml").write_text(yaml.safe_dump(SETTINGS))
    words = [word for one in BETWEEN.split(assignments) for word in ("--set", one)]
    assert BY_HAND[assignments] in refused("run", "good.yaml", "--dry-run", *words)


READS_A_VOLUME = ["run", "predict-blockwise", "segment", "evaluate", "plan", "status", "audit", "view", "dashboard"]
IMPORT = ["import", "good.npy", "new.zarr/raw"]
POINTS = ["points", "vol.zarr/labels", "new.csv"]
SEGMENT = ["segment", "good.yaml", "--threshold"]
COMMANDS: list[tuple[list[str], str]] = [
    *(([name], "Missing argument") for name in [*READS_A_VOLUME, "import", "points"]),
    *(([name, "nosuch.yaml"], "nosuch.yaml: no such file") for name in READS_A_VOLUME),
    *(([name, "vol.zarr"], "vol.zarr: cannot be read") for name in READS_A_VOLUME),
    *(([name, f"{LONG}.yaml"], "cannot be read") for name in ["run", "status"]),
    *(([name, "good.yaml", "--nosuch"], "No such option") for name in READS_A_VOLUME),
    *(([name, "good.yaml", "more"], "unexpected extra argument") for name in READS_A_VOLUME),
    *(([name, "good.yaml", "--set", "blocks.shape=[1]"], "blocks.shape") for name in READS_A_VOLUME),
    *(([name, "good.yaml", "--set", "affinities=nosuch"], "nosuch: no such volume") for name in READS_A_VOLUME[2:7]),
    (["run", "good.yaml", "--set", "affinities=nosuch"], "nosuch: no such volume"),
    (["predict-blockwise", "good.yaml"], "predicts nothing; got affinities, wanted model.checkpoint"),
    (["nosuch"], "nosuch"),
    (["--nosuch"], "--nosuch"),
    (["run", ""], "cannot be read"),
    (["run", "good.yaml", "--from", "../fragments"], "--from: no such stage"),
    (["run", "good.yaml", "--to", ""], "--to: no such stage"),
    (["run", "good.yaml", "--to", "segments"], "did you mean segment?"),
    (["run", "good.yaml", "--from", "fragment"], "did you mean fragments?"),
    (["run", "good.yaml", "--redo", "edge"], "did you mean edges?"),
    (["run", "good.yaml", "--dry-run", "--redo", "edge"], "did you mean edges?"),
    (["import", "${NO_SUCH}/a.npy", "new.zarr/raw"], "there is no variable NO_SUCH"),
    (["import", "good.npy", "~no_such_user/new.zarr/raw"], "no home folder for ~no_such_user"),
    (["points", "${NO_SUCH}/labels", "new.csv"], "there is no variable NO_SUCH"),
    (["report", "${NO_SUCH}/vol.yaml"], "there is no variable NO_SUCH"),
    (["run", "${NO_SUCH}/vol.yaml"], "there is no variable NO_SUCH"),
    (["run", "good.yaml", "--from", "segment", "--to", "fragments"], "--from: lies after --to"),
    (["run", "good.yaml", "--redo", "segment/../0.5"], "--redo: no such stage"),
    (["run", "good.yaml", "--from", "agglomerate"], "is not finished"),
    (["run", "good.yaml", "--set"], "requires an argument"),
    ([*SEGMENT, "nan"], "thresholds"),
    ([*SEGMENT, "inf"], "thresholds"),
    ([*SEGMENT, "-0.1"], "thresholds"),
    ([*SEGMENT, "1.0001"], "thresholds"),
    ([*SEGMENT, "../../x"], "--threshold"),
    ([*SEGMENT, ""], "--threshold"),
    (["evaluate", "good.yaml", "--set", "volume.labels=null"], "nothing to evaluate against"),
    (["audit", "good.yaml"], "is not finished"),
    (["audit", "good.yaml", "--samples", "0"], "--samples"),
    (["audit", "good.yaml", "--samples", "1.5"], "--samples"),
    (["audit", "good.yaml", "--predicted", "-1"], "--predicted"),
    (["dashboard", "good.yaml"], "no run is going on"),
    (["view", "good.yaml", "--port", "65536"], "--port"),
    (["view", "good.yaml", "--port", "-1"], "--port"),
    (["view", "good.yaml", "--bind", "no host"], "no host"),
    (["demo", "--output", "file.zarr"], "file.zarr"),
    (["demo", "--output", "file.zarr/demo"], "file.zarr"),
    (["demo", "--output", LONG], "too long"),
    (["points", "vol.zarr/nosuch", "new.csv"], "no such volume"),
    (["points", LONG, "new.csv"], "no such volume"),
    ([*POINTS, "--count", "-1"], "--count"),
    ([*POINTS, "--count", "99999"], "too few"),
    ([*POINTS, "--seed", "-1"], "--seed"),
    ([*POINTS, "--seed", "x"], "--seed"),
    (["points", "vol.zarr/affinities", "new.csv"], "labels"),
    (["points", "truth.zarr/float", "new.csv"], "labels"),
    (["points", "zeros.zarr/labels", "vol.zarr"], "vol.zarr"),
    (["points", "zeros.zarr/labels", "file.zarr/new.csv"], "file.zarr"),
    (["points", "zeros.zarr/labels", f"{LONG}.csv"], "too long"),
    (["report"], "nothing to report on"),
    (["report", "good.yaml"], "report.json"),
    (["report", "nosuch.yaml"], "nosuch.yaml"),
    (["report", "--dataset", "x"], "--exp"),
    (["report", "--dataset", "nosuch", "--exp", "1"], "nosuch"),
    (["report", "--dataset", "../vol.zarr", "--exp", "1"], "../vol.zarr"),
    (["report", "--dataset", "/etc", "--exp", "1"], "/etc"),
    (["report", "--dataset", "", "--exp", "1"], "dataset"),
    (["report", "--dataset", "x", "--exp", "-1"], "exp"),
    (["report", "--dataset", LONG, "--exp", "1"], LONG[:40]),
    (["report", "--dataset", "bad", "--exp", "1"], "param_dict.json"),
    (["report", "--dataset", "bad", "--exp", "2"], "param_dict.json"),
    (["report", "--dataset", "bad", "--exp", "3"], "ambiguous"),
    (["train", "--dataset", "x"], "--exp"),
    (["train", "--exp", "1"], "--dataset"),
    (["train", "--dataset", "x", "--exp", "one"], "--exp"),
    (["train", "--dataset", "x", "--exp", "1", "--mode", "magic"], "--mode"),
    (["import", "nosuch.npy", "new.zarr/raw"], "nosuch.npy"),
    (["import", LONG, "new.zarr/raw"], LONG[:40]),
    (["import", "good.npy", "new.zarr"], "names no array"),
    (["import", "good.npy", "vol.zarr/raw"], "exists already"),
    (["import", "good.npy", "vol.zarr/raw/more"], "is an array, not a group"),
    (["import", "good.npy", "file.zarr/raw"], "is a file"),
    (["import", "good.npy", f"{LONG}.zarr/raw"], "too long"),
    (["import", "good.npy", "/proc/new.zarr/raw"], "cannot be written"),
    (["import", "good.npy", ""], "exists already"),
    (["import", "good.npy", "new.zarr/../../etc/raw"], ".."),
    (["import", "good.yaml", "new.zarr/raw"], "good.yaml"),
    (["import", "pickled.npy", "new.zarr/raw"], "pickled.npy"),
    (["import", "torn.npy", "new.zarr/raw"], "torn.npy"),
    (["import", "text.npz", "new.zarr/raw"], "text.npz"),
    (["import", "text.tif", "new.zarr/raw"], "text.tif"),
    (["import", "text.h5", "new.zarr/raw"], "text.h5"),
    (["import", "empty.npy", "new.zarr/raw"], "empty.npy"),
    (["import", "words.npy", "new.zarr/raw"], "words.npy"),
    (["import", "nan.npy", "new.zarr/raw", "--boundaries"], "nan.npy"),
    (["import", "large.npy", "new.zarr/raw", "--boundaries"], "large.npy"),
    (["import", "broken.zarr/list", "new.zarr/raw"], "list"),
    ([*IMPORT, "--axes", "zzz"], "axes"),
    ([*IMPORT, "--axes", "yx"], "--axes"),
    ([*IMPORT, "--axes", ""], "axes"),
    ([*IMPORT, "--voxel-size", "1,2"], "--voxel-size"),
    ([*IMPORT, "--voxel-size", "1,0,1"], "voxel_size"),
    ([*IMPORT, "--voxel-size", "1,nan,1"], "voxel_size"),
    ([*IMPORT, "--voxel-size", "1,inf,1"], "voxel_size"),
    ([*IMPORT, "--voxel-size", "-1,1,1"], "voxel_size"),
    ([*IMPORT, "--offset", "0,nan,0"], "offset"),
    ([*IMPORT, "--offset", "a,b,c"], "--offset"),
    ([*IMPORT, "--units", "parsec"], "units"),
    ([*IMPORT, "--crop", "z=3:1"], "--crop"),
    ([*IMPORT, "--crop", "z=0:99"], "--crop"),
    ([*IMPORT, "--crop", "w=0:1"], "--crop"),
    ([*IMPORT, "--crop", "z=-1:2"], "--crop"),
    ([*IMPORT, "--crop", "z=0:0"], "--crop"),
    ([*IMPORT, "--crop", ","], "--crop"),
    ([*IMPORT, "--quantise"], "good.npy"),
    ([*IMPORT, "--quantise", "--boundaries"], "exclude each other"),
    ([*IMPORT, "--offsets", "-1,0"], "--offsets"),
    ([*IMPORT, "--offsets", "-1,0,0"], "--offsets"),
    ([*IMPORT, "--block", "0,1,1"], "block"),
    ([*IMPORT, "--block", "1.5,1,1"], "--block"),
    ([*IMPORT, "--name", "nosuch"], "nosuch"),
]


@pytest.fixture(scope="module")
def files(traps: Path) -> Path:
    """Sources for imports, and experiments that are broken, beside the rest."""
    (traps / "good.yaml").write_text(yaml.safe_dump(SETTINGS))
    np.save(traps / "good.npy", np.arange(480, dtype=np.uint8).reshape(SHAPE))
    np.save(traps / "empty.npy", np.zeros((3, 0, 4), np.uint8))
    np.save(traps / "words.npy", np.array([[["a", "b"]]]))
    np.save(traps / "nan.npy", np.full(SHAPE, np.nan, np.float32))
    np.save(traps / "large.npy", np.full(SHAPE, 7, np.float32))
    np.save(traps / "pickled.npy", np.array([[[{"a": 1}]]], dtype=object))
    (traps / "torn.npy").write_bytes((traps / "good.npy").read_bytes()[:200])
    for suffix in ("npz", "tif", "h5"):
        (traps / f"text.{suffix}").write_text("text")
    (traps / "locked").mkdir()
    zeros = np.zeros(SHAPE, np.uint32)
    zeros[:3] = 1
    store_volume(traps / "zeros.zarr" / "labels", zeros, SHAPE)
    for number, text in (("1-a", "{"), ("2-a", '{"nosuch": 1}'), ("3-a", ""), ("3-b", "")):
        folder = traps / "experiments" / "bad" / f"EXP{number}-1-1-2026"
        folder.mkdir(parents=True)
        (folder / "param_dict.json").write_text(text)
    return traps


@pytest.mark.parametrize(("words", "wanted"), COMMANDS, ids=[" ".join(words)[:60] for words, _ in COMMANDS])
def test_a_command_line_that_cannot_work_is_refused(
    words: list[str], wanted: str, files: Path, refused: Callable[..., str]
) -> None:
    """Every command: exit code 2 and one line that names the flag, the key or the file."""
    assert wanted in refused(*words)


def test_a_process_of_its_own_ends_the_same(files: Path) -> None:
    """What the shell sees: exit code 2, one line on stderr, nothing on stdout, no traceback."""
    before = snapshot(files)
    command = [sys.executable, "-m", "contraband", "run", str(files / "good.yaml"), "--set", "fragments.low=.nan"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("contraband: ")
    assert "fragments.low" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert snapshot(files) == before


def test_a_folder_that_nobody_may_write_is_refused(files: Path, refused: Callable[..., str]) -> None:
    """Not even root: the flag that no file may be made there is found before anything runs."""
    locked = files / "locked"
    chattr = shutil.which("chattr") or "chattr"
    try:
        done = subprocess.run([chattr, "+i", str(locked)], capture_output=True).returncode == 0
    except OSError:
        done = False
    if not done:
        locked.chmod(0o500)
    try:
        try:
            (locked / "try").mkdir()
        except OSError:
            line = refused("run", "good.yaml", "--set", "output=locked/a.zarr", "--set", "store=sqlite:///b.db")
            assert "cannot be written" in line
            assert "locked/a.zarr" in line
        else:
            (locked / "try").rmdir()
            pytest.skip("this user may write everywhere, and the file system has no flag against it")
    finally:
        subprocess.run([chattr, "-i", str(locked)], capture_output=True) if done else locked.chmod(0o700)


@pytest.mark.parametrize("damage", ["truncated", "overwritten"])
def test_a_damaged_shard_ends_the_run_with_its_block(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only reading tells: exit code 1 (what is finished is kept), the stage and the block in one line."""
    monkeypatch.chdir(tmp_path)
    store_volume(tmp_path / "vol.zarr" / "affinities", cells(SHAPE)[0], SHAPE)
    (tmp_path / "vol.yaml").write_text(yaml.safe_dump({key: SETTINGS[key] for key in SETTINGS if key != "volume"}))
    (shard,) = (path for path in (tmp_path / "vol.zarr" / "affinities" / "c").rglob("*") if path.is_file())
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-20] if damage == "truncated" else whole[:-20] + b"x" * 20)
    assert call(["run", "vol.yaml"]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("contraband: fragments: ")
    assert "what is finished is kept" in line
