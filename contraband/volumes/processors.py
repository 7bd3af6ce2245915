"""Which processors a prediction was computed by: one volume is not computed by two kinds unless that is wanted."""

from __future__ import annotations

import numpy as np

from blockwise.arrays.volume import Volume, open_array
from blockwise.cluster.settings import Cluster
from blockwise.errors import BadInput
from contraband.models.engines.processor import instruction_sets


def are_workers_here(cluster: Cluster) -> bool:
    """Whether all workers are processes that the run itself starts on this machine."""
    return cluster.address is None and cluster.is_local


def processor_of(engine: str, device: str) -> str | None:
    """The kind of processor that computes a network on this machine; None where a GPU does."""
    if device == "cuda":
        return None
    if engine == "torch":
        from contraband.models.hardware import choose_device

        if choose_device(device).type != "cpu":
            return None
    return instruction_sets()


def keep_processor(target: Volume, processor: str, done: np.ndarray, may_differ: bool) -> None:
    """Store with a prediction that a kind of processor computes what is left of it.

    done: bool, which blocks are finished. Raises BadInput if these were computed by another kind, unless it
    `may_differ`.
    """
    if done.all():
        return
    attributes = open_array(target, "r+").attrs
    stored = attributes.get("processors") if done.any() else None
    known = [str(one) for one in stored] if isinstance(stored, list) else []
    if known and processor not in known and not may_differ:
        raise BadInput(
            target.path,
            "finished blocks were predicted by a processor with other instructions, so values differ by rounding",
            got=processor,
            wanted=" or ".join(known),
            todo="go on there, or set model.other_processors: true",
        )
    if processor not in known:
        attributes["processors"] = [*known, processor]
