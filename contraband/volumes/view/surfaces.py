"""The surface of one object, from the blocks that it lies in: followed from block to block, in any volume."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

BLOCK_VX = 64
"""Voxels of a block that is read, along each axis."""
LARGEST_VX = 1024
"""A volume that is longer along an axis is looked at in steps along it, since more cannot be seen."""
MOST_BLOCKS = 4096
"""Where the surface of an object ends, however far it goes on."""

BlockIndex = tuple[int, ...]
LoadPiece = Callable[[np.ndarray, np.ndarray, BlockIndex], np.ndarray]
"""Pieces as `Pieces.piece` gives them."""


def surface(
    load: LoadPiece, shape: Sequence[int], segment: int, inside: Sequence[int], scale: Sequence[float]
) -> bytes:
    """The surface as neuroglancer wants it: vertices, each (z, y, x) from the volume's corner, and triangles.

    inside: a voxel of the object. scale: the size of a voxel. Parts of the object that only hang together outside of
    its blocks' faces are left out. Empty if the object is not there.
    """
    factor = tuple(max(1, -(-size // LARGEST_VX)) for size in shape)
    coarse = tuple(-(-size // by) for size, by in zip(shape, factor, strict=True))
    first = tuple(at // by // BLOCK_VX for at, by in zip(inside, factor, strict=True))
    vertices = [np.empty((0, 3), np.float32)]
    triangles = [np.empty((0, 3), np.uint32)]
    count = 0
    for begin, mask in followed(load, coarse, factor, segment, first):
        for corners, faces in meshes(mask):
            vertices.append(((corners + begin + 0.5) * factor * np.asarray(scale)).astype(np.float32))
            triangles.append(faces + np.uint32(count))
            count += len(corners)
    return np.uint32(count).tobytes() + np.concatenate(vertices).tobytes() + np.concatenate(triangles).tobytes()


def followed(
    load: LoadPiece, shape: BlockIndex, factor: BlockIndex, segment: int, first: BlockIndex
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(place of the first voxel, mask) of every block that the object reaches; masks overlap by one voxel.

    Beyond the volume there is a layer of nothing, so that surfaces are closed.
    """
    known = {first}
    waiting = [first]
    while waiting and len(known) <= MOST_BLOCKS:
        block = waiting.pop()
        begin = np.array(block) * BLOCK_VX
        end = np.minimum(begin + BLOCK_VX + 1, shape)
        mask = load(begin, end, factor) == np.uint64(segment)
        if not mask.any():
            continue
        for neighbour in _reached(mask, block, shape):
            if neighbour not in known:
                known.add(neighbour)
                waiting.append(neighbour)
        low = (begin == 0).astype(int)
        high = (end == shape).astype(int)
        yield begin - low, np.pad(mask, list(zip(low, high, strict=True)))


def meshes(mask: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The corners (n, 3) and triangles (m, 3) around what is True; nothing if there is no border in it."""
    from neuroglancer import _neuroglancer

    # Half a voxel of error is not seen; corners on the border stay, so that blocks meet.
    options = {"max_quadrics_error": 0.25, "max_normal_angle_deviation": 90.0, "lock_boundary_vertices": True}
    maker = _neuroglancer.OnDemandObjectMeshGenerator(
        mask.astype(np.uint8).transpose(), [1.0, 1.0, 1.0], np.zeros(3), **options
    )
    packed = maker.get_mesh(1)
    if packed is not None:
        count = int(np.frombuffer(packed, "<u4", 1)[0])
        corners = np.frombuffer(packed, "<f4", 3 * count, 4).reshape(-1, 3)
        yield corners, np.frombuffer(packed, "<u4", offset=4 + 12 * count).reshape(-1, 3)


def _reached(mask: np.ndarray, block: BlockIndex, shape: BlockIndex) -> Iterator[BlockIndex]:
    """The blocks beside one into which the object goes on."""
    for axis, step in itertools.product(range(3), (-1, 1)):
        place = block[axis] + step
        if 0 <= place * BLOCK_VX < shape[axis] and mask.take(0 if step < 0 else -1, axis).any():
            yield (*block[:axis], place, *block[axis + 1 :])
