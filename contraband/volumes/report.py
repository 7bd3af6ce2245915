"""report.json, evaluation.json and the tables that are printed from them."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from blockwise.engine.options import StageResult
from blockwise.engine.preflight import stage_word
from blockwise.errors import BadInput
from blockwise.files.whole import write_json
from contraband.volumes.version import version

PACKAGES = ("contraband", "daisy", "dask", "distributed", "numba", "numpy", "torch", "zarr")
SUMS = ("blocks_done", "blocks_skipped", "blocks_failed", "voxels", "wall_seconds", "cpu_seconds")
NEED_LABELS = ("voi_split", "voi_merge", "voi_sum", "arand", "found", "f1")
SCORES_OF_LABELS = (
    ("threshold", "threshold", "g"),
    ("voi_split", "VOI\nsplit", ".4f"),
    ("voi_merge", "VOI\nmerge", ".4f"),
    ("voi_sum", "VOI\nsum", ".4f"),
    ("arand", "adapted\nRand", ".4f"),
    ("segments", "segments", ""),
    ("found", "IoU>0.5", ""),
    ("f1", "F1", ".3f"),
)
"""Key in a row of evaluation.json, title, and how its numbers are written."""
SCORES_OF_SKELETONS = (
    *(column for column in SCORES_OF_LABELS if column[0] not in ("found", "f1")),
    ("erl", "ERL", ".1f"),
    ("erl_fraction", "of\nbest", ".3f"),
)
NEIGHBOURS = 3
"""So many rows are printed on each side of the best one."""

TRAFFIC = ("read_bytes", "read_requests", "written_bytes", "written_requests")
"""At addresses, of this run."""
KEYS = (*SUMS, "peak_rss_bytes", "context_inflation", "fingerprint")


def write_report(
    path: Path, results: Iterable[StageResult], more: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Write report.json; stages that were not part of this run keep what an earlier one reported.

    more: what else there is to tell of a stage, by its word.
    """
    old = read_json(path)["stages"] if path.exists() else {}
    rows = {**old, **by_stage(results)}
    for stage, told in (more or {}).items():
        if stage in rows:
            rows[stage] = {**rows[stage], **told}
    report = {"stages": rows, "versions": versions()}
    write_json(path, report)
    return report


def by_stage(results: Iterable[StageResult]) -> dict[str, dict[str, Any]]:
    """One entry a stage; the thresholds of `segment` are added up."""
    entries: dict[str, dict[str, Any]] = {}
    for result in results:
        row = {key: getattr(result, key) for key in KEYS} | {key: getattr(result.traffic, key) for key in TRAFFIC}
        row["read_ratio"] = result.read_ratio
        known = entries.get(stage_word(result.name))
        if known:
            row.update({key: known[key] + row[key] for key in (*SUMS, *TRAFFIC)})
            row["read_ratio"] = max((known["read_ratio"], row["read_ratio"]), key=lambda ratio: ratio or 0.0)
            row["peak_rss_bytes"] = max(known["peak_rss_bytes"], row["peak_rss_bytes"])
        entries[stage_word(result.name)] = row
    return entries


