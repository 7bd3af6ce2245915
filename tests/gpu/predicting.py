"""Whether a network says on the device what it says on a CPU, and what becomes of a tile that does not fit."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from contraband.models.predictor import Predictor
from tests.benchmarks.report import Row
from tests.gpu.trial import LeftOut, Trial

MEMORIES = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Of what a tile takes, tried one after the other until it does not fit any more."""


def float32(trial: Trial) -> Iterator[Row]:
    """Values of a tile in float32, and the same as they are stored."""
    here, there = trial.predictor("cpu"), trial.predictor()
    raw = trial.raw(here)
    yield Row("float32: largest difference to a CPU", _apart(here(raw), there(raw)), "of 1", "<= 1e-4")
    steps = np.abs(here.quantised(raw).astype(np.int16) - there.quantised(raw))
    yield Row("float32: largest difference as stored", float(steps.max()), "of 255", "<= 1")


def bfloat16(trial: Trial) -> Iterator[Row]:
    """The same in bfloat16, which has 8 bits: what is allowed is what it may do to a threshold."""
    here, there = trial.predictor("cpu"), trial.predictor(precision="bfloat16")
    raw = trial.raw(here)
    exact, found = here(raw), there(raw)
    yield Row("bfloat16: largest difference to float32 on a CPU", _apart(exact, found), "of 1", "<= 0.1")
    yield Row("bfloat16: mean difference", float(np.abs(exact - found).mean()), "of 1", "<= 0.01")


def compiled(trial: Trial) -> Iterator[Row]:
    """A large tile by a network that torch has compiled, in both precisions."""
    if not trial.is_gpu:
        raise LeftOut("a compiler of C++ takes longer than all else")
    for precision in ("float32", "bfloat16"):
        plain, found = trial.predictor(precision=precision), trial.predictor(precision=precision)
        found.compile()
        raw = trial.raw(plain, trial.large.tile)
        apart = _apart(plain(raw), found(raw))
        rates = [math.prod(trial.large.tile) / _seconds(one, raw) / 1e6 for one in (plain, found)]
        note = f"{rates[1]:.0f} million voxels/s, {rates[0]:.0f} without"
        most = "1e-4" if precision == "float32" else "0.1"
        yield Row(f"compiled, {precision}: largest difference", apart, "of 1", f"<= {most}", None, note)


def _seconds(predictor: Predictor, raw: NDArray[np.uint8]) -> float:
    """Of a tile, when others were computed before."""
    begin, count = time.perf_counter(), 20
    for _ in range(count):
        predictor.quantised(raw)
    return (time.perf_counter() - begin) / count


def tiles(trial: Trial) -> Iterator[Row]:
    """A tile, computed as one corner of a larger one, and alone, and twice."""
    predictor = trial.predictor()
    whole = trial.raw(predictor, tuple(2 * size for size in trial.tile))  # type: ignore[arg-type]
    z, y, x = predictor.input_shape(trial.tile)
    corner = np.ascontiguousarray(whole[:z, :y, :x])
    alone = predictor(corner)
    inside = predictor(whole)[(slice(None), *(slice(0, size) for size in trial.tile))]
    yield Row("tile: largest difference to a larger tile", _apart(alone, inside), "of 1", "<= 1e-5")
    yield Row("tile: bytes that differ when it is computed again", _differing(predictor, corner), "", "<= 0")


def memory(trial: Trial) -> Iterator[Row]:
    """A tile for which the memory does not suffice has the values of one for which it does, and others still fit."""
    tile = trial.tile if trial.is_gpu else (128, 128, 128)  # small ones are taken from what the process has already
    predictor = trial.predictor()
    raw = trial.raw(predictor, tile)
    limited = _on_device if trial.is_gpu else _in_process
    needed = _needed_on_device(trial, raw) if trial.is_gpu else predictor.needed_bytes(tile)
    exact = predictor(raw)
    for share in MEMORIES:
        predictor = trial.predictor()
        with limited(int(share * needed)):
            found = predictor(raw)
        if predictor.halving.too_large is not None:
            break
    is_halved = float(predictor.halving.too_large is not None)
    yield Row("memory: tiles that did not fit and were computed in halves", is_halved, "", ">= 1")
    yield Row("memory: largest difference to the tile at once", _apart(exact, found), "of 1", "<= 1e-5")


def _needed_on_device(trial: Trial, raw: NDArray[np.uint8]) -> int:
    """Bytes that a tile takes beside the weights."""
    predictor = trial.predictor()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    predictor(raw)
    return torch.cuda.max_memory_reserved()


@contextmanager
def _on_device(most: int) -> Iterator[None]:
    """No more bytes of the GPU for this process."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(most / torch.cuda.get_device_properties(0).total_memory)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@contextmanager
def _in_process(more: int) -> Iterator[None]:
    """So many bytes more for this process."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _apart(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.abs(first - second).max())


def _differing(predictor: Predictor, raw: NDArray[np.uint8]) -> float:
    return float(np.count_nonzero(predictor(raw) != predictor(raw)))
