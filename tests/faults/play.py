"""One point: a run is struck, started again until it is done, and compared."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from blockwise.files.address import on_disk, place_of
from tests.faults.bucket import ADDRESS, striker_of_puts
from tests.faults.points import Point
from tests.faults.strike import VARIABLE, struck, write_plan
from tests.faults.volume import BLOCK, PREDICTED, SETTINGS, sums
from tests.support.buckets import Proxy, proxy
from tests.support.buckets import environment as of_bucket
from tests.support.paths import ROOT
from tests.support.servers import MongoServer, fresh_database

LIMIT_S = 180
_STARTS = 4
PRELOAD = Path(__file__).with_name("preload")


class Wrong(Exception):
    """A run did not end as it should."""


class LeftOut(Exception):
    """This machine does not allow it."""


@dataclass(frozen=True)
class Result:
    """What became of a point."""

    point: Point
    verdict: str
    """`same`, `left out: why` or what went wrong."""
    seconds: float
    starts: int = 0
    """Runs until it was done, the struck one included."""
    first: int | None = None
    """Exit code of the struck run."""
    said: str = ""
    """Its last line on stderr."""

    @property
    def is_same(self) -> bool:
        return self.verdict == "same"

    @property
    def is_left_out(self) -> bool:
        return self.verdict.startswith("left out")


@dataclass
class Play:
    """A folder, a settings file, and the runs of it."""

    point: Point
    source: Path
    """Where the volume is."""
    folder: Path
    mongo: str
    """Address of a server that lives on."""
    endpoint: str = ""
    """Of an object store that lives on."""
    place: Path | None = None
    """Where output and SQLite file lie, if not in the folder."""
    prepare: Callable[[], None] | None = None
    """Is called in the process of the struck run, before it begins."""
    server: MongoServer | None = None
    proxy: Proxy | None = None
    """Before the object store, if the volume lies there."""
    process: subprocess.Popen[bytes] | None = None
    groups: list[int] = field(default_factory=list)
    """Process groups of all runs."""
    _url: str = field(default="")

    @property
    def output(self) -> Path:
        if self.point.is_in_bucket:
            return place_of(f"{ADDRESS}/{self.folder.name}/out.zarr")
        return (self.place or self.folder) / "out.zarr"

    @property
    def beside(self) -> Path:
        """Where the files of the output lie that are no arrays."""
        return self.folder / on_disk(self.output)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "store" / "out.db"

    @property
    def plan(self) -> Path:
        return self.folder / "plan"

    @property
    def store(self) -> str:
        """The URL; a database of its own on the server."""
        if not self._url:
            if self.point.store == "own mongo":
                self.server = MongoServer(self.folder / "mongo")
                self.server.start()
            address = self.server.address if self.server else self.mongo
            self._url = f"sqlite:///{self.database}" if self.point.store == "sqlite" else fresh_database(address)
        return self._url

    def command(self, *flags: str) -> list[str]:
        """The command line, with a settings file of the same name in the folder."""
        path = self.folder / "volume.yaml"
        text = (PREDICTED if self.point.predicts else SETTINGS).format(
            volumes=ADDRESS if self.point.is_in_bucket else self.source,
            folder=self.source,
            output=self.output,
            block=list(BLOCK),
            store=self.store,
        )
        kind = "local" if self.point.executor == "dask" else "none"
        path.write_text(f"{text}cluster:     {{kind: {kind}, workers: 2, threads: 1, dashboard: false}}\n")
        settings = [word for one in (*self.point.settings, *self.point.asked) for word in ("--set", one)]
        return [sys.executable, "-m", "contraband", "run", str(path), *settings, *flags]

    @property
    def starts(self) -> int:
        return len(self.groups)

    def start(self, *flags: str, faults: bool = False) -> subprocess.Popen[bytes]:
        """Start a run, in a process group of its own; with the planned fault or without."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **dict(self.point.environment)}
        environment.pop(VARIABLE, None)
        if self.proxy is not None:
            environment |= of_bucket(self.proxy.address)
        if faults and self.point.strike is not None:
            environment |= {VARIABLE: str(self.plan), "PYTHONPATH": f"{PRELOAD}{os.pathsep}{ROOT}"}
        command = self.command(*flags)
        with (self.folder / "starting").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,  # what belongs to an output at an address lies in the working folder
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(begin, self.prepare if faults else None),
            )
        (self.folder / "starting").rename(self.log(process))
        self.groups.append(process.pid)
        self.process = process
        return process

    def log(self, process: subprocess.Popen[bytes]) -> Path:
        """What a run says on stderr. No pipe: workers that outlive their driver would keep it open."""
        return self.folder / f"{process.pid}.log"

    def wait(self, process: subprocess.Popen[bytes]) -> str:
        """What the run says on stderr, when it has ended."""
        try:
            process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            text = self.log(process).read_text(errors="replace")
            raise Wrong(f"did not end within {LIMIT_S} s: {last(text)}") from None
        return self.log(process).read_text(errors="replace")

    def until_struck(self) -> int:
        """Wait for the strike; the process in which it happens."""
        end = time.monotonic() + LIMIT_S
        while not (found := struck(self.plan)):
            if self.process is None or self.process.poll() is not None or time.monotonic() > end:
                raise Wrong("the run ended before it was struck")
            time.sleep(0.01)
        return found[0]

    def go_on(self) -> None:
        """Let the process that is held go on."""
        (self.plan / "go").touch()


