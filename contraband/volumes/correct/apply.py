"""Apply corrections: a new dendrogram, and only those blocks of segments again that it changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blockwise.engine.fingerprint import fingerprint
from blockwise.engine.options import RunOptions
from blockwise.engine.preflight import depends
from blockwise.errors import BadInput
from blockwise.kernels.components import components, unique_pairs
from blockwise.kernels.graph.constraints import as_pairs, renamed_pairs
from blockwise.stage import Stage
from blockwise.stages.absorb import Absorb
from blockwise.stages.correct import Correct
from blockwise.stages.evaluate.stage import Evaluate
from blockwise.stages.segment import Segment
from blockwise.store.base import StageInfo, Store
from contraband.volumes.belonging import find_belonging, opened_store
from contraband.volumes.correct.pairs import Correction, write_corrections
from contraband.volumes.line import absolute, stages
from contraband.volumes.output import Output
from contraband.volumes.result import Result
from contraband.volumes.run import execute
from contraband.volumes.settings import VolumeSettings, with_thresholds

OURS = {f"upstream {Correct.name}", f"upstream {Absorb.name}"}


def check_corrections(settings: VolumeSettings, corrections: Sequence[Correction]) -> None:
    """Raise BadInput for places in background, numbers of nothing, and pairs that contradict each other.

    The run must be finished up to `agglomerate`.
    """
    if settings.agglomerate.statistic != "mean":
        got = f"agglomerate.statistic {settings.agglomerate.statistic}"
        raise BadInput("corrections", "are possible for the mean affinity only", got=got, wanted="mean")
    if settings.segment.numbers == "compact" and any(one.by_number for one in corrections):
        raise BadInput("corrections", "compact numbers are those of no fragment", todo="give places, z,y,x,z,y,x")
    fragments = Result(settings).fragments
    found: dict[str, list[list[int]]] = {"join": [], "split": []}
    for one in corrections:
        numbers = [int(fragments[place]) for place in one.pair]
        for number, place in zip(numbers, one.pair, strict=True):
            if number == 0:
                raise BadInput(f"--{one.kind}", "a place is background", got=list(place), wanted="a voxel of an object")
            first = int(np.ravel_multi_index(place, fragments.shape)) + 1
            if one.by_number and number != first:
                raise BadInput(
                    f"--{one.kind}", "is no number of a fragment or segment", got=first, wanted=f"such as {number}"
                )
        found[one.kind].append(numbers)
    together, apart = (np.array(found[kind], np.uint64).reshape(-1, 2) for kind in ("join", "split"))
    renamed_pairs(apart, components(unique_pairs(as_pairs(together))))


def apply(settings: VolumeSettings, corrections: Sequence[Correction], options: RunOptions) -> VolumeSettings:
    """Keep the corrections, all there are, and merge with them; the settings with every threshold that is written.

    What the store knows of segments and scores is what follows from the new dendrogram afterwards: a run makes the
    blocks that it changes, and no others. After a crash the same call goes on.
    """
    output = Output(settings.output)
    with opened_store(settings, find_belonging(settings).identity) as store:
        names = [info.name.split("/") for info in store.stages()]
        written = [name[1] for name in names if name[0] == "segment" and len(name) == 2]  # no substages of these
        # Before they are written, so that nobody takes the last dendrogram for theirs.
        store.clear(Absorb.name)
        store.clear(Correct.name)
    write_corrections(output.corrections, corrections)
    everything = with_thresholds(settings, sorted({*settings.segment.thresholds, *map(float, written)}))
    line = stages(everything)
    places = [at for at, stage in enumerate(line) if isinstance(stage, Correct | Absorb)]
    if places:
        execute(settings, [line[at] for at in places], options, line[: places[0]])
    with opened_store(settings, find_belonging(settings).identity) as store:
        _carry_over(line, store)
        # The thresholds that are scored follow from those of the settings.
        _carry_over(stages(settings), store)
    return everything


def _carry_over(line: Sequence[Stage], store: Store) -> None:
    """Let the store take finished blocks for those of the new dendrogram where they are the same."""
    known = {info.name: info for info in store.stages()}
    digests: dict[str, str] = {}
    made: set[str] = set()
    for stage in map(absolute, line):
        upstream = {name: digest for name, digest in digests.items() if depends(stage, name)}
        digest, ingredients = fingerprint(stage, upstream, made)
        digests[stage.name] = digest
        outputs = tuple(str(volume.path.absolute()) for volume in stage.outputs())
        made |= set(outputs)
        old = known.get(stage.name)
        if old is None or old.fingerprint == digest or _others(old.ingredients) != _others(ingredients):
            continue
        grid = stage.grid()
        done = store.done_mask(stage.name, grid, old.fingerprint) | store.done_mask(stage.name, grid, digest)
        if isinstance(stage, Segment):
            done &= stage.unchanged(store)
        elif not isinstance(stage, Evaluate):  # what it counts is of fragments; scores come of it at its end
            continue
        store.keep(stage.name, grid.keys()[done], digest)
        store.put_stage(StageInfo(stage.name, digest, ingredients, grid, False, outputs, old.sources))


def _others(ingredients: object) -> dict[str, object]:
    """What a result depends on, but for corrections."""
    return {key: value for key, value in dict(ingredients).items() if key not in OURS}  # type: ignore[call-overload]
