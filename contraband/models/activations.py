"""How much memory a network takes for a tile, counted on tensors that have shapes and no values."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


def peak_bytes(compute: Callable[[torch.Tensor], torch.Tensor], shape: Sequence[int]) -> int:
    """Bytes of all tensors that are there at once while `compute` goes over a batch of float32, the batch included.

    compute: with weights on torch's device `meta`. What the operators need inside, and the weights, is not counted.
    """
    living = _Living()
    with torch.inference_mode(), living:
        batch = torch.empty(*shape, device="meta")
        compute(batch)
    return living.most


class _Living(TorchDispatchMode):
    """Counts the bytes of tensors from their operator on until nobody has them any more."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else (result,):
            if isinstance(one, torch.Tensor):
                self._note(one.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        name = storage._cdata
        if name in self._known:  # a view, or computed in place
            return
        self._known.add(name)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, name, storage.nbytes())

    def _forget(self, name: int, size: int) -> None:
        self._known.discard(name)
        self.now -= size