def begin(prepare: Callable[[], None] | None) -> None:
    """In the new process: signals have their usual meaning, even if this program was started in the background."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if prepare is not None:
        prepare()


Scene = Callable[[Play], None]


def play(one: Play, before: Scene, during: Scene, expected: Mapping[str, str]) -> Result:
    """Strike, start again, compare; what was started is ended."""
    begin = time.monotonic()
    first, said, verdict = None, "", "same"
    with ExitStack() as stack:
        try:
            one.folder.mkdir(parents=True)
            if one.point.strike is not None:
                write_plan(one.plan, one.point.strike)
            if one.point.is_in_bucket:
                one.proxy = stack.enter_context(proxy(one.endpoint, one.point.fails))
            if one.proxy is not None and one.point.strike is not None:
                one.proxy.reach = striker_of_puts(one.plan)
            before(one)
            process = one.start(*one.point.flags, faults=True)
            during(one)
            stderr = one.wait(process)
            first, said = process.returncode, last(stderr)
            check_first(one, first, stderr)
            finish(one, first)
            compare(one, expected)
        except Wrong as error:
            verdict = str(error)
        except LeftOut as error:
            verdict = f"left out: {error}"
        finally:
            tidy(one)
    return Result(one.point, verdict, time.monotonic() - begin, one.starts, first, said)


def check_first(one: Play, code: int, stderr: str) -> None:
    """Whether the struck run ended as it should: struck, with the code foreseen, and in one line."""
    if one.point.strike is not None and not struck(one.plan):
        raise Wrong("was never struck")
    if code not in one.point.first:
        raise Wrong(f"the struck run ended with {code}, not {one.point.first}: {last(stderr)}")
    if code >= 0 and "Traceback" in stderr:
        raise Wrong(f"the struck run ended with a traceback: {last(stderr)}")


def finish(one: Play, code: int) -> None:
    """Start again until the run is done."""
    said = ""
    while code != 0:
        if one.starts == _STARTS:
            raise Wrong(f"is not done after {one.starts} starts: {said}")
        process = one.start(*one.point.again)
        said = last(one.wait(process))
        code = process.returncode
        if code == 2:
            raise Wrong(f"was refused when started again: {said}")


def compare(one: Play, expected: Mapping[str, str]) -> None:
    """Whether the output is that of the undisturbed run, with nothing beside it."""
    found = sums(one.output, one.beside)
    different = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if different:
        raise Wrong(f"differs: {', '.join(different)}")
    left = [str(path.relative_to(one.beside)) for path in one.beside.rglob("*.partial")]
    if left:
        raise Wrong(f"half-written files are left: {', '.join(left)}")
    others = [path.name for path in one.output.parent.iterdir() if path != one.output] if one.proxy else []
    if others:
        raise Wrong(f"objects are left beside the output: {', '.join(others)}")
    if one.proxy and set(one.proxy.met) != set(one.point.fails):
        raise Wrong(f"requests met only these faults: {', '.join(one.proxy.met) or 'none'}")


def tidy(one: Play) -> None:
    """End what was started."""
    for group in one.groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    if one.process is not None:
        one.process.wait()
    if one.server is not None:
        one.server.stop()
    disk = one.folder / "disk"
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=False)


def last(text: str) -> str:
    """The last line, without the time and place that make it long."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"\s+", " ", lines[-1])[:300] if lines else ""
