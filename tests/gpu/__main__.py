"""`make gpu`: every check that needs a GPU, in at most ten minutes, and one table of what was found.

`--quick` takes smaller volumes, `--only NAME` (may be repeated) some checks, `--device cpu` tries the checks themselves
where there is no GPU. A check that fails stops no other. Exit code 1 if one failed, 3 if there is no GPU. The table is
also written to out/gpu.json. What has to be installed: deploy/requirements-gpu-checks.txt.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from blockwise.errors import one_line
from tests.benchmarks.machine import describe
from tests.benchmarks.report import Row, aligned, number, reached
from tests.gpu import predicting, running, training
from tests.gpu.trial import Check, LeftOut, Trial

CHECKS: dict[str, Check] = {
    "float32": predicting.float32,
    "bfloat16": predicting.bfloat16,
    "tiles": predicting.tiles,
    "memory": predicting.memory,
    "compiled": predicting.compiled,
    "training": training.steps,
    "compile": training.compiled,
    "augmentation": training.augmentation,
    "groups": running.groups,
    "shared": running.shared,
    "speed": running.speed,
    "several": running.several,
    "busy": running.busy,
}
ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 570.0
"""A check that would begin later than this fails instead, unless another limit is given."""
NO_DEVICE = 3
HEAD = ("check", "figure", "wanted", "verdict", "note")


@dataclass(frozen=True)
class Line:
    """One line of the table, in words."""

    check: str
    figure: str
    wanted: str
    verdict: str
    """ok, FAILED, left out, or nothing where no figure was wanted."""
    note: str = ""


def main(arguments: Sequence[str] | None = None, checks: Mapping[str, Check] = CHECKS) -> int:
    """Check, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller volumes")
    parser.add_argument("--only", action="append", choices=list(checks), help="one check; may be repeated")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: try the checks themselves")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help="seconds after which no check begins")
    parser.add_argument("--json", type=Path, default=ROOT / "out" / "gpu.json", help="where the table is written")
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("gpu: torch sees no CUDA device here; --device cpu tries the checks themselves on the processor")
        return NO_DEVICE
    if chosen.device == "cpu":
        torch.set_num_threads(1)  # as many as a worker has: on a CPU the sums of a network depend on it
    folder = Path(tempfile.mkdtemp(prefix="gpu-"))
    begin = time.monotonic()
    where = place(chosen.device)
    print(where, flush=True)
    wanted = {name: check for name, check in checks.items() if name in (chosen.only or checks)}
    try:
        lines = list(carried_out(wanted, Trial(chosen.device, folder, chosen.quick), chosen.limit))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write_json(chosen.json, where, lines)
    print("\n".join(aligned([HEAD, *(tuple(asdict(line).values()) for line in lines)], left=(0, 3, 4))))
    failed = sum(line.verdict == "FAILED" for line in lines)
    print(f"{len(wanted)} checks in {time.monotonic() - begin:.0f} s: {failed} of {len(lines)} lines failed")
    return 1 if failed else 0


def place(device: str) -> str:
    """The device, the machine and torch in one line."""
    name = torch.cuda.get_device_name(0) if device == "cuda" else "no GPU, the checks themselves"
    return f"{name}; {describe()}, torch {torch.__version__}"


def carried_out(checks: Mapping[str, Check], trial: Trial, limit_s: float) -> Iterator[Line]:
    """The lines of all checks; one that raises has a line with its error, and the others go on.

    limit_s: a check that would begin later than this after the first has a line that says so.
    """
    begin = time.monotonic()
    for name, check in checks.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        if time.monotonic() - begin > limit_s:
            yield Line(name, "", "", "FAILED", "was not begun: the time is over")
            continue
        try:
            for row in check(trial):
                yield line_of(row)
        except LeftOut as reason:
            yield Line(name, "", "", "left out", str(reason))
        except Exception as error:
            yield Line(name, "", "", "FAILED", one_line(f"{type(error).__name__}: {error}")[:300])


def line_of(row: Row) -> Line:
    """A figure with its verdict; what is no number fails."""
    verdict = {None: "", True: "ok", False: "FAILED"}[reached(row)]
    figure = f"{number(row.value)} {row.unit}".strip() if math.isfinite(row.value) else "no number"
    return Line(row.what, figure, row.goal, verdict if math.isfinite(row.value) else "FAILED", row.note)


def write_json(path: Path, where: str, lines: Iterable[Line]) -> None:
    """The table for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": where, "lines": [asdict(line) for line in lines]}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
