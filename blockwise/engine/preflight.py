"""Everything that can be refused before a run writes anything, and what there is to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from blockwise.arrays.volume import Volume, check_whole_shards
from blockwise.engine.fingerprint import explain, fingerprint, sources
from blockwise.engine.growth import Growth
from blockwise.engine.options import RunOptions
from blockwise.errors import BadInput, Stale
from blockwise.executor.base import Executor
from blockwise.grid import Grid
from blockwise.settings import likely
from blockwise.stage import Stage
from blockwise.store.base import StageInfo, Store

MOST_BLOCKS = 1 << 21
"""Along one axis: three indices make a key."""


@dataclass(frozen=True)
class Job:
    """One stage that is going to run, and what was found out about it."""

    stage: Stage
    grid: Grid
    info: StageInfo
    """As it will be remembered."""
    was_finished: bool
    """Whether an earlier run ended it with the same fingerprint, and it is not to be redone."""


@dataclass(frozen=True)
class Preflight:
    """What a run is going to do."""

    jobs: tuple[Job, ...]
    clear: tuple[str, ...]
    """Stages to forget, the last of the line first: a crash in between leaves none without its input."""
    growth: Growth
    """What is kept of stages whose volume has only become larger; entered after the others are forgotten."""


def examine(
    stages: Sequence[Stage],
    store: Store,
    executor: Executor | None,
    options: RunOptions,
) -> Preflight:
    """Hold all stages against the store and each other; writes nothing, raises BadInput or Stale.

    What a stage can tell of itself is checked by `check_stages`. executor: None where there is none yet; who starts it
    then asks it about each stage.
    """
    redo, before = options.redo, options.before
    _check_names(stages, redo)
    if executor is not None:
        for stage in stages:
            executor.check(stage)
    # A fingerprint holds those of the stages that a result was made from. So digests and the paths of outputs are
    # gathered from the first stage to the last, beginning with those that this run relies on but does not run.
    known = {info.name: info for info in store.stages()}
    redone = _redone(stages, redo, known)
    digests = _finished(before or (), known)
    outside = {} if before is not None else _outside(stages, known)
    made = {path for stage in before or () for path in _outputs(stage)}
    made |= {path for info in outside.values() for path in info.outputs}
    jobs: list[Job] = []
    clear = set(redone)
    growth = Growth(store, known, options.grown)
    for stage in stages:
        old = known.get(stage.name)
        digest, ingredients = fingerprint(stage, _upstream(stage, digests, old, outside), made)
        info = StageInfo(
            stage.name, digest, ingredients, stage.grid(), outputs=_outputs(stage), sources=sources(stage, made)
        )
        # Three ways to go on: as it was (keep), only the volume has grown (keep what growth leaves), anything else
        # (forget, but only if no block is done: finished work is thrown away on request alone).
        is_same = old is not None and old.fingerprint == digest and stage.name not in redone
        if old is not None and stage.name not in redone:
            if not is_same:
                clear.add(stage.name)
            if is_same or not growth.covers(stage, info, made):
                # Where a stage has come into the line, all that follows it is stale, and is made again with it.
                come = (job.stage.name for job in jobs if job.stage.name not in known)
                begin = next((name for name in come if depends(stage, name)), stage.name)
                _check_kept(stage, old, info, store, begin)
        jobs.append(Job(stage, info.grid, info, is_same and old is not None and old.finished))
        digests[stage.name] = digest
        made |= set(info.outputs)
    # What was made from a volume that has since grown is stale, even if this run does not make it again.
    clear |= _made_of({*growth.kept, *growth.redone}, stages, known)
    return Preflight(tuple(jobs), tuple(name for name in reversed(known) if name in clear - growth.kept.keys()), growth)


def substage_job(job: Job, substage: Stage, store: Store) -> Job:
    """A substage as a job of its own; what the store has of it, made otherwise, is forgotten."""
    digest, ingredients = fingerprint(substage, {job.stage.name: job.info.fingerprint})
    info = StageInfo(substage.name, digest, ingredients, substage.grid())
    old = next((one for one in store.stages() if one.name == substage.name), None)
    if old is not None and old.fingerprint != digest:
        store.clear(substage.name)
        old = None
    return Job(substage, info.grid, info, old is not None and old.finished)


def check_stages(stages: Iterable[Stage]) -> None:
    """Raise BadInput if a stage cannot work, or if two of its blocks would write into one file of an output."""
    for stage in stages:
        check_size(stage.grid())
        stage.check()
        check_outputs(stage)


def check_size(grid: Grid) -> None:
    """Raise BadInput if keys of blocks or numbers of fragments would not fit into 64 bits."""
    if max(grid.counts) > MOST_BLOCKS:
        raise BadInput(
            "blocks.shape",
            f"{grid.stage}: too many blocks along an axis",
            got=list(grid.counts),
            wanted=f"at most {MOST_BLOCKS}",
            todo="use larger blocks",
        )
    if prod(grid.volume) >= 2**63:
        raise BadInput("volume", "too many voxels to number them", got=list(grid.volume), wanted="fewer than 2**63")


def check_outputs(stage: Stage) -> None:
    """Raise BadInput unless each block writes whole shards of all outputs that are there: else voxels are lost."""
    for volume in stage.outputs():
        check_whole_shards(volume, stage.grid().block)


def stage_word(name: str) -> str:
    """A stage's word: `segment` for `segment/0.5`."""
    return name.partition("/")[0]


