"""What is known of one block: whether it is done, how it failed, and what was logged within it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from blockwise.errors import BadInput
from blockwise.executor.blocklog import read_lines
from blockwise.grid import Voxels, pack
from blockwise.settings import likely
from blockwise.stage import Stage
from blockwise.store import empty_store
from blockwise.store.base import Store
from contraband.volumes.belonging import find_belonging, is_store_there, opened_store
from contraband.volumes.line import absolute
from contraband.volumes.output import Output
from contraband.volumes.settings import VolumeSettings


def place_of(text: str) -> Voxels:
    """The block that "3,0,7" means, (z, y, x) in blocks; BadInput for anything else."""
    numbers = text.strip().strip("()").replace(" ", "").split(",")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() and len(number) < 8 for number in numbers):
        raise BadInput("--block", "must be three whole numbers: z,y,x in blocks", got=repr(text), wanted="3,0,7")
    z, y, x = (int(number) for number in numbers)
    return z, y, x


def block_logs(
    settings: VolumeSettings, line: Sequence[Stage], place: Voxels, name: str | None
) -> list[dict[str, Any]]:
    """For each stage, or the named one: `stage`, `block`, `state`, `attempts`, `error` and `lines` of one block.

    Raises BadInput for a block that no stage has, or a stage that the line has not.
    """
    chosen = [stage for stage in line if name in (None, stage.name)]
    if not chosen:
        names = [stage.name for stage in line]
        raise BadInput(
            "--stage", "is none of the line", got=name, wanted=", ".join(names), todo=likely(str(name), names)
        )
    having = [stage for stage in chosen if _is_in(place, stage)]
    if not having:
        counts = ", ".join(f"{stage.name} {stage.grid().counts}" for stage in chosen)
        raise BadInput("--block", "there is no such block", got=place, wanted=f"less than (z, y, x) of {counts}")
    if not is_store_there(settings.store_url):
        return [_found(settings, stage, place, empty_store()) for stage in having]
    belonging = find_belonging(settings)
    with opened_store(settings, next(iter(belonging.lost), belonging.identity)) as store:
        return [_found(settings, stage, place, store) for stage in having]


def log_lines(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The same for people."""
    for one in found:
        yield f"{one['stage']}, block {','.join(map(str, one['block']))}: {one['state']}"
        for line in one["lines"]:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line["at"]))
            yield f"  {at} {line['level']} {line['process']}: {line['text']}"
        if one["error"]:
            yield f"  attempt {one['attempts']} failed with"
            yield from (f"    {text}" for text in one["error"].splitlines())
        if not one["lines"] and not one["error"]:
            yield "  nothing was logged"


def _is_in(place: Voxels, stage: Stage) -> bool:
    return all(one < count for one, count in zip(place, stage.grid().counts, strict=True))


def _found(settings: VolumeSettings, stage: Stage, place: Voxels, store: Store) -> dict[str, Any]:
    key = pack(place)
    done = bool(store.done_mask(stage.name, absolute(stage).grid())[place])
    failure = next((one for one in store.failures(stage.name) if one.key == key), None)
    return {
        "stage": stage.name,
        "block": list(place),
        "state": "done" if done else "failed" if failure is not None else "not done",
        "attempts": 0 if failure is None else failure.attempt,
        "error": "" if failure is None else failure.error,
        "lines": read_lines(Output(settings.output).logs, stage.name, key),
    }
