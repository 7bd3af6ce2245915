"""`make scale`: the line on synthetic volumes of growing size, one killed twice, and what 10^12 and 10^15 voxels need.

Sizes are 10^7 and 10^8 voxels; `--up-to 9` and `--up-to 10` go on, `--quick` stays at 10^7. Nothing but fragments,
store and dendrogram of one run is on the disk at a time. What is measured is kept in out/scale: interrupted, and
started again, it goes on where it stopped; `--again` forgets. `--tell` measures nothing and prints what there is.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from tests.benchmarks.machine import describe
from tests.scale.running import SHAPES, Case, Measured, measured
from tests.scale.table import estimate, told


def main() -> int:
    """Measure what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10^7 voxels only")
    parser.add_argument("--up-to", type=int, default=8, choices=sorted(SHAPES), help="the largest size, a power of 10")
    parser.add_argument("--folder", type=Path, default=Path("out/scale"), help="what is measured, and runs under way")
    parser.add_argument("--again", action="store_true", help="forget what was measured")
    parser.add_argument("--tell", action="store_true", help="measure nothing")
    chosen = parser.parse_args()
    if chosen.again:
        shutil.rmtree(chosen.folder, ignore_errors=True)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    found = series(chosen.folder, 7 if chosen.quick else chosen.up_to, chosen.tell)
    if not found:
        sys.exit(f"{chosen.folder}: nothing was measured yet")
    sys.stdout.write(f"{describe()}\n{told(found)}\n{estimate(found)}\n")
    return 1 if len({(one.usage.voxels, one.digest) for one in found}) > len({one.usage.voxels for one in found}) else 0


def series(folder: Path, largest: int, only_known: bool) -> list[Measured]:
    """Each size with one worker and with two, and the largest with two, killed twice."""
    cases = [Case(shape, workers) for power, shape in SHAPES.items() if power <= largest for workers in (1, 2)]
    cases.append(Case(SHAPES[largest], 2, kills=2))
    found = []
    for case in cases:
        if only_known and not (folder / f"{case.name}.json").exists():
            continue
        sys.stderr.write(f"{case.name} ...\n")
        found.append(measured(folder, case))
    return found


if __name__ == "__main__":
    sys.exit(main())
