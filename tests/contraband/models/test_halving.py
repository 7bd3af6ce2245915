"""Tiles for which the memory does not suffice; `tests/gpu` lets it run out in earnest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blockwise.errors import WorkFailed
from contraband.models.halving import Halving
from contraband.models.hardware import Hardware
from contraband.models.predictor import Predictor, load_predictor
from contraband.models.settings import ModelSettings
from tests.support.tiny import MODELS
from tests.support.untrained import store_untrained


@pytest.fixture(params=[2, 3])
def predictor(request: pytest.FixtureRequest, tmp_path: Path) -> Predictor:
    """A network in 2D or 3D."""
    store_untrained(tmp_path / "network", ModelSettings.parse(MODELS[request.param], "test"))
    return load_predictor(tmp_path / "network", "affinities", "cpu")


def short_of_memory(
    compute: Callable[[np.ndarray], torch.Tensor], most: int, asked: list[tuple[int, ...]], error: Exception
) -> Callable[[np.ndarray], torch.Tensor]:
    """The same, but raw of more than `most` voxels does not fit."""

    def limited(raw: np.ndarray) -> torch.Tensor:
        asked.append(raw.shape)
        if raw.size > most:
            raise error
        with torch.inference_mode():
            return compute(raw)

    return limited


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        MemoryError("Unable to allocate 8 bytes"),
    ],
    ids=["gpu", "cpu", "numpy"],
)
def test_a_tile_in_pieces_has_the_values_of_the_tile(predictor: Predictor, error: Exception) -> None:
    """What does not fit is computed in halves of halves, to 1e-5 as at once; what did not fit is not tried again."""
    raw = np.random.default_rng(0).integers(0, 255, predictor.input_shape((6, 30, 26))).astype(np.uint8)
    halving, asked = Halving(predictor.context, predictor.stride), []
    compute = short_of_memory(predictor._computed, raw.size // 2, asked, error)
    found = halving(compute, raw).numpy()
    np.testing.assert_allclose(found, predictor(raw), atol=1e-5, rtol=0)
    assert asked[0] == raw.shape
    assert len(asked) > 3
    before = len(asked)
    assert np.array_equal(halving(compute, raw).numpy(), found)
    assert raw.shape not in asked[before:]


def test_what_cannot_be_halved_is_told(predictor: Predictor) -> None:
    """Where not even one stride fits, one line says so; another error of torch is handed on."""
    raw: Any = np.zeros(predictor.input_shape(predictor.stride), np.uint8)
    out_of_memory, other = torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("illegal instruction")
    for error, seen in ((out_of_memory, WorkFailed), (other, RuntimeError)):
        halving = Halving(predictor.context, predictor.stride)
        with pytest.raises(seen, match="memory does not suffice" if seen is WorkFailed else "illegal"):
            halving(short_of_memory(predictor._computed, 0, [], error), raw)


def test_float32_on_a_gpu_is_float32() -> None:
    """A prediction in float32 switches TF32 off for convolutions, and only while it computes; bfloat16 needs not."""
    assert torch.backends.cudnn.allow_tf32
    with Hardware(torch.device("cuda"), bfloat16=False).arithmetic():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32
