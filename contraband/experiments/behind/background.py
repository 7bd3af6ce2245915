"""The session's side of the training behind it: begins its process, hears what it does, and ends it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from blockwise.files.whole import write_json
from contraband.experiments.behind.params import checked, default_params, params_of
from contraband.experiments.behind.rounds import RoundsPlan, read_report
from contraband.label.behind import RoundReport
from contraband.label.image import FeatureImage
from contraband.label.labelling import stem_of
from contraband.label.session import LabelSession, Network
from contraband.label.settings import LabelSettings

log = logging.getLogger(__name__)

BEGINNINGS = 3
"""A process that is killed is begun again, so often in all."""
END_S = 5.0
NICE = 10
"""The page comes first."""


class Background:
    """Trains in a process of its own while it is entered. Neither process, killed, takes a point or leaves the other.

    The process ends when its standard input does, which nobody but this process holds.
    """

    def __init__(self, plan: RoundsPlan, nice: int = NICE) -> None:
        """nice: how much other processes come first, 0 to 19."""
        self.plan = plan
        self._nice = nice
        self.doing = "begins"
        """What it does now, in words."""
        self.pid: int | None = None
        """Of the process."""
        self._changed: Callable[[], None] = lambda: None
        self._process: subprocess.Popen[str] | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._keep_running, daemon=True)

    def __enter__(self) -> Self:
        self.plan.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.plan.folder / "plan.json", self.plan.model_dump(mode="json"))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._thread.join(END_S)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    @property
    def report(self) -> RoundReport | None:
        """What the last round found."""
        return read_report(self.plan)

    def network(self, report: RoundReport, image: FeatureImage) -> Network:
        """The network of a round."""
        from contraband.experiments.behind.network import TrainedNetwork

        return TrainedNetwork(self.plan.folder / report.network, image)

    def listen(self, changed: Callable[[], None]) -> None:
        """Call something, in a thread of its own, whenever there is news."""
        self._changed = changed

    def _keep_running(self) -> None:
        """Run the process, and again if somebody killed it."""
        for _ in range(BEGINNINGS):
            with (self.plan.folder / "training.log").open("w+", encoding="utf-8") as said:
                code = self._run(said)
                said.seek(0)
                lines = said.read().strip().splitlines()
            if self._is_over:
                return
            self._now(f"ended: {lines[-1] if lines else f'its process was ended by {-code}'}")
            if code >= 0:
                return

    def _run(self, said: IO[str]) -> int:
        """Run the process to its end; its exit code."""
        module = "contraband.experiments.behind.trainer"
        command = [sys.executable, "-m", module, str(self.plan.folder / "plan.json"), str(self._nice)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        ) as process:
            self._process = process
            self.pid = process.pid
            assert process.stdout is not None
            for line in process.stdout:
                with suppress(ValueError):
                    self._now(json.loads(line)["doing"])
        return process.returncode

    def _now(self, doing: str) -> None:
        self.doing = doing
        log.info("training: %s", doing)
        self._changed()


def behind(
    data: Mapping[str, Any], settings: LabelSettings, own: Path | None, session: LabelSession, points: Path
) -> Background:
    """A training behind a session, to be entered; BadInput for settings that cannot work.

    data: the content of the VOLUME.yaml. own: sections of a param_dict.json; None: those that fit most.
    """
    dims = session.image.recipe.dims
    channels = session.image.channels
    params = params_of(own) if own else default_params(dims, session.shape, settings.stretch, max(1, len(channels)))
    folder = points.with_name(f"{stem_of(points)}.training")
    plan = RoundsPlan(volume=data, label=settings, points=points, params=params, folder=folder)
    every = tuple(range(info(Volume(path=plan.raw)).channels or 0))
    if channels != every:
        what = "--train trains on all channels of raw in their order"
        todo = "leave out volume.channels, or import those channels alone"
        raise BadInput("volume.channels", what, got=list(channels), wanted=list(every), todo=todo)
    checked(params, plan.raw, own or "--train", dims)
    return Background(plan)
