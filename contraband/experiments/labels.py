"""The labels that a segmentation is learnt from: volumes and points, checked before anything is trained."""

from __future__ import annotations

from pathlib import Path

from blockwise.errors import BadInput
from contraband.samples.augment import Shape3
from contraband.samples.base import Pair
from contraband.samples.points import (
    Points,
    check_present,
    each_as_often,
    generate_class_points,
    generate_points,
    read_points,
    together,
)
from contraband.samples.sources import VolumeReader, ZarrVolume
from contraband.training.lessons import Lesson, affinity_lesson, affinity_target, class_lesson, foreground_lesson
from contraband.training.settings import SegSettings
from contraband.training.targets import margin_for

DRAWN_ABOUT = 500
"""Labelled voxels that patches are drawn about: enough to be everywhere, few enough to be nodes of a graph."""


def lesson_of(settings: SegSettings, dims: int, depth: int) -> tuple[Lesson, Shape3]:
    """What the labels teach a 2D or 3D network, and the voxels of labels needed beyond the output on each side.

    depth: sections of a sample; a single one has nothing above or below it.
    """
    offsets = settings.offsets_for(dims)
    if settings.teaches == "classes":
        return class_lesson(), (0, 0, 0)
    margin = margin_for(offsets, settings.grow_boundary, depth)
    if settings.teaches == "foreground":
        return foreground_lesson(offsets, settings.has_background), margin
    if settings.dataset.train.gt is None:
        raise BadInput("seg.sparse_target", "affinities need dataset.train.gt", todo="use foreground or classes")
    target = affinity_target(offsets, margin, settings.grow_boundary, settings.has_background)
    return affinity_lesson(offsets, target, settings.has_background), margin


def seg_pairs(settings: SegSettings) -> list[Pair]:
    """Raw and labels of each data file."""
    train = settings.dataset.train
    of_classes = settings.teaches == "classes"
    return [
        Pair(
            ZarrVolume(file, train.raw),
            ZarrVolume(file, train.gt, settings.unknown, of_classes) if train.gt else None,
        )
        for file in settings.data_file
    ]


def labelled_points(settings: SegSettings) -> Points:
    """The points of all CSV files, or `num_points` drawn from the labels: half of them foreground, or by classes.

    BadInput for points outside of the volume, of an unknown class, or of one kind alone, from which nothing is learnt.
    """
    pairs = seg_pairs(settings)
    if len(pairs) != 1:
        raise BadInput("seg.data_file", "a sparse pipeline reads one volume", got=len(pairs), wanted=1)
    if settings.points:
        return _read(settings, pairs[0])
    labels = pairs[0].labels
    assert labels is not None  # the settings ask for one of the two
    reader = VolumeReader(labels)
    volume = reader.labels((0, 0, 0), reader.shape)
    if settings.teaches != "classes":
        return generate_points(volume, settings.num_points // 2, settings.seed, labels.where)
    check_present(volume, labels.where)
    return generate_class_points(volume, settings.num_points, settings.seed, labels.where)


def points_about(settings: SegSettings) -> list[Points]:
    """Labelled voxels of each data file, about which patches are drawn; BadInput if a file has none.

    Each label, up to a limit, as often: of classes and objects the rare ones count as well.
    """
    found = []
    for pair in seg_pairs(settings):
        assert pair.labels is not None  # dense labels
        reader = VolumeReader(pair.labels)
        volume = reader.labels((0, 0, 0), reader.shape)
        if settings.teaches == "classes":
            check_present(volume, pair.labels.where)
        if not (volume >= 0).any():
            raise BadInput(pair.labels.where, "holds no labelled voxel", todo="label some, or check seg.unknown")
        found.append(each_as_often(volume, DRAWN_ABOUT, settings.seed))
    return found


def _read(settings: SegSettings, pair: Pair) -> Points:
    volume = pair.labels or pair.raw
    files = settings.points or ()
    several = []
    for file in files:
        points = read_points(Path(file))
        points.check_inside(volume.shape(), file)
        if settings.teaches == "classes":
            points.check_classes(file)
        several.append(points)
    points = together(several).latest()
    where = ", ".join(files)
    if settings.teaches == "classes":
        check_present(points.labels, where)
    elif settings.teaches == "foreground" and len(set((points.labels > 0).tolist())) < 2:
        got = "foreground" if points.labels[0] > 0 else "background"
        raise BadInput(where, "all points are of one kind", got=got, wanted="foreground and background")
    return points
