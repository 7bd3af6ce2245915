"""A plane of a run as panels of a picture, for those without a browser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blockwise.arrays.volume import Volume, info
from contraband.importing.sections import SectionImage, images_in
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.view.layers import LIVE, TRUTH, chosen_layer, layers_of
from contraband.volumes.view.numbers import open_live
from contraband.volumes.view.pieces import Pieces, StoredPieces
from contraband.volumes.view.sampling import contrast

LARGEST_PX = 1024
"""A larger plane is shown in steps."""
BAND_VX = 1 << 24
"""Voxels of a plane that are read at once."""


def panels(settings: VolumeSettings) -> dict[str, np.ndarray]:
    """The middle plane of raw, of the chosen segments and of the truth, by their titles; what is not there is left out.

    Raises BadInput if there is nothing yet.
    """
    found = layers_of(settings)
    live = open_live(settings)
    threshold = live.threshold if live else settings.segment.thresholds[0]
    chosen = LIVE if live else chosen_layer(list(found), threshold)
    shown: dict[str, np.ndarray] = {}
    images = images_in(info(found["raw"]).attributes) if "raw" in found else ()
    if "raw" in found:
        shown["raw"] = _stretched(found["raw"], images)
    if live is not None:
        shown[f"segments at {threshold:g}"] = _plane(live, images)
    elif chosen is not None and chosen != "affinities":
        shown[chosen] = _plane(StoredPieces(found[chosen], is_image=False), images)
    elif chosen is not None:
        shown[chosen] = _plane(StoredPieces(found[chosen], is_image=True), images)
    if TRUTH in found:
        shown["truth"] = _plane(StoredPieces(found[TRUTH], is_image=False), images).astype(np.uint64)
    return shown


def _plane(pieces: Pieces, images: Sequence[SectionImage]) -> np.ndarray:
    """(y, x), or (y, x, 3) of the first three channels: the plane in the middle of the volume.

    Of two channels the first is magenta and the second green. images: what the sections are where they are images of
    their own, of which the padding is not shown.
    """
    channels = len(pieces.shape) - 3
    depth, height, width = pieces.shape[-3:]
    if len(images) == depth:
        height, width = min(height, images[depth // 2].height), min(width, images[depth // 2].width)
    step = max(1, -(-max(height, width) // LARGEST_PX))
    factor = (*(1 for _ in range(channels)), 1, step, step)
    rows = -(-height // step)
    band = max(1, BAND_VX // (width * step))  # a plane of 20,000 x 20,000 is not held as a whole
    bands = []
    for begin in range(0, rows, band):
        low = (*(0 for _ in range(channels)), depth // 2, begin, 0)
        high = (*pieces.shape[:channels], depth // 2 + 1, min(begin + band, rows), -(-width // step))
        bands.append(pieces.piece(np.array(low), np.array(high), factor)[..., 0, :, :])
    plane: np.ndarray = np.concatenate(bands, axis=-2)
    if not channels:
        return plane
    if len(plane) == 1:
        plane = plane[0]
        return plane
    return np.moveaxis(plane[:3] if len(plane) > 2 else plane[[0, 1, 0]], 0, -1)


def _stretched(volume: Volume, images: Sequence[SectionImage]) -> np.ndarray:
    """The plane of an image, between 0 for dark and 1 for bright."""
    low, high = contrast(volume)
    plane = _plane(StoredPieces(volume, is_image=True), images)
    return np.clip((plane.astype(np.float64) - low) / (high - low), 0, 1)
