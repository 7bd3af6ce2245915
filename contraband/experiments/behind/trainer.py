"""The process of the training behind a session: round after round, with the newest labels each time.

`python -m contraband.experiments.behind.trainer PLAN.json NICE`. It reads the points that the session writes and
changes none of its files, says in lines of JSON what it is doing, and ends with the session, however that one ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from blockwise.errors import BadInput, BlockwiseError
from blockwise.settings import read_yaml
from contraband.experiments.behind.rounds import LEAST, RoundsPlan, TrainingRound, check_enough, read_report
from contraband.experiments.child import end_with_parent
from contraband.experiments.study.encoders import turn
from contraband.label.pairs import LabelPair, pairs_beside, read_pairs
from contraband.label.record import Point, latest
from contraband.samples.points import read_points

LOOK_S = 0.5
"""Between two looks at the points."""
GROWN = 1.5
"""A round is given up once there are so many times the labels that it began with."""


class Overtaken(Exception):
    """There are so many more labels that it is better to begin again."""


class Rounds:
    """Rounds of one session."""

    def __init__(self, plan: RoundsPlan) -> None:
        self._plan = plan
        self._said_s = 0.0
        self._begun_with = 0

    def run(self) -> None:
        """Round after round, as long as there are new labels; for ever."""
        while True:
            points, pairs = self._labels()
            try:
                check_enough(points)
            except BadInput:
                _say(f"waits for labels: {LEAST} inside, and {LEAST} of each other class that has any")
            else:
                self._round(points, pairs)
            time.sleep(LOOK_S)

    def _round(self, points: Sequence[Point], pairs: Sequence[LabelPair]) -> None:
        """A round of these labels, unless that is done already."""
        wanted = TrainingRound(self._plan, points, pairs, self._tell)
        report = read_report(self._plan)
        if report is None or report.digest != wanted.digest:
            self._begun_with = len(points)
            try:
                report = wanted.run()
            except Overtaken:
                return
        _say("done, and waits for more labels", report.digest)
        while self._labels() == (points, pairs):
            time.sleep(LOOK_S)

    def _tell(self, doing: str, step: int, total: int) -> None:
        now = time.monotonic()
        if now - self._said_s > LOOK_S or step == total:
            self._said_s = now
            _say(f"{doing}, step {step} of {total}, {self._begun_with} labels")
            if len(self._labels()[0]) >= GROWN * self._begun_with:
                raise Overtaken

    def _labels(self) -> tuple[tuple[Point, ...], list[LabelPair]]:
        """Points and pairs of the moment; none while there is no file, or somebody is writing a line."""
        try:
            found = read_points(self._plan.points)
            both = read_pairs(pairs_beside(self._plan.points))
        except BadInput:
            return (), []
        pairs = zip(found.positions.tolist(), found.labels.tolist(), strict=True)
        return latest([Point((z, y, x), label) for (z, y, x), label in pairs]), both


def main(arguments: Sequence[str]) -> int:
    """Train as long as the parent lives; the exit code where that cannot be done."""
    import torch

    end_with_parent()
    os.nice(int(arguments[1]))
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
    try:
        plan = RoundsPlan.parse(read_yaml(Path(arguments[0])), arguments[0])
        with turn(plan.folder / ".lock"):  # a process that was killed may hold it for a moment
            Rounds(plan).run()
    except BlockwiseError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _say(doing: str, digest: str = "") -> None:
    sys.stdout.write(json.dumps({"doing": doing, "digest": digest}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
