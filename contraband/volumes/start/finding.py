"""What is in an image that nobody has labelled: bright or dark objects or membranes, and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contraband.quick.classical_settings import Classical, Kind
from contraband.quick.otsu import otsu_levels, otsu_threshold
from contraband.volumes.start.planes import SampledSection, Section2D
from contraband.volumes.start.smallest import LEAST_PEAK, depths, least_voxels

ROUND = 0.34
"""Share of what is bright, or dark, that lies in the largest discs within its pieces, from which on these are objects:
0.38 to 0.77 of nuclei, touching ones too, 0.27 and 0.31 of neuropil, at most 0.21 of what is between nuclei."""
NOISE_VX = 1.0
"""Standard deviation of the Gaussian before a threshold; less where objects are small."""
WIDTHS = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Standard deviations at which membranes are looked for, in voxels."""
SHARP = 95.0
"""Percentile of the curvature by which membranes are told."""
SECTIONED = 4 / 3
"""A sphere is larger than most of its sections."""
PERCENT = (1.0, 99.0)
"""What becomes 0 and 1 where membranes are looked for."""


@dataclass(frozen=True)
class Understood:
    """What was found, and how it is told."""

    rules: Classical
    reason: str
    min_voxels: int
    """What has fewer is no object."""


def find(pairs: Sequence[SampledSection], kind: Kind | None, dims: int, z_scale: float) -> Understood:
    """The rules for an image by some of its sections; `kind`: as the user says, or None.

    z_scale: voxels along z as long as one along x.
    """
    sections = [pair.here for pair in pairs]
    bright, dim = roundness(sections)
    has_objects = max(bright, dim) > ROUND
    guessed: Kind = kind or ("nuclei" if has_objects else "membranes")
    why = "as you say" if kind else f"guessed: it consists of {'round pieces' if has_objects else 'what is not round'}"
    if guessed == "membranes":
        dark, radius = _membranes(sections)
    else:
        dark = dim > bright
        radius = _radius(sections, dark) * (SECTIONED if dims == 3 else 1)
    rules = Classical(
        kind=guessed,
        dark=dark,
        radius=round(min(64.0, max(0.5, radius)), 2),
        dims=2 if dims == 2 else 3,
        z_scale=round(min(4.0, max(0.02, z_scale)), 3) if dims == 3 else 1.0,
        smooth=round(min(NOISE_VX, max(0.3, radius / 4)), 2) if guessed != "membranes" else NOISE_VX,
        levels=_levels(sections, guessed, dark, dims),
    )
    return Understood(rules, why, least_voxels(sections, rules))


def roundness(sections: Sequence[Section2D]) -> tuple[float, float]:
    """Of the bright and of the dark pieces of most sections; where one is above `ROUND`, these are objects."""
    bright, dim = np.median([_roundness(section) for section in sections], axis=0).tolist()
    return bright, dim


def _roundness(section: Section2D) -> tuple[float, float]:
    """Of the bright pieces and of the dark ones: the share of them that lies in the largest disc within each."""
    smooth = ndimage.gaussian_filter(section, NOISE_VX)
    bright = smooth > otsu_threshold(smooth)
    return _share_in_discs(bright), _share_in_discs(~bright)


def _share_in_discs(inside: NDArray[np.bool_]) -> float:
    pieces, count = ndimage.label(inside)
    if not count:
        return 0.0
    area = np.bincount(pieces.ravel())[1:]
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    radius = ndimage.maximum(depth, pieces, np.arange(1, count + 1)) - 0.5
    return float(np.minimum(np.pi * radius**2, area).sum() / area.sum())


def _radius(sections: Sequence[Section2D], dark: bool) -> float:
    """The median radius of objects: how far the middles of pieces are from their edges."""
    found: list[NDArray[np.floating]] = []
    for section in sections:
        smooth = ndimage.gaussian_filter(section, NOISE_VX)
        found.append(depths((smooth > otsu_threshold(smooth)) != dark))
    every = np.concatenate(found)
    return float(np.median(every)) if every.size else 2 * LEAST_PEAK


def _membranes(sections: Sequence[Section2D]) -> tuple[bool, float]:
    """Whether membranes are dark, and half their thickness: the width at which valleys, or ridges, are sharpest."""
    scores = np.median([[_sharpness(section, width) for width in WIDTHS] for section in sections], axis=0)
    dark = bool(scores[:, 0].max() >= scores[:, 1].max())
    best = WIDTHS[int(np.argmax(scores[:, 0 if dark else 1]))]
    return dark, best


def _sharpness(section: Section2D, width: float) -> tuple[float, float]:
    """How much the sharpest valleys and ridges of a width curve, so that widths can be compared (Lindeberg 1998)."""
    yy, xx, yx = (ndimage.gaussian_filter(section, width, order=order) for order in ((2, 0), (0, 2), (1, 1)))
    middle, apart = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + yx**2)
    scaled = width**1.5
    valleys = float(np.percentile(middle + apart, SHARP))
    ridges = float(np.percentile(apart - middle, SHARP))
    return valleys * scaled, ridges * scaled


def _levels(sections: Sequence[Section2D], kind: Kind, dark: bool, dims: int) -> tuple[float, float] | None:
    """What becomes 0 and 1: of sections by themselves each has its own, if objects are told by their brightness."""
    if kind == "membranes":
        low, high = np.percentile(np.concatenate([one.ravel() for one in sections]), PERCENT).tolist()
    elif dims == 2:
        return None
    else:
        smooth = [ndimage.gaussian_filter(one, NOISE_VX).ravel() for one in sections]
        low, high = otsu_levels(np.concatenate(smooth), dark)
    return (float(f"{low:.6g}"), float(f"{high:.6g}")) if high > low else (low, low + 1)
