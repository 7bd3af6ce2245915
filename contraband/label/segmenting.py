"""The segmentation of a box in memory, by the rules of a run: its watershed, its edges, its merges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blockwise.grid import Voxels, as_voxels
from blockwise.kernels.graph.agglomeration import agglomerate, cut
from blockwise.kernels.graph.edges import count_edges, count_histograms
from blockwise.kernels.tables import distinct, relabel
from blockwise.kernels.watershed.label import label_block, window
from blockwise.stages.affinity import NEAREST, full_affinity
from contraband.volumes.settings import VolumeSettings


def segment_box(
    affinities: NDArray[np.unsignedinteger], offsets: Sequence[Voxels], settings: VolumeSettings
) -> NDArray[np.uint64]:
    """Segments (z, y, x) at the first threshold of the settings; 0 is background.

    affinities: (K, z, y, x) uint8 or uint16 of the box alone, with the neighbours that `offsets` tell. What a run makes
    of the same voxels differs near the edges of the box, where it sees more.
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
    segments: NDArray[np.uint64] = relabel(ids, tree.fragment, cut(tree, settings.segment.thresholds[0]))
    return segments
