"""volara, waterz and contraband on the same made-up volumes: `python -m tests.benchmarks.peers`.

The first time it makes a virtual environment for the others (1.2 GB in out/peers/.venv). Writes out/peers.json.
`--markdown` and `--readme` measure nothing: they show what was written.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import describe
from tests.benchmarks.peers.environment import prepared
from tests.benchmarks.peers.measuring import Measured, Places, compare
from tests.benchmarks.runs import Case
from tests.support.pages import FIGURES, write_between

VOLUMES = {"small": ((128, 192, 256), (64, 96, 128)), "large": ((200, 256, 256), (100, 256, 256))}
"""Shape and block; volara runs on the small one only, for it needs minutes there."""
PATH = Path("out/peers.json")
NOTE = (
    "All at a threshold of 0.5, start-up included; work without start-up is what is left after taking off the same "
    "program's run over 16 thousand voxels. VOI is split and merge in bits; ours is our result in one block. volara's "
    "mutex watershed is meant for long-range affinities too, which this volume has not: its VOI says little here."
)
HEAD = (
    "program",
    "M voxels",
    "CPU ns/voxel",
    "times ours",
    "without start-up",
    "times ours",
    "wall s",
    "segments",
    "VOI to the truth",
    "VOI to ours",
)


def main() -> int:
    """Measure everything, print, write; or show what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=VOLUMES, help="one volume; the other keeps its last figures")
    parser.add_argument("--volumes", type=Path, default=Path("out/bench"), help="where volumes are made and kept")
    parser.add_argument("--markdown", action="store_true", help="print the last figures as Markdown")
    parser.add_argument("--readme", action="store_true", help="write them into tests/benchmarks/README.md")
    chosen = parser.parse_args()
    if not chosen.markdown and not chosen.readme:
        measure(Path("out/peers"), chosen.volumes, chosen.only)
    data = json.loads(PATH.read_text(encoding="utf-8"))
    text = as_markdown(data)
    if chosen.readme:
        write_between(FIGURES, "peers", text)
    else:
        sys.stdout.write(text)
    return 0


def measure(folder: Path, volumes: Path, only: str | None) -> None:
    """Run all programs and write the file."""
    folder.mkdir(parents=True, exist_ok=True)
    python = prepared(folder / ".venv")
    found = json.loads(PATH.read_text(encoding="utf-8"))["rows"] if only and PATH.exists() else {}
    for name in [only] if only else VOLUMES:
        shape, block = VOLUMES[name]
        place = Places(folder, volumes, python.absolute())
        found[name] = [one.__dict__ for one in compare(place, Case(shape, block, 0), has_volara=name == "small")]
        today = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
        data = {"date": today, "machine": describe(), "rows": found}
        PATH.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def as_markdown(data: dict[str, Any]) -> str:
    """The table as Markdown; ratios are to ours in one process on the same volume."""
    rows = [Measured(**row) for name in VOLUMES for row in data["rows"].get(name, [])]
    ours = {row.voxels: row for row in reversed(rows) if row.is_ours}
    lines = [HEAD, (":--", *("--:",) * (len(HEAD) - 1))]
    for row in rows:
        base = ours[row.voxels]
        lines.append(
            (
                row.program,
                f"{row.voxels / 1e6:.1f}",
                f"{row.cpu_ns:,.0f}",
                f"{row.cpu_ns / base.cpu_ns:.1f}",
                f"{row.work_ns:,.0f}",
                f"{row.work_ns / base.work_ns:.1f}",
                f"{row.wall_seconds:.1f}",
                f"{row.segments:,}",
                f"{row.voi_truth:.3f}",
                f"{row.voi_ours:.3f}",
            )
        )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{data['date'][:10]}, {data['machine']}. {NOTE}\n\n{table}\n"


if __name__ == "__main__":
    sys.exit(main())
