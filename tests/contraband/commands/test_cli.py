"""The command line: help, exit codes, and one clear line for every bad input."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import yaml

from blockwise.errors import BadInput
from contraband.cli import COMMANDS, call, repeat_flags, with_its_command
from contraband.commands.screen import place
from tests.support.paths import ROOT
from tests.support.volumes import cells, store_volume

SHAPE = (12, 20, 24)


@pytest.fixture
def volume(in_tmp: Path) -> Path:
    """A working folder with affinities, labels of the right and of another shape, and a settings file."""
    affinities, labels = cells(SHAPE)
    folder = in_tmp / "vol.zarr"
    store_volume(folder / "affinities", affinities)
    store_volume(folder / "float", affinities.astype(np.float32) / 255)
    store_volume(folder / "swapped", affinities, axis_names=["channel^", "x", "y", "z"])
    store_volume(folder / "bare", affinities, offsets=[])
    store_volume(folder / "positive", affinities, offsets=[[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    store_volume(folder / "labels", labels)
    store_volume(folder / "small", labels[:6])
    store_volume(folder / "coarse", labels, voxel_size=[8, 8, 8])
    settings = {
        "volume": {"labels": "vol.zarr/labels"},
        "affinities": "vol.zarr/affinities",
        "output": "out/a.zarr",
        "blocks": {"shape": [6, 10, 12]},
        "agglomerate": {"stop": 0.1},
        "cluster": {"kind": "none"},
    }
    path = in_tmp / "vol.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


BAD = {
    "affinities=nosuch.zarr/a": "nosuch.zarr/a: no such volume",
    "affinities=vol.zarr": "vol.zarr: is a zarr group",
    "affinities=vol.yaml": "vol.yaml: is not a zarr array",
    "affinities=vol.zarr/labels": "affinities need a channel axis",
    "affinities=vol.zarr/float": "stored as integers",
    "affinities=vol.zarr/swapped": "wrong axis order",
    "affinities=vol.zarr/bare": "one offset per channel is needed",
    "affinities=vol.zarr/positive": "an offset is not negative",
    "affinities=7": "vol.yaml: affinities",
    "volume.labels=vol.zarr/coarse": "different voxel size",
    "volume.labels=vol.zarr/affinities": "without a channel axis",
    "volume.mask=vol.zarr/small": "does not cover the volume",
    "volume.label=x": "volume.label: unknown key",
    "fragment={}": "fragment: unknown key",
    "blocks.shape=[0, 1, 1]": "blocks.shape.0",
    "blocks.shape=[6, 10]": "blocks.shape",
    "blocks.shape=64": "blocks.shape",
    "fragments.low=1.5": "fragments.low",
    "fragments.low=.nan": "vol.yaml",
    "fragments.smooth=-1": "fragments.smooth",
    "fragments.per_section=maybe": "fragments.per_section",
    "edges.offsets=some": "edges.offsets",
    "agglomerate.statistic=median": "agglomerate.statistic: no such statistic",
    "agglomerate.statistic=waterz:mean": "waterz works on a volume in one block only",
    "agglomerate.memory=much": "agglomerate.memory: is not an amount of memory",
    "agglomerate.stop=true": "agglomerate.stop",
    "segment.thresholds=[]": "segment.thresholds",
    "segment.thresholds=[0.5, 0.5]": "segment.thresholds",
    "segment.thresholds=[0.05]": "below agglomerate.stop",
    "evaluate.thresholds=[0.01]": "below agglomerate.stop",
    "evaluate.ignore=[0.5]": "evaluate.ignore.0",
    "output=out/a": "output must end in .zarr",
    "output=vol.yaml/a.zarr": "cannot be made",
    "store=redis://x": "unknown kind of store",
    "store=mongodb://user:secret@127.0.0.1:1/x": "no MongoDB server answers",
    "store=sqlite:///vol.yaml": "vol.yaml",
    "cluster.kind=cloud": "cluster.kind",
    "cluster.workers=0": "cluster.workers",
    "cluster={kind: slurm, memory: 1GB}": "SQLite works on one machine only",
    "model.checkpoint=nosuch": "affinities are both given and predicted",
    "affinities=null": "nothing to segment",
    "nonsense": "--set: is not key=value",
    "a.b.c=[": "is not YAML",
}


@pytest.mark.parametrize("assignment", BAD)
def test_bad_settings_end_with_one_line_and_nothing_written(
    assignment: str, volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line that names the place, no secret in it, and no new file."""
    before = sorted(path for path in volume.parent.rglob("*"))
    assert call(["run", str(volume), "--set", assignment]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert BAD[assignment] in lines[0]
    assert "secret" not in lines[0]
    assert sorted(path for path in volume.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "nosuch.yaml"],
        ["run", "vol.yaml", "--from", "nosuch"],
        ["run", "vol.yaml", "--redo", "nosuch"],
        ["run", "vol.yaml", "--from", "segment", "--to", "edges"],
        ["run", "vol.yaml", "--from", "edges"],
        ["run", "vol.yaml", "--nosuch"],
        ["nosuch"],
        ["segment", "vol.yaml", "--threshold", "high"],
        ["segment", "vol.yaml", "--threshold", "2"],
        ["predict-blockwise", "vol.yaml"],
        ["dashboard", "vol.yaml"],
        ["log", "vol.yaml"],
        ["log", "vol.yaml", "--block", "1,2"],
        ["log", "vol.yaml", "--block", "1,2,x"],
        ["log", "vol.yaml", "--block", "-1,0,0"],
        ["log", "vol.yaml", "--block", "9,9,9"],
        ["log", "vol.yaml", "--block", "0,0,0", "--stage", "edge"],
        ["report", "vol.yaml"],
        ["report"],
        ["train", "--dataset", "x", "--exp", "1"],
        ["train", "--exp", "one"],
        ["import", "nosuch.tif", "new.zarr/raw"],
        ["points", "vol.zarr/labels", "p.csv", "--count", "0"],
        ["points", "vol.zarr/nosuch", "p.csv"],
    ],
    ids=" ".join,
)
def test_bad_command_lines_end_with_one_line(
    arguments: list[str], volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line, and no new file."""
    before = sorted(path for path in volume.parent.rglob("*"))
    assert call(arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert sorted(path for path in volume.parent.rglob("*")) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` ends with 0 and holds a command line to try."""
    assert call([name, "--help"]) == 0
    assert f"Example: contraband {name}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_path_may_name_the_home_folder_and_variables(name: str) -> None:
    """A shell replaces neither in quotes nor after a =, so all that take a path do."""
    for key, hint in get_type_hints(COMMANDS[name], include_extras=True).items():
        kind, *rest = get_args(hint) or (None,)
        if Path in (kind, *get_args(kind)):
            assert [one.callback for one in rest] == [place], key


def test_a_list_may_follow_its_flag() -> None:
    """`--checkpoints 1 2` names two checkpoints, and nothing else is taken apart."""
    given = ["train", "--checkpoints", "1", "2", "--index", "3", "4"]
    wanted = ["train", "--checkpoints", "1", "--checkpoints", "2", "--index", "3", "4"]
    assert repeat_flags(given) == wanted


def test_a_store_of_another_output_is_refused(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An output whose store was made for another one is not taken for finished."""
    assert call(["run", str(volume)]) == 0
    other = ["run", str(volume), "--set", "output=out/b.zarr", "--set", "store=sqlite:///out/a.db"]
    assert call(other) == 2
    assert call([*other, "--redo", "fragments"]) == 2
    assert "belongs to another output" in capsys.readouterr().err
    assert not (volume.parent / "out" / "b.zarr").exists()


ENDING = """
import atexit, sys, threading, time
import contraband.cli
from contraband.__main__ import command
atexit.register(print, "closed")
def late():
    time.sleep(0.1)
    print("thread")
def main():
    threading.Thread(target=late).start()
    print("main")
    sys.exit({code!r})
contraband.cli.main = main
command()
"""


@pytest.mark.parametrize(("code", "want"), [(0, 0), (2, 2), (None, 0), ("said", 1)])
def test_the_process_ends_when_all_is_closed(code: object, want: int):
    """Threads are waited for, what is registered is called, all is flushed, and the exit code is kept."""
    done = subprocess.run([sys.executable, "-c", ENDING.format(code=code)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (want, ["main", "thread", "closed"])


@pytest.mark.parametrize(
    ("command", "line", "wanted"),
    [
        ("run", "x; use --redo edges", "x; use --redo edges"),
        ("predict-blockwise", "x; use --redo predict", "x; use --redo predict"),
        ("evaluate", "x; use --redo edges", "x; use --redo edges (--redo is an option of `contraband run`)"),
        ("segment", "x; start with --from edges", "(--from is an option of `contraband run`)"),
        ("predict-blockwise", "x; run again with --redo-failed", "(--redo-failed is an option of `contraband run`)"),
        ("evaluate", "then `contraband run --redo edges`", "then `contraband run --redo edges`"),
        ("validate", "x; use --redo edges", "(validate has no --redo: remove the output"),
        ("status", "--redofoo is unknown", "--redofoo is unknown"),
    ],
)
def test_advice_names_the_command_that_has_the_option(command: str, line: str, wanted: str) -> None:
    """What the engine advises is an option of `run`; other commands say so."""
    assert with_its_command(line, [command, "vol.yaml"]).endswith(wanted) or wanted in with_its_command(line, [command])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out/a"), 1, "out/a: no space is left on its disk"),
        (OSError(errno.EDQUOT, "Quota exceeded", "out/a"), 1, "out/a: no space is left on its disk"),
        (OSError(errno.EFBIG, "File too large", "out/a"), 1, "out/a: would be larger than a file may be"),
        (OSError(errno.EACCES, "Permission denied", "out/a"), 2, "out/a: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "out/a"), 2, "out/a: Read-only file system"),
        (OSError(errno.EIO, "Input/output error", "out/a"), 2, "out/a: Input/output error"),
        (OSError(errno.ESTALE, "Stale file handle", "out/a"), 2, "out/a: Stale file handle"),
        (OSError(errno.EISDIR, "Is a directory", "out/a"), 2, "out/a: Is a directory"),
        (UnicodeEncodeError("ascii", "a\xfc", 1, 2, "no"), 2, "the locale (ascii) has no \\xfc, which a name here has"),
        (MemoryError(), 1, "the memory does not suffice"),
        (ValueError("A config file at 'a.yaml' is malformed"), 2, "zarr's configuration: config file at 'a.yaml'"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: Exception, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is named, and no traceback is shown."""

    def refused(**_: object) -> None:
        raise error

    monkeypatch.setattr("contraband.cli._all_commands", lambda: refused)
    assert call(["run", "vol.yaml"]) == code
    said = capsys.readouterr().err
    assert said.startswith(f"contraband: {line}")
    assert said.count("\n") == 1


@pytest.mark.parametrize("words", [["status"], ["run"], ["plan"]], ids=lambda words: words[0])
@pytest.mark.parametrize("kilobytes", [150_000, 250_000])
def test_too_little_memory_for_a_process_is_one_line(words: list[str], kilobytes: int, volume: Path) -> None:
    """As by `ulimit -v`: libraries are not loaded then, whatever they say of it."""
    script = (
        "import resource, sys, os; resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 10,) * 2); "
        "os.execv(sys.executable, [sys.executable, '-m', 'contraband', *sys.argv[2:]])"
    )
    command = [sys.executable, "-c", script, str(kilobytes), *words, str(volume / "vol.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"contraband: a process may have only {kilobytes * 1.024 / 1000:.0f} MB (ulimit -v")


@pytest.mark.parametrize(
    ("error", "cause", "is_of_limit"),
    [
        (BadInput("a", "is not a zarr array"), ImportError("a.so: failed to map segment from shared object"), True),
        (BadInput("a", "a chunk cannot be read (can't start new thread)"), None, True),
        (BadInput("a", "is not a zarr array"), ValueError("b"), False),
    ],
)
def test_what_lacks_memory_is_not_blamed_on_a_file(
    error: Exception,
    cause: Exception | None,
    is_of_limit: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only where there is such a limit, and also where the first error was replaced by one of ours."""

    def refused(**_: object) -> None:
        try:
            raise cause or ValueError
        except Exception:
            raise error from None

    monkeypatch.setattr("contraband.cli._all_commands", lambda: refused)
    assert call(["run", "vol.yaml"]) == 2
    assert capsys.readouterr().err.startswith("contraband: a: ")
    monkeypatch.setattr("contraband.commands.ending.resource.getrlimit", lambda _: (300_000 << 10, 300_000 << 10))
    assert call(["run", "vol.yaml"]) == (1 if is_of_limit else 2)
    assert capsys.readouterr().err.startswith("contraband: a process may have only 307 MB") == is_of_limit
