"""The command as a process among others: interrupted, without streams, without a home, in a folder that is gone."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from blockwise.cluster.interrupts import SIGNALS
from contraband.cli import app
from contraband.commands.ending import INTERRUPTED
from tests.support.paths import ROOT
from tests.support.volumes import cells, store_volume

SHAPE = (8, 12, 16)
COMMAND = [sys.executable, "-m", "contraband"]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A settings file beside a small volume, with many blocks."""
    return settings_in(tmp_path)


@pytest.fixture
def open_settings() -> Iterator[Path]:
    """The same in a folder that others reach; pytest closes those above its own again whenever another one begins."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield settings_in(Path(folder))


def settings_in(folder: Path) -> Path:
    """A settings file beside a small volume, with many blocks."""
    store_volume(folder / "vol.zarr" / "affinities", cells(SHAPE)[0])
    path = folder / "vol.yaml"
    write(path)
    return path


def write(path: Path, **changes: object) -> None:
    """Write it, with other values."""
    folder = path.parent
    data = {"affinities": f"{folder}/vol.zarr/affinities", "output": f"{folder}/a.zarr", "blocks": {"shape": [2, 4, 4]}}
    path.write_text(yaml.safe_dump({**data, "cluster": {"kind": "none"}, **changes}))


def run(
    *arguments: object, prefix: tuple[str, ...] = (), environment: dict[str, str] | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    full = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    full = {name: value for name, value in full.items() if value != "UNSET"}
    command = [*prefix, *COMMAND, *map(str, arguments)]
    return subprocess.run(command, env=full, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("kind", ["none", "local"])
@pytest.mark.slow
def test_closed_streams_stop_nothing(closed, kind, settings):
    """Services close them; the work is done, and nothing is written where it should not be."""
    write(settings, cluster={"kind": kind, "workers": 1}, blocks={"shape": SHAPE})
    done = run("run", settings, prefix=("sh", "-c", f'"$@" {closed}', "x"))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert (settings.parent / "a.zarr" / "segments" / "0.5").is_dir()
    for path in settings.parent.rglob("*.json"):
        json.loads(path.read_text())


HOMES = {
    "unset": {"HOME": "UNSET", "XDG_CACHE_HOME": "UNSET"},
    "not there": {"HOME": "/no/such/home", "XDG_CACHE_HOME": "UNSET"},
    "a file": {"HOME": "/etc/passwd"},
    "a cache that cannot be written": {"NUMBA_CACHE_DIR": "/proc/nothing", "HOME": "/proc"},
}


@pytest.mark.parametrize("kind", ["none", "local"])
@pytest.mark.parametrize("name", HOMES)
@pytest.mark.slow
def test_a_home_is_not_needed(name, kind, open_settings):
    """As in a container whose user has a number and nothing else; and no folder called ~ is made."""
    user = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--inh-caps=+dac_read_search")
    user += ("--ambient-caps=+dac_read_search",)
    settings = open_settings
    is_reached = all(parent.stat().st_mode & stat.S_IXOTH for parent in settings.parents)
    if not is_reached or os.getuid() or subprocess.run([*user, "true"], capture_output=True).returncode:
        user = ()  # only root may become nobody in particular
    write(settings, cluster={"kind": kind, "workers": 1}, blocks={"shape": SHAPE})
    for path in (settings.parent, *settings.parent.rglob("*")):
        if user:
            os.chown(path, 54321, 54321)
    names = dict.fromkeys(("USER", "LOGNAME"), "UNSET")
    done = run("run", settings, prefix=user, environment={**names, **HOMES[name]}, cwd=settings.parent)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert not (settings.parent / "~").exists()


@pytest.mark.parametrize("command", ["run", "status", "plan", "clean"])
def test_a_working_folder_that_is_gone_is_named(command, settings):
    """In one line, whatever else is given."""
    gone = settings.parent / "gone"
    gone.mkdir()
    done = run(command, settings, prefix=("sh", "-c", f'cd {gone} && rmdir {gone} && "$@"', "x"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "the working folder: is gone" in done.stderr


SURROUNDINGS = {
    "no thread": ({"NUMBA_NUM_THREADS": "0"}, "the variable NUMBA_NUM_THREADS: is no number of threads; got '0'"),
    "threads in words": ({"NUMBA_NUM_THREADS": "four"}, "NUMBA_NUM_THREADS: is no number of threads; got 'four'"),
    "zarr does nothing at once": (
        {"ZARR_ASYNC__CONCURRENCY": "0"},
        "zarr's configuration: async.concurrency: cannot be",
    ),
    "zarr indents by words": ({"ZARR_JSON_INDENT": "two"}, "zarr's configuration: json_indent: cannot be; got two"),
    "no YAML for zarr": ({"ZARR_CONFIG": "CONFIG"}, "zarr's configuration: config file at"),
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_what_keeps_a_library_from_working_is_named(name, settings):
    """In one line at once: one of them had a run wait for ever, the others show how a library is built."""
    environment, line = SURROUNDINGS[name]
    (settings.parent / "broken.yaml").write_text("async: [")
    given = {key: str(settings.parent) if value == "CONFIG" else value for key, value in environment.items()}
    done = run("run", settings, environment=given)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr


@pytest.mark.parametrize("most", [10, 20, 30])
def test_too_few_files_end_with_a_line(most, settings):
    """Already without workers; or they are enough."""
    done = run("run", settings, prefix=("sh", "-c", f'ulimit -n {most}; "$@"', "x"))
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0 or "ulimit -n" in done.stderr or "Too many open files" in done.stderr


def interrupt(settings: Path, after_s: float, times: int, number: int = signal.SIGINT) -> tuple[int, float, str]:
    """Interrupt a run, as a terminal does, all its processes; its exit code, how long it took to end, stderr.

    Other signals go to the command itself.
    """
    process = subprocess.Popen(
        [*COMMAND, "run", str(settings)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(after_s)
    for _ in range(times):
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        elif process.poll() is None:
            process.send_signal(number)
        time.sleep(0.3)
    begin = time.monotonic()
    _, said = process.communicate(timeout=60)
    end = time.monotonic()
    assert not left(process.pid)
    return process.returncode, end - begin, said


def left(group: int, patience_s: float = 5) -> list[int]:
    """Processes of a group that do not end by themselves."""
    end = time.monotonic() + patience_s
    while True:
        found = [one.pid for one in psutil.process_iter() if in_group(one, group)]
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def in_group(process: psutil.Process, group: int) -> bool:
    """Whether a process is of the group and runs."""
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


@pytest.mark.parametrize(
    ("after_s", "times"), [(0.15, 1), (0.5, 1), (1.0, 1), (1.5, 1), (2.0, 1), (3.0, 1), (4.5, 1), (1.5, 2), (3.0, 3)]
)
@pytest.mark.slow
def test_ctrl_c_ends_a_run_with_one_line_whenever_it_comes(after_s, times, settings):
    """Also while modules are loaded and while workers start, once or more; no process is left, and a run goes on."""
    write(settings, cluster={"kind": "local", "workers": 2})
    code, took_s, said = interrupt(settings, after_s, times)
    assert "Traceback" not in said, said
    assert "Error" not in said, said
    assert took_s < 60
    lines = [line for line in said.splitlines() if line.startswith("contraband:")]
    assert (code, len(lines)) == (1, 1) or code in (-signal.SIGINT, 0), said
    write(settings)
    assert run("run", settings).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_batch_systems_end_is_an_interrupt(number, settings):
    """While workers start and while they work."""
    write(settings, cluster={"kind": "local", "workers": 1})
    for after_s in (1.2, 4.0):
        code, took_s, said = interrupt(settings, after_s, 1, number)
        assert "Traceback" not in said, said
        assert took_s < 60
        assert code in (0, 1, -number)


NOTIFIED = """
import signal, sys
import contraband.cli
contraband.cli._all_commands = lambda: lambda **_: signal.raise_signal(int(sys.argv[1]))
contraband.cli.main(["run"])
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_notice_before_the_end_is_an_interrupt(number):
    """Batch systems send one some time before they kill, and it would kill whoever does not look out for it."""
    command = [sys.executable, "-c", NOTIFIED, str(int(number))]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"contraband: {INTERRUPTED.line}\n")


