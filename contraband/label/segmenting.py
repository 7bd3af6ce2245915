"""The segmentation of a box in memory, by the rules of a run: its watershed, its edges, its merges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blockwise.grid import Voxels, as_voxels
from blockwise.kernels.graph.absorbing import absorb
from blockwise.kernels.graph.agglomeration import agglomerate, cut
from blockwise.kernels.graph.edges import count_edges, count_histograms
from blockwise.kernels.tables import count_overlap, distinct, relabel
from blockwise.kernels.watershed.label import label_block, window
from blockwise.stages.affinity import NEAREST, full_affinity
from contraband.volumes.settings import VolumeSettings


def segment_box(
    affinities: NDArray[np.unsignedinteger], offsets: Sequence[Voxels], settings: VolumeSettings
) -> NDArray[np.uint64]:
    """Segments (z, y, x) at the first threshold of the settings; 0 is background.

    affinities: (K, z, y, x) uint8 or uint16 of the box alone, with the neighbours that `offsets` tell. What a run makes
    of the same voxels differs near the edges of the box, where it sees more: a fragment that reaches them may go on,
    and is large enough whatever `segment.min_voxels` says.
    """
    rules = settings.fragments
    shape = as_voxels(affinities.shape[1:])
    nearest = [list(offsets).index(one) for one in (NEAREST[1:] if rules.per_section else NEAREST)]
    ids, _ = label_block(affinities[nearest], window(rules, shape, (0, 0, 0), shape), rules)
    counted = [
        channel
        for channel, offset in enumerate(offsets)
        if (settings.edges.offsets == "all" or offset in NEAREST) and not (rules.per_section and offset[0])
    ]
    chosen, steps = affinities[counted], [offsets[channel] for channel in counted]
    merging = settings.agglomerate
    histograms = count_histograms(ids, chosen, steps, (0, 0, 0)) if merging.statistic.percent else None
    edges = count_edges(ids, chosen, steps, (0, 0, 0))
    tree = agglomerate(edges, full_affinity(affinities.dtype), merging, distinct(ids), histograms)
    if settings.segment.min_voxels:
        voxels = _voxels(ids, tree.fragment, settings)
        tree = absorb(tree, voxels, [edges], settings.segment)
    segments: NDArray[np.uint64] = relabel(ids, tree.fragment, cut(tree, settings.segment.thresholds[0]))
    return segments


def _voxels(ids: NDArray[np.uint64], fragment: NDArray[np.uint64], settings: VolumeSettings) -> NDArray[np.int64]:
    """Of each fragment (n,) in the box; of one that reaches a face beyond which it may go on, as many as it needs."""
    counted = count_overlap(ids, np.zeros(ids.shape, np.uint8))
    counted = counted[counted["fragment"] > 0]
    voxels = np.zeros(len(fragment), np.int64)
    voxels[np.searchsorted(fragment, counted["fragment"])] = counted["voxels"]
    axes = (1, 2) if settings.fragments.per_section else (0, 1, 2)
    faces = np.concatenate([np.take(ids, [0, -1], axis).ravel() for axis in axes])
    voxels[np.isin(fragment, faces)] = settings.segment.min_voxels
    return voxels
