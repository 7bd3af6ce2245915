"""Tiles of network files for which the memory does not suffice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contraband.models.engines.base import Engine, tells_of_memory
from contraband.models.foreign.files import load_engine
from contraband.models.foreign.predictor import ForeignPredictor
from contraband.models.foreign.settings import NetworkInput, NetworkUse
from tests.support.networks import exported_file, onnx_file
from tests.support.volumes import NEAREST


class Limited:
    """An engine with memory for so many voxels."""

    def __init__(self, engine: Engine, most: int) -> None:
        self._engine = engine
        self._most = most
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.asked.append(batch.shape)
        if batch.size > self._most:
            raise MemoryError(f"unable to allocate {batch.nbytes} bytes")
        return self._engine(batch)


@pytest.mark.parametrize("program", ["torch", "openvino", "onnxruntime"])
def test_a_tile_in_pieces_has_the_values_of_the_tile(tmp_path: Path, program: str) -> None:
    """What does not fit is computed in halves of whole strides, to 1e-5 as at once."""
    pytest.importorskip(program, reason=f"{program} is not installed")
    file = exported_file(tmp_path / "net.pt2") if program == "torch" else onnx_file(tmp_path / "net.onnx")
    engine = load_engine(file, program, "float32", "cpu")
    use = NetworkUse(
        engine=program,
        precision="float32",
        context=(1, 1, 1),
        stride=(4, 2, 3),
        input=NetworkInput(),
        says="boundary",
        offsets=tuple((z, y, x) for z, y, x in NEAREST),
    )
    limited = Limited(engine, 14 * 16 * 20)
    whole, halved = (ForeignPredictor(one, use, "digest") for one in (engine, limited))
    shape = [size + 2 * lost for size, lost in zip((16, 20, 24), whole.context, strict=True)]
    raw = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    np.testing.assert_allclose(halved(raw), whole(raw), atol=1e-5, rtol=0)
    assert len(limited.asked) > 4
    assert all((size - 2) % step == 0 for one in limited.asked for size, step in zip(one[2:], use.stride, strict=True))


@pytest.mark.parametrize(
    "said", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 8", "CUDA out of memory"]
)
def test_what_engines_say_of_memory_is_known(said: str) -> None:
    """Few have an error of its own; other errors are none of memory."""
    assert tells_of_memory(RuntimeError(said))
    assert not tells_of_memory(RuntimeError("illegal instruction"))