def is_substage(name: str, known: Iterable[str]) -> bool:
    """Whether a stage is called after another one of these."""
    return any(name.startswith(f"{other}/") for other in known)


def _check_names(stages: Sequence[Stage], redo: str | None) -> None:
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise BadInput("stages", "two stages have the same name", got=", ".join(names))
    if redo is not None and redo not in names and redo not in map(stage_word, names):
        wanted = ", ".join(dict.fromkeys(map(stage_word, names)))
        hint = likely(redo, map(stage_word, names))
        raise BadInput("--redo", "no such stage in this run", got=redo, wanted=wanted, todo=hint)


def _redone(stages: Sequence[Stage], redo: str | None, known: Mapping[str, StageInfo]) -> set[str]:
    """The stage, those of the line that depend on it, and all in the store that were made from one of these."""
    if redo is None:
        return set()
    redone: set[str] = set()
    for stage in stages:
        if redo in (stage.name, stage_word(stage.name)) or any(depends(stage, name) for name in redone):
            redone.add(stage.name)
    return redone | _made_of(redone, stages, known)


def _made_of(names: set[str], stages: Sequence[Stage], known: Mapping[str, StageInfo]) -> set[str]:
    """Stages in the store that are not in the line, and were made from one of the named ones."""
    found: set[str] = set()
    line = {stage.name for stage in stages}
    for info in known.values():  # in the order of the line, so one pass finds what depends on what
        if (names | found) & set(_made_from(info)) and info.name not in line:
            found.add(info.name)
    return found


def depends(stage: Stage, name: str) -> bool:
    """Whether the stage's result depends on that of an earlier one."""
    return stage_word(name) != stage_word(stage.name) and (stage.needs is None or stage_word(name) in stage.needs)


def _finished(before: Iterable[Stage], known: Mapping[str, StageInfo]) -> dict[str, str]:
    """Fingerprints of the stages ahead; raises unless all are finished with just these settings."""
    digests: dict[str, str] = {}
    made: set[str] = set()
    for stage in before:
        old = known.get(stage.name)
        if old is None or not old.finished:
            raise BadInput(stage.name, "is not finished", todo=f"start with --from {stage_word(stage.name)}")
        digest, ingredients = fingerprint(stage, _upstream(stage, digests, old, {}), made)
        if digest != old.fingerprint:
            raise _stale(stage.name, old, ingredients, stage.name)
        digests[stage.name] = digest
        made |= set(_outputs(stage))
    return digests


def _upstream(
    stage: Stage, digests: Mapping[str, str], old: StageInfo | None, outside: Mapping[str, StageInfo]
) -> dict[str, str]:
    """Fingerprints of the stages that this one depends on."""
    found = dict(digests)
    for name, info in outside.items():
        if old is None or name in _made_from(old):
            if not info.finished:
                raise BadInput(name, "is not finished", todo=f"start with --from {stage_word(name)}")
            found[name] = info.fingerprint
    return {name: digest for name, digest in found.items() if depends(stage, name)}


def _outside(stages: Sequence[Stage], known: Mapping[str, StageInfo]) -> dict[str, StageInfo]:
    """Stages in the store that this run leaves alone and that were not made from one of its own; no substages."""
    names = {stage.name for stage in stages}
    return {
        name: info
        for name, info in known.items()
        if name not in names and not names & set(_made_from(info)) and not is_substage(name, known)
    }


def missing(stage: Stage, old: StageInfo) -> list[Path]:
    """What the stage has written, by the store's word of it, and is not there: arrays, and what its `finish` makes."""
    target = getattr(stage, "target", None) if old.finished else None
    made = [volume.path for volume in stage.outputs()]
    if target is not None:
        made.append(target.path if isinstance(target, Volume) else target)
    return [path for path in dict.fromkeys(made) if not path.exists()]


def _outputs(stage: Stage) -> tuple[str, ...]:
    return tuple(str(volume.path.absolute()) for volume in stage.outputs())


def _made_from(info: StageInfo) -> list[str]:
    return [key.removeprefix("upstream ") for key in info.ingredients if key.startswith("upstream ")]


def _check_kept(stage: Stage, old: StageInfo, new: StageInfo, store: Store, begin: str) -> None:
    """Raise unless the finished blocks of a stage can be kept. begin: with what to redo if settings have changed."""
    done = store.totals(stage.name).done
    if not done:
        return
    if old.fingerprint != new.fingerprint:
        raise _stale(stage.name, old, new.ingredients, begin)
    gone = missing(stage, old)
    if gone:
        raise BadInput(
            gone[0],
            f"is gone, but {done} blocks of {stage.name} are marked as done",
            todo=f"put it back, or use --redo {stage_word(stage.name)}",
        )
    other = done - int(np.count_nonzero(store.done_mask(stage.name, new.grid, new.fingerprint)))
    if other:
        raise Stale(
            stage.name,
            f"{other} finished blocks were made with other settings",
            todo=f"use --redo {stage_word(stage.name)} to redo it and everything after it",
        )


def _stale(name: str, old: StageInfo, ingredients: Mapping[str, Any], begin: str) -> Stale:
    return Stale(
        name,
        f"its finished blocks were made from something else: {explain(old.ingredients, ingredients)}",
        todo=f"use --redo {stage_word(begin)} to redo it and everything after it, or change it back",
    )
