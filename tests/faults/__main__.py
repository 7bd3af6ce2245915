"""`make faults`: runs are killed at every scripted point, started again, and compared with one undisturbed run.

`python -m tests.faults --quick` takes some of the points, `--only segment` those whose name holds the word, and
`--list` names them. The table is also written to out/faults.json; exit code 1 if any output differs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from tests.faults.bucket import object_store
from tests.faults.play import Play, Result, last, play
from tests.faults.points import Point, all_points
from tests.faults.scenes import BEFORE, DURING, nothing
from tests.faults.volume import BLOCK, RAW_SHAPE, SHAPE, make_checkpoint, make_volume, sums
from tests.support.paths import ROOT
from tests.support.servers import mongo_server

HEAD = f"{'where':<62} {'executor':<9} {'store':<10} {'volumes':<7} {'first':>5} {'starts':>6} {'s':>6}  result"
SHAPES = (SHAPE, (9, 14, 30), BLOCK)


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some of the points")
    parser.add_argument("--only", default="", help="points whose name holds this")
    parser.add_argument("--list", action="store_true", help="name the points and end")
    parser.add_argument("--jobs", type=int, default=2, help="points at the same time")
    parser.add_argument("--keep", action="store_true", help="keep the folders of points that went wrong")
    arguments = parser.parse_args()
    points = [one for one in [*all_points(), *matrix()] if chosen(one, arguments.quick, arguments.only)]
    if arguments.list or not points:
        sys.stdout.write("".join(f"{one.name}\n" for one in points))
        return 0 if points else 2
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    print(HEAD, flush=True)
    results = []
    for result in struck_runs(points, folder, arguments.jobs, arguments.keep):
        results.append(result)
        print(row(result), flush=True)
    if not arguments.keep:
        shutil.rmtree(folder, ignore_errors=True)
    write_json(results)
    print(summary(results, time.monotonic() - begin))
    return 0 if all(result.is_same or result.is_left_out for result in results) else 1


def chosen(point: Point, quick: bool, only: str) -> bool:
    """Whether a point is asked for."""
    return (point.quick or not quick) and only in point.name


def matrix() -> list[Point]:
    """Undisturbed: every block shape, number of workers and store."""
    return [
        Point(
            f"undisturbed, blocks {shape}, {workers} workers",
            None,
            "dask",
            store,
            (0,),
            settings=(f"blocks.shape={list(shape)}", f"cluster.workers={workers}"),
        )
        for shape, workers, store in product(SHAPES, (1, 2, 4), ("sqlite", "mongo"))
    ]


def struck_runs(points: Sequence[Point], folder: Path, jobs: int, keep: bool) -> Iterator[Result]:
    """The results, in the order of the points."""
    make_volume(folder)
    if any(point.predicts for point in points):
        make_checkpoint(folder)
    with ExitStack() as stack:
        address = stack.enter_context(mongo_server(folder / "mongo"))
        is_needed = any(point.is_in_bucket for point in points)
        endpoint = stack.enter_context(object_store(folder)) if is_needed else ""
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        expected = {kind: undisturbed(folder, *kind) for kind in {(point.predicts, point.asked) for point in points}}

        def one(numbered: tuple[int, Point]) -> Result:
            number, point = numbered
            place = folder / f"point{number}"
            result = strike_one(Play(point, folder, place, address, endpoint), expected[point.predicts, point.asked])
            if result.is_same or not keep:
                shutil.rmtree(place, ignore_errors=True)
            return result

        yield from pool.map(one, enumerate(points))


def strike_one(one: Play, expected: Mapping[str, str]) -> Result:
    """Play a point with what belongs to its scene."""
    return play(one, BEFORE.get(one.point.scene, nothing), DURING.get(one.point.scene, nothing), expected)


def undisturbed(folder: Path, predicts: bool, asked: tuple[str, ...] = ()) -> dict[str, str]:
    """The sums of a run in one block, in one process. folder: of the volume; asked: as of a point."""
    whole = list(RAW_SHAPE if predicts else SHAPE)
    point = Point("undisturbed", settings=(f"blocks.shape={whole}",), asked=asked, predicts=predicts)
    one = Play(point, folder, folder / f"undisturbed-{predicts:d}-{'-'.join(asked)}", "")
    one.folder.mkdir()
    process = one.start()
    said = one.wait(process)
    if process.returncode:
        raise SystemExit(f"faults: the undisturbed run failed: {last(said)}")
    return sums(one.output, one.beside)


def row(result: Result) -> str:
    """One line of the table."""
    point = result.point
    first = "-" if result.first is None else result.first
    return (
        f"{point.where:<62} {point.executor:<9} {point.store:<10} {point.volumes:<7} {first:>5} {result.starts:>6}"
        f" {result.seconds:>6.1f}  {result.verdict}"
    )


def summary(results: Sequence[Result], seconds: float) -> str:
    """The last line: how many there were of each."""
    deaths = sum(not result.point.where.startswith("undisturbed") for result in results)
    same, out = sum(result.is_same for result in results), sum(result.is_left_out for result in results)
    return (
        f"{deaths} points of death and {len(results) - deaths} undisturbed runs in {seconds:.0f} s: "
        f"{same} the same bytes as one undisturbed block, {len(results) - same - out} different, {out} left out"
    )


def write_json(results: Iterable[Result]) -> None:
    """out/faults.json"""
    rows = [
        {
            "where": result.point.where,
            "executor": result.point.executor,
            "store": result.point.store,
            "volumes": result.point.volumes,
            "result": result.verdict,
            "first_exit_code": result.first,
            "starts": result.starts,
            "seconds": round(result.seconds, 2),
            "said": result.said,
        }
        for result in results
    ]
    path = ROOT / "out" / "faults.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
