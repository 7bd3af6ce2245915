"""The straight line: which stages a volume goes through, in order."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from blockwise.arrays.placement import Placement, covering, place_in
from blockwise.arrays.values import KINDS_OF_LABELS
from blockwise.arrays.volume import Volume, info
from blockwise.engine.preflight import stage_word
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from blockwise.settings import likely
from blockwise.stage import Stage
from blockwise.stages.affinity import NEAREST, check_affinities
from blockwise.stages.agglomerate.stage import Agglomerate, AgglomerateSettings
from blockwise.stages.edges import Edges
from blockwise.stages.evaluate.best import sweep_thresholds
from blockwise.stages.evaluate.stage import Evaluate
from blockwise.stages.foreground import check_foreground, full_value
from blockwise.stages.fragments import Fragments
from blockwise.stages.segment import Segment
from contraband.importing.sections import images_in, is_padded
from contraband.volumes.dendrograms import absorption, corrections, tree_of
from contraband.volumes.output import Output
from contraband.volumes.settings import VolumeSettings, check_beginning, volume_shape

MOST_GRAPH_BYTES_A_VOXEL = 40
"""Of the merging: eight times what is usual."""


def stages(settings: VolumeSettings, kept: Output | None = None) -> list[Stage]:
    """Every stage of the line for one volume, in order; reads metadata only and raises BadInput.

    kept: an output of the same inputs, with which is kept what was read of them, if it is not that of the settings.
    """
    check_beginning(settings)
    shape = volume_shape(settings)
    block = _clip(settings.blocks.shape, shape)
    if settings.volume.raw and settings.affinities:
        place_in(Volume(path=settings.volume.raw), _segmented(settings))  # not read here, but shown with the result
    first = _prediction(settings, shape, block)
    if first and first[0].name == "embed":
        return first
    line = [*first, *_region_graph(settings, shape, block, first, kept or Output(settings.output))]
    line += corrections(settings, affinity_volume(settings), shape, block) + absorption(settings, shape, block)
    line += _segments(settings, shape)
    if settings.volume.labels or settings.volume.skeletons:
        line.append(_evaluation(settings, shape, block))
    return line


def select(line: list[Stage], first: str | None, last: str | None) -> list[Stage]:
    """The stages from `first` to `last`, both included; raises BadInput for a stage that is not in the line."""
    words = [stage_word(stage.name) for stage in line]
    wanted = ", ".join(dict.fromkeys(words))
    for flag, name in (("--from", first), ("--to", last)):
        if name is not None and name not in words:
            raise BadInput(flag, "no such stage in this run", got=name, wanted=wanted, todo=likely(name, words))
    begin = words.index(first) if first else 0
    end = len(words) - words[::-1].index(last) if last else len(words)
    if begin >= end:
        raise BadInput("--from", "lies after --to", got=first, wanted=f"a stage up to {last}")
    return line[begin:end]


def absolute(stage: Stage) -> Stage:
    """The stage with absolute paths, so that a worker may have another working folder."""
    places: dict[str, Any] = {}
    for name, value in stage:
        if isinstance(value, Volume):
            places[name] = Volume(path=value.path.absolute())
        elif isinstance(value, Path):
            places[name] = value.absolute()
        elif isinstance(value, tuple) and value and all(isinstance(one, Path) for one in value):
            places[name] = tuple(one.absolute() for one in value)
    return stage.model_copy(update=places)


def affinity_volume(settings: VolumeSettings) -> Volume:
    """The affinities that are segmented: given, or the predicted ones."""
    return Volume(path=settings.affinities) if settings.affinities else Output(settings.output).affinities


def segment_stage(settings: VolumeSettings, shape: Voxels, threshold: float) -> Segment:
    """The relabelling for one threshold."""
    return Segment(
        fragments=Output(settings.output).fragments,
        target=Output(settings.output).segments(threshold),
        dendrogram=tree_of(settings),
        shape=shape,
        block=_clip(settings.blocks.shape, shape),
        threshold=threshold,
        stop=settings.agglomerate.stop,
        numbers=settings.segment.numbers,
    )


def _clip(block: Voxels, shape: Voxels) -> Voxels:
    z, y, x = (min(step, size) for step, size in zip(block, shape, strict=True))
    return z, y, x


def _prediction(settings: VolumeSettings, shape: Voxels, block: Voxels) -> list[Stage]:
    if settings.model is None:
        return []
    if settings.volume.mask is not None:
        _check_mask(Volume(path=settings.volume.mask))
    from contraband.volumes.prediction import prediction_stage  # torch is needed for networks only

    return [prediction_stage(settings, shape, block)]


def _region_graph(
    settings: VolumeSettings, shape: Voxels, block: Voxels, first: list[Stage], kept: Output
) -> list[Stage]:
    affinities = affinity_volume(settings)
    fragments = Output(settings.output).fragments
    per_section = _per_section(settings, affinities, first)
    offsets = _offsets(affinities, per_section, first)
    chosen = offsets if settings.edges.offsets == "all" else ()
    depth, height, width = (max([1, *(-offset[axis] for offset in chosen)]) for axis in range(3))
    mask = Volume(path=settings.volume.mask) if settings.volume.mask else None
    if mask is not None:
        _check_mask(mask)
    wanted = settings.fragments.foreground
    foreground, foreground_placed = _foreground(settings, first)
    return [
        Fragments(
            affinities=affinities,
            target=fragments,
            mask=mask,
            mask_placed=covering(mask, _segmented(settings)) if mask else None,
            shape=shape,
            block=block,
            given=not first,
            settings=settings.fragments.model_copy(update={"per_section": per_section}),
            foreground=foreground,
            foreground_placed=foreground_placed,
            foreground_full=full_value(foreground, kept.fragments) if foreground and wanted and wanted.volume else None,
        ),
        Edges(
            affinities=affinities,
            fragments=fragments,
            shape=shape,
            block=block,
            settings=settings.edges,
            reach=(depth, height, width),
            per_section=per_section,
            histograms=settings.agglomerate.statistic.percent > 0,
        ),
        Agglomerate(
            affinities=affinities,
            fragments=fragments,
            target=Output(settings.output).dendrogram,
            shape=shape,
            block=block,
            settings=_merging(settings, shape),
        ),
    ]


def _merging(settings: VolumeSettings, shape: Voxels) -> AgglomerateSettings:
    """How fragments are merged, with a limit of memory in place of `auto`; none where no graph could need it."""
    chosen = settings.agglomerate
    if chosen.memory != "auto":
        return chosen
    limit = settings.cluster.share_bytes
    needed = MOST_GRAPH_BYTES_A_VOXEL * math.prod(shape)
    return chosen.model_copy(update={"memory": limit if needed > limit else None})


def _foreground(settings: VolumeSettings, first: list[Stage]) -> tuple[Volume | None, Placement | None]:
    """The foreground given or predicted, if one is wanted, and where it lies; raises BadInput if there is none.

    first: the stage that predicts, or nothing.
    """
    wanted = settings.fragments.foreground
    if wanted is None:
        return None, None
    if wanted.volume is not None:
        given = Volume(path=wanted.volume)
        check_foreground(given)
        return given, covering(given, _segmented(settings))
    if not first:
        raise BadInput(
            "fragments.foreground.volume",
            "is needed where affinities are given",
            got=None,
            wanted="the path of a foreground image",
            todo="name one, or remove fragments.foreground",
        )
    if getattr(first[0], "foreground", None) is None:
        raise BadInput(
            "fragments.foreground",
            "the network predicts no foreground",
            got="a channel for each offset",
            wanted="one channel more",
            todo="name a volume, or use fragments.background",
        )
    return Output(settings.output).foreground, None


def _check_mask(mask: Volume) -> None:
    found = info(mask)
    if found.channels is not None or found.dtype.kind not in KINDS_OF_LABELS:
        raise BadInput(
            mask.path,
            "a mask must be whole numbers without a channel axis",
            got=f"{found.shape} {found.dtype}",
            wanted="(z, y, x) truth values, integers or whole floats",
        )


def _per_section(settings: VolumeSettings, affinities: Volume, first: list[Stage]) -> bool:
    """Whether sections are segmented on their own: as the settings say, else if no affinities along z are there."""
    if settings.fragments.per_section is not None:
        return settings.fragments.per_section
    offsets = first[0].offsets if first else info(affinities).offsets  # type: ignore[attr-defined]
    return bool(offsets) and NEAREST[0] not in offsets


def _offsets(affinities: Volume, per_section: bool, first: list[Stage]) -> tuple[Voxels, ...]:
    """Affinity offsets: those that will be predicted, or those of the given volume."""
    if first:
        predicted: tuple[Voxels, ...] = first[0].offsets  # type: ignore[attr-defined]
        return predicted
    return check_affinities(affinities, per_section).offsets


def _segments(settings: VolumeSettings, shape: Voxels) -> list[Stage]:
    return [segment_stage(settings, shape, threshold) for threshold in settings.segment.thresholds]


def _evaluation(settings: VolumeSettings, shape: Voxels, block: Voxels) -> Stage:
    labels = Volume(path=settings.volume.labels) if settings.volume.labels else None
    stop = settings.agglomerate.stop
    wanted = settings.evaluate.thresholds
    thresholds = tuple(sorted(wanted)) if wanted else sweep_thresholds(stop, settings.segment.thresholds)
    if thresholds[0] < stop:
        raise BadInput(
            "evaluate.thresholds",
            "a threshold lies below agglomerate.stop",
            got=thresholds[0],
            wanted=f"at least {stop}",
        )
    return Evaluate(
        fragments=Output(settings.output).fragments,
        labels=labels,
        dendrogram=tree_of(settings),
        skeletons=settings.volume.skeletons,
        space=_segmented(settings) if settings.volume.skeletons else None,
        target=Output(settings.output).evaluation,
        shape=shape,
        block=block,
        thresholds=thresholds,
        written=settings.segment.thresholds,
        truth_begin=place_in(labels, _segmented(settings)).begin if labels else (0, 0, 0),
        truth_shape=info(labels).spatial if labels else shape,
        settings=settings.evaluate.model_copy(update={"per_section": has_truth_per_section(settings)}),
    )


def has_truth_per_section(settings: VolumeSettings) -> bool:
    """Whether true labels count again from the start in each section: as is said, or since images differ in size."""
    if settings.evaluate.per_section or settings.volume.labels is None:
        return settings.evaluate.per_section
    return is_padded(images_in(info(Volume(path=settings.volume.labels)).attributes))


def _segmented(settings: VolumeSettings) -> Volume:
    """The volume that is segmented, against which all others are placed: given affinities, else raw."""
    return Volume(path=settings.affinities or settings.volume.raw)  # type: ignore[arg-type]