ENDED = """
import atexit, signal, sys
import contraband.cli
from blockwise.errors import BadInput

def ends(**_):
    if code:
        raise BadInput("vol.yaml", "is wrong")

def interrupt():
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)

class Told:
    def write(self, text):
        if when == "while it is said":
            interrupt()
        return sys.__stderr__.write(text)
    flush = sys.__stderr__.flush

when, code, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.stderr = Told()
contraband.cli._all_commands = lambda: ends
if when == "afterwards":
    atexit.register(interrupt)
contraband.cli.main(["run"])
"""


@pytest.mark.parametrize("when", ["while it is said", "afterwards"])
@pytest.mark.parametrize("code", [0, 2])
@pytest.mark.parametrize("times", [1, 2, 3, 5])
def test_a_command_that_has_ended_has_one_line_and_one_exit_code(when, code, times):
    """However often it is interrupted while threads are waited for: what it has said stays true."""
    command = [sys.executable, "-c", ENDED, when, str(code), str(times)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "contraband: vol.yaml: is wrong\n" if code else "")


def test_what_others_keep_of_the_log_stays_theirs(settings):
    """What a command shows of it is its own choice, not that of a notebook or of the blocks' logs beside it."""
    kept = logging.Handler(logging.INFO)
    logging.getLogger().addHandler(kept)
    try:
        assert CliRunner().invoke(app, ["status", str(settings)]).exit_code == 0
        assert kept.level == logging.INFO
    finally:
        logging.getLogger().removeHandler(kept)
