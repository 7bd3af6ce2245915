"""The straight line: which stages a volume goes through, in order."""

from __future__ import annotations

from pathlib import Path

from blockwise.arrays.volume import Volume, info
from blockwise.engine.preflight import word
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from blockwise.kernels.graph.histograms import percent_of
from blockwise.stage import Stage
from blockwise.stages.affinity import check_affinities
from blockwise.stages.agglomerate.stage import Agglomerate
from blockwise.stages.edges import Edges
from blockwise.stages.fragments import Fragments
from blockwise.stages.segment import Segment
from contraband.volumes.foreground import fragment_settings
from contraband.volumes.settings import VolumeSettings, load_volume_settings, volume_shape

__all__ = ["ORDER", "evaluation_path", "load_volume_settings", "report_path", "select", "stages", "word"]

ORDER = ("embed", "predict", "fragments", "edges", "agglomerate", "segment", "evaluate")


def stages(settings: VolumeSettings) -> list[Stage]:
    """Every stage of the line for one volume, in order; reads metadata only and raises BadInput."""
    shape = volume_shape(settings)
    block = _clip(settings.blocks.shape, shape)
    first = _prediction(settings, shape, block)
    if first and first[0].name == "embed":
        return first
    line = [*first, *_region_graph(settings, shape, block, first), *_segments(settings, shape)]
    if settings.volume.labels or settings.volume.skeletons:
        line.append(_evaluation(settings, shape, block))
    return line


def select(line: list[Stage], first: str | None, last: str | None) -> list[Stage]:
    """The stages from `first` to `last`, both included; raises BadInput for a stage that is not in the line."""
    words = [word(stage.name) for stage in line]
    for flag, name in (("--from", first), ("--to", last)):
        if name is not None and name not in words:
            raise BadInput(flag, "no such stage in this run", got=name, wanted=", ".join(dict.fromkeys(words)))
    begin = words.index(first) if first else 0
    end = len(words) - words[::-1].index(last) if last else len(words)
    if begin >= end:
        raise BadInput("--from", "lies after --to", got=first, wanted=f"a stage up to {last}")
    return line[begin:end]


def evaluation_path(settings: VolumeSettings) -> Path:
    """evaluation.json stands beside the arrays of the output."""
    return settings.output / "evaluation.json"


def report_path(settings: VolumeSettings) -> Path:
    """report.json stands beside the arrays of the output."""
    return settings.output / "report.json"


def inside(settings: VolumeSettings, name: str) -> Volume:
    """The array `name` of the output."""
    return Volume(path=settings.output / name)


def affinity_volume(settings: VolumeSettings) -> Volume:
    """The affinities that are segmented: given, or the predicted ones."""
    return Volume(path=settings.affinities) if settings.affinities else inside(settings, "affinities")


def segment_stage(settings: VolumeSettings, shape: Voxels, threshold: float) -> Segment:
    """The relabelling for one threshold."""
    return Segment(
        fragments=inside(settings, "fragments"),
        target=inside(settings, f"segments/{format(threshold, 'g')}"),
        dendrogram=inside(settings, "agglomeration"),
        shape=shape,
        block=_clip(settings.blocks.shape, shape),
        threshold=threshold,
        stop=settings.agglomerate.stop,
    )


def _clip(block: Voxels, shape: Voxels) -> Voxels:
    z, y, x = (min(step, size) for step, size in zip(block, shape, strict=True))
    return z, y, x


def _prediction(settings: VolumeSettings, shape: Voxels, block: Voxels) -> list[Stage]:
    if settings.model is None:
        return []
    from contraband.volumes.predict import prediction_stage

    return [prediction_stage(settings, shape, block)]


