"""What happens inside a process of a run that reaches the planned place. Standard library only: it is loaded first."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "CONTRABAND_FAULT"
"""The folder with the plan. Without it nothing is touched."""

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM, "interrupt": signal.SIGINT}
_HOG_BYTES = 4 << 30
_STEP_BYTES = 8 << 20


@dataclass(frozen=True)
class Strike:
    """One planned fault."""

    place: str
    """What is being done, such as "write in fragments"; see `tests.faults.seams`."""
    moment: str = "before"
    """before or after it; for files also torn (half of a temporary file) and whole (all of it, under its old name); for
    a put only torn (half of it is on its way) and lost (carried out, and nobody was told)."""
    deed: str = "kill"
    """A signal to this very process, raise, hold (until the file `go` is there), hang (for ever) or exhaust (all memory
    it can get)."""
    block: int | None = None
    """Only for this block; None: for any."""
    nth: int = 1
    """The n-th time that a process comes here."""
    times: int = 1
    """So often over all processes together."""


class PlannedFault(Exception):
    """Raised on purpose."""


def write_plan(folder: Path, strike: Strike) -> None:
    """Put the plan where the processes find it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(asdict(strike)))


def read_plan() -> tuple[Path, Strike] | None:
    """The folder and the plan of this process; None if nothing is planned."""
    if VARIABLE not in os.environ:
        return None
    folder = Path(os.environ[VARIABLE])
    return folder, read_plan_in(folder)


def read_plan_in(folder: Path) -> Strike:
    """The plan in a folder."""
    return Strike(**json.loads((folder / "plan.json").read_text()))


def struck(folder: Path) -> list[int]:
    """Ids of the processes in which it happened, in order; in a put, of that in which the proxy runs."""
    return [int(file.read_text() or 0) for file in sorted(folder.glob("struck.*"))]


class Striker:
    """Counts how often the planned place is reached, and strikes."""

    def __init__(self, folder: Path, strike: Strike) -> None:
        self.folder, self.strike = folder, strike
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def due(self, place: str, moment: str, keys: Sequence[int] = ()) -> bool:
        """Whether it is to happen now; saying so uses it up."""
        plan = self.strike
        if (place, moment) != (plan.place, plan.moment) or (plan.block is not None and plan.block not in keys):
            return False
        with self._lock:
            self._counts["reached"] += 1
            return self._counts["reached"] >= plan.nth and self._claim()

    def reach(self, place: str, moment: str, keys: Sequence[int] = ()) -> None:
        """Strike if this is the place."""
        if self.due(place, moment, keys):
            self.do()

    def do(self) -> None:
        """What is planned."""
        deed = self.strike.deed
        if deed in SIGNALS:
            os.kill(os.getpid(), SIGNALS[deed])
        elif deed == "raise":
            raise PlannedFault(f"planned for {self.strike.place}")
        elif deed == "hold":
            while not (self.folder / "go").exists():
                time.sleep(0.01)
        elif deed == "hang":
            threading.Event().wait()
        elif deed == "exhaust":
            _exhaust()
        else:
            raise ValueError(deed)

    def _claim(self) -> bool:
        for number in range(self.strike.times):
            try:
                handle = os.open(self.folder / f"struck.{number:03}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                continue
            os.write(handle, str(os.getpid()).encode())
            os.close(handle)
            return True
        return False


def _exhaust() -> None:
    """Take memory, slowly enough for whoever watches to see it, until killed for it."""
    hog = []
    while len(hog) * _STEP_BYTES < _HOG_BYTES:
        hog.append(b"x" * _STEP_BYTES)
        time.sleep(0.01)
    raise MemoryError("nobody ended this process")
