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

from tests.benchmarks.machine import describe
from tests.benchmarks.peers.environment import prepared
from tests.benchmarks.peers.measuring import Measured, compare
from tests.benchmarks.report import between
from tests.paths import ROOT

SMALL, LARGE = ((128, 192, 256), (64, 96, 128)), ((128, 512, 512), (64, 128, 128))
PATH = Path("out/peers.json")
HEAD = (
    "program", "M voxels", "CPU ns/voxel", "times ours", "without start-up", "times ours", "wall s", "segments",
    "VOI to the truth", "VOI to ours",
)  # fmt: skip


def main() -> int:
    """Measure everything, print, write; or show what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave the large volume out, and volara")
    parser.add_argument("--markdown", action="store_true", help="print the last figures for the README")
    parser.add_argument("--readme", action="store_true", help="write them into the README")
    chosen = parser.parse_args()
    if not chosen.markdown and not chosen.readme:
        measure(Path("out/peers"), chosen.quick)
    data = json.loads(PATH.read_text(encoding="utf-8"))
    text = as_markdown(data)
    if chosen.readme:
        readme = ROOT / "README.md"
        readme.write_text(between(readme.read_text(encoding="utf-8"), "peers", text), encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


def measure(folder: Path, quick: bool) -> None:
    """Run all programs and write the file."""
    folder.mkdir(parents=True, exist_ok=True)
    python = prepared(folder / ".venv")
    found = compare(folder, python, *SMALL, has_volara=not quick)
    if not quick:
        found += compare(folder, python, *LARGE, has_volara=False)
    today = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
    data = {"date": today, "machine": describe(), "rows": [one.__dict__ for one in found]}
    PATH.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def as_markdown(data: dict[str, object]) -> str:
    """The table for the README; ratios are to ours in one process on the same volume."""
    rows = [Measured(**row) for row in data["rows"]]  # type: ignore[attr-defined]
    ours = {row.voxels: row for row in reversed(rows) if row.is_ours}
    lines = [HEAD, (":--", *("--:",) * (len(HEAD) - 1))]
    for row in rows:
        base = ours[row.voxels]
        lines.append((
            row.program, f"{row.voxels / 1e6:.1f}",
            f"{row.cpu_ns:,.0f}", f"{row.cpu_ns / base.cpu_ns:.1f}",
            f"{row.work_ns:,.0f}", f"{row.work_ns / base.work_ns:.1f}",
            f"{row.wall_seconds:.1f}", f"{row.segments:,}", f"{row.voi_truth:.3f}", f"{row.voi_ours:.3f}",
        ))
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{str(data['date'])[:10]}, {data['machine']}.\n\n{table}\n"


if __name__ == "__main__":
    sys.exit(main())
