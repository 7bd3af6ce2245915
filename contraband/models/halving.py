"""Tiles for which the memory does not suffice are computed in halves, and these in halves again if need be."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import WorkFailed
from contraband.models.engines.base import tells_of_memory

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class Halving:
    """Computes tiles of one network; a half begins at a whole stride, so its values are those of the tile to rounding.

    What did not fit once is not tried again, so that only one tile of a worker takes longer.
    """

    def __init__(self, context: Sequence[int], stride: Sequence[int]) -> None:
        """context: voxels lost on each side along z, y, x; stride: where halves may begin."""
        self._context = context
        self._stride = stride
        self.too_large: int | None = None
        """Voxels of the smallest tile that did not fit; None: all did."""

    def __call__[Values: (torch.Tensor, NDArray[np.float32])](
        self, compute: Callable[[NDArray[Any]], Values], raw: NDArray[Any]
    ) -> Values:
        """(C, z, y, x) of a tile by `compute`, from raw with its context; WorkFailed if not even a stride fits."""
        output = [size - 2 * lost for size, lost in zip(raw.shape[-3:], self._context, strict=True)]
        is_tried = self.too_large is None or prod(output) < self.too_large
        if is_tried and (found := _attempt(compute, raw)) is not None:
            return found
        axis, at = self._middle(output)
        if is_tried:
            self.too_large = prod(output)
            log.warning("the memory does not suffice for a tile of %s voxels; it is computed in halves", output)
        halves = []
        for kept in (slice(0, at + 2 * self._context[axis]), slice(at, None)):
            z, y, x = (kept if one == axis else slice(None) for one in range(3))
            halves.append(_on_cpu(self(compute, raw[..., z, y, x])))
        joined: Values = _joined(halves, axis + 1)
        return joined

    def _middle(self, output: Sequence[int]) -> tuple[int, int]:
        """The longest axis that can be halved, and the voxel at which its second half begins."""
        axes = [axis for axis in range(3) if output[axis] >= 2 * self._stride[axis]]
        if not axes:
            raise WorkFailed(
                f"the memory does not suffice for the network, not even for a tile of {list(output)} voxels; "
                "give it a larger GPU, or set model.device: cpu"
            )
        axis = max(axes, key=lambda one: output[one])
        return axis, output[axis] // self._stride[axis] // 2 * self._stride[axis]


def _attempt[Values](compute: Callable[[NDArray[Any]], Values], raw: NDArray[Any]) -> Values | None:
    """What is computed, or None where the memory does not suffice."""
    try:
        return compute(raw)
    except (RuntimeError, MemoryError) as error:
        if not tells_of_memory(error):
            raise
    # Only here, where the error and the tensors that it holds are gone.
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return None


def _on_cpu(values: Any) -> Any:
    """A tensor away from the GPU, which has to hold the other half; arrays are there already."""
    return values if isinstance(values, np.ndarray) else values.cpu()


def _joined(halves: list[Any], axis: int) -> Any:
    if isinstance(halves[0], np.ndarray):
        return np.concatenate(halves, axis)
    import torch

    return torch.cat(halves, dim=axis)
