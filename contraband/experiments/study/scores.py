"""From probabilities of classes to objects and to scores.

All images are (S, y, x), or (S, z, y, x) in 3D; each is segmented by itself.

A pixel is of its likeliest class, for every arm: nobody with a few labels could choose a threshold.
"""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contraband.experiments.study.data import BACKGROUND, BOUNDARY, INSIDE, Images, classes_of
from contraband.experiments.study.data_settings import StudyData
from contraband.quick.otsu import otsu_threshold

Probabilities = NDArray[np.float32]
"""(3, S, y, x): of background, inside and boundary."""

LEVELS = 1024
"""Steps of probability that average precision tells apart."""
LEAST_PIXELS = 16
"""Smaller objects that are found are noise."""
SIGMA = 0.75
"""Pixels by which raw is blurred before Otsu's threshold."""


def score(probabilities: Probabilities, images: Images, settings: StudyData) -> dict[str, float]:
    """The scores of a kind of data, over all images together."""
    classes = classes_of(images.labels, settings)
    found = {"ap": average_precision(probabilities[BOUNDARY], classes == BOUNDARY)}
    truth = alone(images.labels, settings.dims)
    ours = segmented(probabilities, settings)
    if settings.kind == "nuclei":
        return {"f1": f1_of_objects(ours, truth)} | found
    return found | {"voi": voi(ours, connected(truth))}


def alone(values: NDArray[Any], dims: int) -> NDArray[Any]:
    """Sections (S, ..), each an image of its own, or a whole volume as the only image (1, z, y, x)."""
    return values if dims == 2 else values[None]


def segmented(probabilities: Probabilities, settings: StudyData) -> NDArray[np.int64]:
    """Objects of each image, as the kind of data has them."""
    said = np.stack([alone(one, settings.dims) for one in probabilities])
    return nuclei(said, settings.rim) if settings.kind == "nuclei" else cells(said)


def nuclei(probabilities: Probabilities, rim: int) -> NDArray[np.int64]:
    """Objects: connected pixels of inside, each grown by `rim` pixels into what is not background; 0 elsewhere."""
    likeliest = probabilities.argmax(0)
    pieces = _pieces(likeliest == INSIDE)
    near = ndimage.distance_transform_edt(pieces == 0, sampling=(1e6, *(1,) * (pieces.ndim - 1)), return_indices=True)
    is_rim = (near[0] <= rim) & (likeliest != BACKGROUND)
    return np.where(is_rim, pieces[tuple(near[1])], pieces)


def cells(probabilities: Probabilities) -> NDArray[np.int64]:
    """Objects that fill each image: connected pixels of inside, the rest given to the nearest; 1 if there is none."""
    pieces = _pieces(probabilities.argmax(0) == INSIDE)
    for section in pieces:
        if not section.any():
            section[:] = 1
            continue
        nearest = ndimage.distance_transform_edt(section == 0, return_distances=False, return_indices=True)
        section[:] = section[tuple(nearest)]
    return pieces


def otsu(raw: NDArray[Any], settings: StudyData) -> Probabilities:
    """What Otsu's threshold of each image says, as probabilities of 0 and 1; dark is background, or boundary."""
    inside = np.empty(raw.shape, bool)
    for section, image in zip(alone(inside, settings.dims), alone(raw, settings.dims), strict=True):
        blurred = ndimage.gaussian_filter(image.astype(np.float32), SIGMA)
        section[:] = blurred > otsu_threshold(blurred)
    rest = BACKGROUND if settings.kind == "nuclei" else BOUNDARY
    result = np.zeros((3, *raw.shape), np.float32)
    result[INSIDE] = inside
    result[rest] = ~inside
    return result


def f1_of_objects(found: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> float:
    """2 hits / (found + true objects), over all images; a hit overlaps a true object with IoU above 0.5."""
    hits = objects = 0
    for ours, theirs in zip(found, truth, strict=True):
        shared = _shared(ours, theirs)
        sizes = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
        iou = (shared / np.maximum(sizes, 1))[1:, 1:]
        hits += int((iou > 0.5).sum())
        objects += sum(iou.shape)
    return 2 * hits / objects if objects else 1.0


def average_precision(probability: NDArray[np.floating[Any]], truth: NDArray[np.bool_]) -> float:
    """The area under precision over recall of pixels, all of one step of probability at once; 0 if nothing is true."""
    level = np.minimum((probability * LEVELS).astype(np.int64), LEVELS - 1).ravel()
    total = np.bincount(level, minlength=LEVELS)[::-1].cumsum()
    true = np.bincount(level[truth.ravel()], minlength=LEVELS)[::-1].cumsum()
    if not true[-1]:
        return 0.0
    precision = true / np.maximum(total, 1)
    recall = true / true[-1]
    return float((np.diff(recall, prepend=0) * precision).sum())


def voi(found: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> float:
    """Bits lost by splitting and merging, the mean over images; pixels whose truth is 0 are not counted."""
    bits = []
    for ours, theirs in zip(found, truth, strict=True):
        shared = _shared(ours, theirs)[:, 1:].astype(np.float64)
        joint, sides = _entropy(shared), _entropy(shared.sum(0)) + _entropy(shared.sum(1))
        bits.append(2 * joint - sides)
    return float(np.mean(bits))


def connected(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Labels that are connected within their image: a body cut twice by a section is two objects there."""
    return np.stack([_renumbered(section) for section in labels])


def _pieces(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Components of at least `LEAST_PIXELS`, numbered within each image; 0 elsewhere."""
    pieces = np.stack([_renumbered(section) for section in mask])
    for section in pieces:
        section[(np.bincount(section.ravel()) < LEAST_PIXELS)[section]] = 0
    return pieces


def _renumbered(section: NDArray[Any]) -> NDArray[np.int64]:
    values = section.astype(np.uint32) if section.dtype != bool else section
    numbered: NDArray[np.int64] = cc3d.connected_components(values, connectivity=2 * values.ndim).astype(np.int64)
    return numbered


def _shared(ours: NDArray[np.integer[Any]], theirs: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Pixels that each of our objects shares with each of theirs; row and column 0 are background."""
    mine = _places(ours)
    true = _places(theirs)
    width = int(true.max()) + 1
    counts = np.bincount(mine * width + true, minlength=(int(mine.max()) + 1) * width)
    shared: NDArray[np.int64] = counts.reshape(-1, width)
    return shared


def _places(labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Labels as numbers from 1 without gaps; 0 stays 0."""
    ids, place = np.unique(labels.ravel(), return_inverse=True)
    numbered: NDArray[np.int64] = place.astype(np.int64) + int(ids[0] != 0)
    return numbered


def _entropy(counts: NDArray[np.float64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())
