"""What `import contraband` also offers of finished runs: corrections, tables of objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blockwise.engine.options import Progress, RunOptions
from contraband.progress import shown
from contraband.volumes.correct.apply import apply, check_corrections
from contraband.volumes.correct.pairs import gathered
from contraband.volumes.dendrograms import graph_ends
from contraband.volumes.export.objects import check_table, write_objects
from contraband.volumes.line import select, stages
from contraband.volumes.report import as_rows, by_stage
from contraband.volumes.result import Result
from contraband.volumes.run import execute, is_only_read
from contraband.volumes.settings import VolumeSettings, with_thresholds


def correct(
    settings: VolumeSettings,
    join: Sequence[str] = (),
    split: Sequence[str] = (),
    *,
    file: str | Path | None = None,
    undo: int = 0,
    progress: bool | Progress = True,
) -> dict[str, int]:
    """Correct a segmentation by pairs that must be one object or must not; what is missing of the run is made first.

    join, split: pairs as text, two numbers of fragments or segments, "12,57", or two voxels, "z,y,x,z,y,x". file: a CSV
    file of them. undo: so many of the latest corrections are taken back first. They are kept beside the output, in
    `....corrections.csv`, and all honoured at every threshold, by whatever order they came in; segments that are there
    are written again where they change, and scores are computed again. Without any, what is kept is applied.

    Returns how many corrections there are, and how many blocks of segments were written. Raises BadInput for pairs that
    contradict each other, and what `run` raises.

    Example:
        first = contraband.evaluate(settings)["false_merges"][0]
        contraband.correct(settings, split=["{},{}".format(*first["fragments"])])
    """

    corrections = gathered(settings, {"join": join, "split": split}, None if file is None else Path(file), undo)
    run_to(settings, "agglomerate", progress)
    check_corrections(settings, corrections)
    with shown(progress, "blocks") as display:
        everything = apply(settings, corrections, RunOptions(progress=display.update, announce=display.say))
    rows = run_to(everything, "segment", progress)
    if "evaluate" in Result(settings).blocks_done():
        run_to(settings, None, progress)
    written = sum(row["blocks_done"] for row in rows if row["stage"] == "segment")
    return {"corrections": len(corrections), "blocks_written": written}


def objects(
    settings: VolumeSettings,
    target: str | Path,
    *,
    threshold: float | None = None,
    progress: bool | Progress = True,
) -> int:
    """Write a table of the segments at a threshold, and return how many there are; what is missing is made first.

    target: a new file, .csv or .parquet (this needs pyarrow). threshold: left out: the first of the settings. A row has
    the `object`, its `voxels`, `volume` and `centre_z` ... in the unit of the voxel size, the box `begin_z` to `end_z`
    ... in voxels, `at_border` (1 or 0), `mean_0`, `sd_0`, ... of each channel of raw, how many `neighbours` it has, and
    `contacts`: `number:area` of each. progress: as in `run`. Raises BadInput, and what `run` raises.

    Example:
        count = contraband.objects(settings, "out/cells.csv", threshold=0.4)
        print(count, "objects, the largest of", max(pandas.read_csv("out/cells.csv")["volume"]))
    """

    check_table(Path(target))
    chosen = settings.segment.thresholds[0] if threshold is None else threshold
    settings = with_thresholds(settings, (chosen,))
    run_missing(settings, graph_ends(settings), progress)
    with shown(progress, "blocks") as display:
        options = RunOptions(progress=display.update, announce=display.say)
        return write_objects(settings, Path(target), chosen, options)


def run_missing(settings: VolumeSettings, last: str | None, progress: bool | Progress) -> None:
    """Have all stages up to one finished; of a finished run that cannot be written, nothing is tried."""
    if not is_only_read(settings, select(stages(settings), None, last)):
        run_to(settings, last, progress)


def run_to(settings: VolumeSettings, last: str | None, progress: bool | Progress) -> list[dict[str, Any]]:
    """What is missing of a run up to a stage, as `contraband.run` makes it; a row for each stage."""
    with shown(progress, "blocks") as display:
        options = RunOptions(progress=display.update, announce=display.say)
        return as_rows(by_stage(execute(settings, select(stages(settings), None, last), options)))