def as_rows(entries: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What `by_stage` gives, or report.json has under `stages`, as rows with the stage's name in each."""
    return [{"stage": name, **entry} for name, entry in entries.items()]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the result."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises BadInput if it is missing or broken."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(path, "no such file", todo="run `contraband run` first") from None
    except (OSError, ValueError) as error:
        raise BadInput(path, f"cannot be read ({error})", todo="remove it and run again") from None
    if not isinstance(data, dict):
        raise BadInput(path, "is not a JSON object", got=type(data).__name__)
    return data


def print_stages(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """A row a stage: blocks, speed, CPU time and memory; rows: from `as_rows`."""
    table = Table(title=None, box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("blocks", "skipped", "failed", "voxels/s", "CPU ns/voxel", "peak MB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        voxels, wall = row["voxels"], row["wall_seconds"]
        fresh = row["blocks_done"] > 0 and voxels > 0
        table.add_row(
            row["stage"],
            str(row["blocks_done"]),
            str(row["blocks_skipped"]),
            str(row["blocks_failed"]),
            f"{voxels / wall:,.0f}" if fresh and wall else "-",
            f"{1e9 * row['cpu_seconds'] / voxels:,.0f}" if fresh else "-",
            f"{row['peak_rss_bytes'] / 1e6:,.0f}",
        )
    console.print(table)
    print_traffic(console, rows)


def print_traffic(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """A row a stage that read or wrote at addresses; nothing if all volumes lie on disks."""
    remote = [row for row in rows if row.get("read_requests") or row.get("written_requests")]
    if not remote:
        return
    table = Table(title="at addresses", title_justify="left", box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("read MB", "times the arrays", "requests", "written MB", "requests"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in remote:
        table.add_row(
            row["stage"],
            f"{row['read_bytes'] / 1e6:,.1f}",
            _number(row["read_ratio"], ".2f"),
            f"{row['read_requests']:,}",
            f"{row['written_bytes'] / 1e6:,.1f}",
            f"{row['written_requests']:,}",
        )
    console.print()
    console.print(table)


def print_scores(console: Console, rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """A row a segmentation: name, threshold, VOI, adapted Rand error, objects found; 80 columns are enough."""
    has_skeletons = any("erl" in row for _, row in rows)
    columns = SCORES_OF_SKELETONS if has_skeletons else SCORES_OF_LABELS
    if all(row.get("voi_sum") is None for _, row in rows):
        columns = tuple(column for column in columns if column[0] not in NEED_LABELS)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for _, title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for name, row in rows:
        found = f"{row['matched']}/{row.get('truth_objects')}" if row.get("matched") is not None else None
        values = {**row, "found": found}
        table.add_row(name, *(_number(values.get(key), form) for key, _, form in columns))
    console.print(table)


def print_false_merges(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """A row a false merge, highest score first: its objects, what it cost, where, and what `correct --split` takes."""
    table = Table(
        title="first merges of two true objects", title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for name in ("score", "truth", "voxels", "VOI\nmerge", "voxel\nz, y, x", "to split"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            _number(row["score"], ".4f"),
            *("+".join(map(str, row[key])) for key in ("truth", "voxels")),
            f"+{row['voi_merge']:.4f}",
            ", ".join(map(str, row["voxel"])),
            ",".join(map(str, row["fragments"])),
        )
    if rows:
        console.print()
        console.print(table)


def print_objects(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """A line for each threshold at which objects were matched."""
    for row in rows:
        precision = row["average_precision"]
        console.print(
            f"objects at {row['threshold']:g}: AP {row['mean_average_precision']:.3f} "
            f"(IoU 0.5: {precision['0.50']:.3f}, 0.75: {precision['0.75']:.3f}, 0.9: {precision['0.90']:.3f}), "
            f"PQ {row['panoptic_quality']:.3f}"
        )


def print_distances(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The Hausdorff distances of matched objects: the middle one and the worst ones, with whose they are."""
    if not rows:
        return
    falling = sorted(rows, key=lambda row: -float(row["hausdorff"]))
    middle = falling[len(falling) // 2]["hausdorff"]
    console.print(f"\nHausdorff distance of {len(rows)} objects found: median {middle:g}; the largest:")
    for row in falling[:NEIGHBOURS]:
        console.print(
            f"  {row['hausdorff']:g}: segment {row['segment']}, true object {row['truth']}, IoU {row['iou']:.3f}"
        )


def nearest_rows(evaluation: dict[str, Any], thresholds: Iterable[float]) -> list[tuple[str, dict[str, Any]]]:
    """The best row of an evaluation and those of the wanted thresholds, named for `print_scores`."""
    named = [("best", evaluation["best"])]
    by_threshold = {row["threshold"]: row for row in evaluation["thresholds"]}
    named += [(f"segments/{t:g}", by_threshold[t]) for t in thresholds if t in by_threshold]
    return named


def rows_to_print(evaluation: dict[str, Any], thresholds: Iterable[float]) -> list[tuple[str, dict[str, Any]]]:
    """Of all rows of an evaluation, in their order: the best with its neighbours, and the wanted thresholds."""
    rows = evaluation["thresholds"]
    tried = [row["threshold"] for row in rows]
    best = tried.index(evaluation["best"]["threshold"])
    wanted = set(thresholds)
    near = range(best - NEIGHBOURS, best + NEIGHBOURS + 1)
    chosen = [place for place, threshold in enumerate(tried) if place in near or threshold in wanted]
    names = {place: f"segments/{tried[place]:g}" for place in chosen if tried[place] in wanted}
    names[best] = "best, written" if best in names else "best"
    return [(names.get(place, ""), rows[place]) for place in chosen]


def remark_on_nothing(dendrogram: Path) -> str | None:
    """One line if a run found no fragment at all."""
    from blockwise.arrays.volume import Volume, open_array

    if not (dendrogram / "fragment").is_dir() or open_array(Volume(path=dendrogram / "fragment")).size:
        return None
    return (
        "no voxel is foreground, so all segments are background; look at volume.mask, fragments.background and "
        "fragments.foreground, and at the affinities"
    )


def remarks_on_scores(evaluation: dict[str, Any], stop: float, labels: Path | None) -> list[str]:
    """Lines on an evaluation: the best threshold lies at an end of those that were tried, or no label was scored.

    evaluation: from whatever version the file is. labels: None if there are skeletons alone.
    """
    from blockwise.stages.evaluate.best import advice

    if labels is not None and all(row["voi_sum"] is None for row in evaluation["thresholds"]):
        return [
            f"{labels}: no voxel of the labels is scored, as all within the volume are background, not labelled, in "
            "evaluate.ignore or smaller than evaluate.min_voxels"
        ]
    hint = advice(evaluation["thresholds"], stop)
    return [hint] if hint else []


def _number(value: object, form: str) -> str:
    return "-" if value is None else format(value, form)
