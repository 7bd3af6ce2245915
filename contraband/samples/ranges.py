"""Whether raw lies in about 0..1 once it is multiplied, as networks need it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from blockwise.arrays.values import check_finite
from contraband.models.normalise import is_about_one
from contraband.samples.sources import ZarrVolume

log = logging.getLogger(__name__)

SECTIONS = 8
"""So many sections, spread over the volume, are looked at."""


def is_in_range(volumes: Sequence[ZarrVolume], factor: float) -> bool:
    """Whether raw of all these volumes, times `factor`, is neither all but black nor far too bright.

    Says so, in a line, where a volume has one value only.
    """
    fits = True
    for volume in volumes:
        array = volume.open()  # a reader would load the whole volume for a few of its sections
        places = sorted({int(place) for place in np.linspace(0, volume.shape()[0] - 1, SECTIONS)})
        seen = [np.asarray(array[:] if array.ndim == 2 else array[..., at : at + 1, :, :]) for at in places]
        for place, section in zip(places, seen, strict=True):
            check_finite(section, volume.where, (place, 0, 0))
        low = min(float(section.min()) for section in seen)
        high = max(float(section.max()) for section in seen)
        if low == high:
            log.warning("%s: all voxels are %g: there is nothing to learn", volume.where, low)
        elif not is_about_one(max(abs(low), abs(high)) * factor):
            log.warning(
                "%s: raw is %g to %g, which times norm_factor %g is not about 0..1", volume.where, low, high, factor
            )
            fits = False
    return fits
