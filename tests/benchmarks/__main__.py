"""`make bench`: figures of speed, memory and quality, printed as a table and written to out/bench.json.

`--quick` measures small things only, and writes out/bench-quick.json. `--only SECTION` (may be repeated) leaves
the other sections in the file as they are. `--markdown` and `--readme` measure nothing: they show the file.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.machine import describe
from tests.benchmarks.report import Section, as_markdown, as_text, from_json, to_json
from tests.support.pages import FIGURES, write_between

SECTIONS = {
    "segmentation": "segmentation",
    "growth": "growth",
    "edges": "stores",
    "traffic": "traffic",
    "agglomeration": "merging",
    "view": "viewing",
    "engine": "engine",
    "prediction": "engines",
    "training": "training",
    "labelling": "labelling",
    "quality": "quality",
}
"""The module of each section; it is imported only when it is measured, since some bring torch."""


def main() -> int:
    """Measure, print, write; or show what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small volumes and graphs only")
    parser.add_argument("--only", action="append", metavar="SECTION", help="one section; may be repeated")
    parser.add_argument("--folder", type=Path, default=Path("out/bench"), help="where volumes are made and kept")
    parser.add_argument("--markdown", action="store_true", help="print the figures of the last run as Markdown")
    parser.add_argument("--readme", action="store_true", help="write them into tests/benchmarks/README.md")
    chosen = parser.parse_args()
    path = chosen.folder.parent / ("bench-quick.json" if chosen.quick else "bench.json")
    if chosen.markdown or chosen.readme:
        return show(path, chosen.readme)
    measure(path, chosen.folder, chosen.only, chosen.quick)
    return 0


def measure(path: Path, folder: Path, only: list[str] | None, quick: bool) -> None:
    """Run the sections, write the file after each, and print the table."""
    unknown = set(only or ()) - set(SECTIONS)
    if unknown:
        sys.exit(f"--only: no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    folder.mkdir(parents=True, exist_ok=True)
    if only is None:
        path.unlink(missing_ok=True)
    names = only or list(SECTIONS)
    for name in names:
        sys.stderr.write(f"{name} ...\n")
        if len(names) == 1:
            measure_one(path, folder, name, quick)
        else:  # in a process of its own: threads and memory that one leaves behind would slow down the next
            flags = ["--only", name, "--folder", str(folder), *(["--quick"] if quick else [])]
            subprocess.run([sys.executable, "-m", "tests.benchmarks", *flags], check=True, stdout=subprocess.DEVNULL)
    sys.stdout.write(as_text([section for section in load(path) if section.name in names]))


def measure_one(path: Path, folder: Path, name: str, quick: bool) -> None:
    """Run one section and put it into the file, beside those that are there."""
    module = importlib.import_module(f"tests.benchmarks.{SECTIONS[name]}")
    now = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
    found = {section.name: section for section in load(path)}
    found[name] = Section(name, now, describe(), tuple(module.measure(folder, quick)))
    kept = [found[known] for known in SECTIONS if known in found]
    path.write_text(json.dumps({"sections": to_json(kept)}, indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> list[Section]:
    """The sections of an earlier run; none if there was none."""
    if not path.exists():
        return []
    return from_json(json.loads(path.read_text(encoding="utf-8")).get("sections", []))


def show(path: Path, into_page: bool) -> int:
    """Print the figures as Markdown, or put them into their page between the marks."""
    sections = load(path)
    if not sections:
        sys.exit(f"{path}: no figures there; run `make bench` first")
    text = as_markdown(sections)
    if not into_page:
        sys.stdout.write(text)
        return 0
    write_between(FIGURES, "bench", text)
    sys.stdout.write(f"{FIGURES}: figures of {len(sections)} sections written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
