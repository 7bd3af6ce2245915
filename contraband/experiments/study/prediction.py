"""What networks say of whole images, or volumes, in memory, mirrored at their borders as in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contraband.models.hardware import Hardware, choose_device
from contraband.models.normalise import Percentiles, measure
from contraband.models.predictor import Predictor

FEW = 16
"""With more pixels than this in an image, all of it is predicted: that is less work."""
AT_ONCE = 4
"""Images that a network sees at a time; more need more memory and are no faster on a processor."""
TILE = (32, 64, 64)
"""Voxels that a network in 3D says at a time."""


def class_predictor(content: Mapping[str, Any]) -> Predictor:
    """A network that tells classes, as one that tells `inside` and `not background`, from which all three follow.

    The affinity of a voxel with itself is its probability of inside.
    """
    head = content["head"] | {"foreground": True}
    return Predictor({**content, "head": head, "offsets": [[0, 0, 0]]}, "affinities", exact_hardware())


def exact_hardware() -> Hardware:
    """A GPU where there is one, in float32."""
    return Hardware(choose_device("auto"), bfloat16=False)


def classes_whole(predictor: Predictor, raw: NDArray[Any]) -> NDArray[np.float32]:
    """(3, S, y, x): probabilities of classes in images (S, y, x)."""
    return all_classes(whole(predictor, raw))


def classes_at(predictor: Predictor, raw: NDArray[Any], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """(P, 3): the same at pixels (P, 3) of images, (section, y, x)."""
    if predictor.context[0]:
        return all_classes(_deep_at(predictor, raw, positions).T).T
    sections, place = np.unique(positions[:, 0], return_inverse=True)
    if len(positions) <= FEW * len(sections):
        return all_classes(at_points(predictor, raw, positions).T).T
    return classes_whole(predictor, raw[sections])[:, place, positions[:, 1], positions[:, 2]].T


def all_classes(said: NDArray[np.float32]) -> NDArray[np.float32]:
    """(3, ...): probabilities of background, inside and boundary from what `class_predictor` says, (2, ...)."""
    inside, object_ = said
    return np.stack([1 - object_, inside, np.maximum(object_ - inside, 0)])


def stretched(raw: NDArray[Any], percentiles: Percentiles | None) -> NDArray[Any]:
    """(S, y, x) with its percentiles at 0 and 1; as it is where there are none."""
    if percentiles is None:
        return raw
    levels = measure(lambda begin, end: raw[None, begin:end], len(raw), percentiles, len(raw))
    return levels.apply(raw, np.arange(len(raw)))


def whole(predictor: Predictor, raw: NDArray[Any]) -> NDArray[np.float32]:
    """(C, S, y, x) of images (S, y, x) as they are stored."""
    if predictor.context[0]:
        return _deep(predictor, raw)
    values = stretched(raw, predictor.percentiles)
    shape = raw.shape[1:]
    context, stride = predictor.context[1:], predictor.stride[1:]
    beyond = [-size % step for size, step in zip(shape, stride, strict=True)]
    sides = [(margin, margin + more) for margin, more in zip(context, beyond, strict=True)]
    padded = np.pad(values, ((0, 0), *sides), mode="reflect")
    pieces = [predictor(padded[begin : begin + AT_ONCE]) for begin in range(0, len(raw), AT_ONCE)]
    return np.concatenate(pieces, axis=1)[:, :, : shape[0], : shape[1]]


def _deep(predictor: Predictor, raw: NDArray[Any]) -> NDArray[np.float32]:
    """The same of a volume (z, y, x), which a network in 3D sees tile by tile."""
    padded, size = _surrounded(predictor, raw)
    tile = predictor.fit_output(TILE)
    result = np.empty((predictor.channels, *size), np.float32)
    for place in np.ndindex(*(-(-whole // step) for whole, step in zip(size, tile, strict=True))):
        begin = [at * step for at, step in zip(place, tile, strict=True)]
        extents = [min(step, whole - low) for step, whole, low in zip(tile, size, begin, strict=True)]
        needed = predictor.input_shape(extents)
        crop = padded[tuple(slice(low, low + extent) for low, extent in zip(begin, needed, strict=True))]
        result[(slice(None), *(slice(low, low + n) for low, n in zip(begin, extents, strict=True)))] = predictor(crop)
    return result[(slice(None), *(slice(0, n) for n in raw.shape))]


def _deep_at(predictor: Predictor, raw: NDArray[Any], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """(P, C) at voxels (P, 3): where there are many, the whole volume is predicted, which is less work."""
    padded, size = _surrounded(predictor, raw)
    extents = predictor.input_shape(predictor.stride)
    if len(positions) * np.prod(extents) > np.prod(size):
        said: NDArray[np.float32] = _deep(predictor, raw)[(slice(None), *positions.T)].T
        return said
    step = np.array(predictor.stride)
    found = []
    for place in positions:
        begin = place // step * step
        crop = padded[tuple(slice(low, low + extent) for low, extent in zip(begin, extents, strict=True))]
        found.append(predictor(crop)[(slice(None), *(place - begin))])
    return np.stack(found)


def _surrounded(predictor: Predictor, raw: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, ...]]:
    """A volume mirrored at its border as far as a network in 3D sees, and its extents in whole strides."""
    values = stretched(raw, predictor.percentiles)
    size = tuple(-(-n // step) * step for n, step in zip(raw.shape, predictor.stride, strict=True))
    margins = zip(predictor.context, size, raw.shape, strict=True)
    return np.pad(values, [(margin, margin + whole - n) for margin, whole, n in margins], mode="reflect"), size


def at_points(predictor: Predictor, raw: NDArray[Any], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """(P, C): the same as `whole` at pixels (P, 3) of images, from no more than a network needs to see for each."""
    values = stretched(raw, predictor.percentiles)
    tile = predictor.stride
    need = [size // step * step + step for size, step in zip(raw.shape[1:], tile[1:], strict=True)]
    margins = predictor.context[1:]
    beyond = ((margin, margin + more - size) for margin, more, size in zip(margins, need, raw.shape[1:], strict=True))
    sides = tuple(beyond)
    extents = predictor.input_shape(tile)[1:]
    crops = []
    for section, *place in positions.tolist():
        padded = np.pad(values[section], sides, mode="reflect")
        window = tuple(
            slice(at // step * step, at // step * step + extent)
            for at, step, extent in zip(place, tile[1:], extents, strict=True)
        )
        crops.append(padded[window])
    said = predictor(np.stack(crops))
    inside = positions[:, 1:] % np.array(tile[1:])
    found: NDArray[np.float32] = said[:, np.arange(len(positions)), inside[:, 0], inside[:, 1]].T
    return found
