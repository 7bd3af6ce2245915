"""Two random views of the same voxels and the points that pair them, for contrastive training.

Points are drawn on whole voxels of the first view's output and carried through the two maps, so row i of both lists is
always the same place in the volume; a point that leaves the second view is replaced by the next one drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from contraband.samples.augment import Augmenter, Geometry, Shape3, to_relative, to_voxels

SPARE = 3
"""Candidates drawn for each point wanted, where nothing zooms."""


def two_views(
    augmenter: Augmenter, source: Tensor, seeds: Sequence[int], output_shape: Shape3, count: int
) -> dict[str, Tensor]:
    """Two augmented views of source raw (B, C, Z, Y, X), and points in the network's output, which is centred in them.

    Returns raw_0, raw_1 (B, C, Z, Y, X), points_0, points_1 (B, count, 3) int64 voxels of the output, valid (B, count),
    and places (B, count, 3) float32: where the points lie in the source, in its voxels, from its centre.
    """
    maps = [augmenter.draw(seeds, source.device, view) for view in (0, 1)]
    low, high = augmenter.zoom_interval
    # a second view that is zoomed in sees the squared ratio of the first
    candidates = math.ceil(SPARE * count * (high / low) ** 2)
    first, second, valid = _pairs(maps[0], maps[1], seeds, output_shape, (count, candidates))
    places = maps[0].to_source(to_relative(first.float(), output_shape))
    return {
        "raw_0": augmenter.raw(source, maps[0], seeds, 0),
        "raw_1": augmenter.raw(source, maps[1], seeds, 1),
        "points_0": first,
        "points_1": second,
        "valid": valid,
        "places": places,
    }


def _pairs(
    first_map: Geometry, second_map: Geometry, seeds: Sequence[int], shape: Shape3, counts: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Points (B, counts[0], 3) of both views and which pairs are valid, out of counts[1] candidates."""
    device, count = first_map.matrix.device, counts[0]
    drawn = torch.from_numpy(np.stack([_candidates(seed, shape, counts[1]) for seed in seeds])).to(device)
    source = first_map.to_source(to_relative(drawn.float(), shape))
    partner, inside = to_voxels(second_map.to_output(source), shape)
    inside[:, int(np.prod(shape)) :] = False  # these are repeated
    order = torch.argsort((~inside).to(torch.int8), dim=1, stable=True)[:, :count]  # those inside come first
    spread = order[..., None].expand(-1, -1, 3)
    return drawn.gather(1, spread), partner.gather(1, spread), inside.gather(1, order)


def _candidates(seed: int, shape: Shape3, count: int) -> np.ndarray:
    """`count` different voxels (count, 3) of a shape, or all of them, repeated, if there are fewer."""
    random = np.random.default_rng([seed, 3])
    total = int(np.prod(shape))
    flat = random.choice(total, min(count, total), replace=False)
    return np.stack(np.unravel_index(np.resize(flat, count), shape), axis=1).astype(np.int64)