def _region_graph(settings: VolumeSettings, shape: Voxels, block: Voxels, first: list[Stage]) -> list[Stage]:
    affinities = affinity_volume(settings)
    fragments = inside(settings, "fragments")
    per_section = settings.fragments.per_section
    offsets = _offsets(affinities, per_section, first)
    chosen = offsets if settings.edges.offsets == "all" else ()
    depth, height, width = (max([1, *(-offset[axis] for offset in chosen)]) for axis in range(3))
    mask = Volume(path=settings.volume.mask) if settings.volume.mask else None
    if mask is not None:
        _check_mask(mask, shape)
    return [
        Fragments(
            affinities=affinities,
            target=fragments,
            mask=mask,
            shape=shape,
            block=block,
            given=not first,
            **fragment_settings(settings, shape, first),
        ),
        Edges(
            affinities=affinities,
            fragments=fragments,
            shape=shape,
            block=block,
            offsets=settings.edges.offsets,
            reach=(depth, height, width),
            per_section=per_section,
            histograms=percent_of(settings.agglomerate.statistic) > 0,
        ),
        Agglomerate(
            affinities=affinities,
            fragments=fragments,
            target=inside(settings, "agglomeration"),
            shape=shape,
            block=block,
            **dict(settings.agglomerate),
        ),
    ]


def _check_mask(mask: Volume, shape: Voxels) -> None:
    found = info(mask)
    if found.spatial != shape:
        raise BadInput(mask.path, "has another shape than the volume", got=found.spatial, wanted=shape)
    if found.channels is not None or found.dtype.kind not in "bui":
        raise BadInput(
            mask.path,
            "a mask must be whole numbers without a channel axis",
            got=f"{found.shape} {found.dtype}",
            wanted="(z, y, x) bool or integers",
        )


def _offsets(affinities: Volume, per_section: bool, first: list[Stage]) -> tuple[Voxels, ...]:
    """Affinity offsets: those that will be predicted, or those of the given volume."""
    if first:
        predicted: tuple[Voxels, ...] = first[0].offsets  # type: ignore[attr-defined]
        return predicted
    return check_affinities(affinities, per_section).offsets


def _segments(settings: VolumeSettings, shape: Voxels) -> list[Stage]:
    return [segment_stage(settings, shape, threshold) for threshold in settings.segment.thresholds]


def _evaluation(settings: VolumeSettings, shape: Voxels, block: Voxels) -> Stage:
    from blockwise.stages.evaluate.stage import Evaluate, sweep_thresholds

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
        fragments=inside(settings, "fragments"),
        labels=labels,
        dendrogram=inside(settings, "agglomeration"),
        skeletons=settings.volume.skeletons,
        space=_space(settings) if settings.volume.skeletons else None,
        target=evaluation_path(settings),
        shape=shape,
        block=block,
        thresholds=thresholds,
        truth_begin=_truth_begin(settings, labels) if labels else (0, 0, 0),
        truth_shape=info(labels).spatial if labels else shape,
        **settings.evaluate.model_dump(exclude={"thresholds"}),
    )


def _truth_begin(settings: VolumeSettings, labels: Volume) -> Voxels:
    """Where the truth begins in the volume, from the offsets of both; a part of a voxel is refused."""
    whole = info(_space(settings))
    truth = info(labels)
    if truth.voxel_size != whole.voxel_size:
        raise BadInput(
            labels.path,
            "has another voxel size than the volume",
            got=list(truth.voxel_size),
            wanted=list(whole.voxel_size),
            todo="import both with the same --voxel-size",
        )
    steps = [(t - w) / size for t, w, size in zip(truth.offset, whole.offset, whole.voxel_size, strict=True)]
    if any(abs(step - round(step)) > 1e-6 for step in steps):
        raise BadInput(labels.path, "its offset is not a whole number of voxels", got=steps, wanted="whole numbers")
    z, y, x = (round(step) for step in steps)
    return z, y, x


def _space(settings: VolumeSettings) -> Volume:
    """The volume that voxel size and offset are taken from."""
    return Volume(path=settings.volume.raw or settings.affinities)  # type: ignore[arg-type]
