"""What a description of bioimage.io does to raw before the network, in the words of settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blockwise.errors import BadInput
from contraband.models.foreign.settings import Normalisation

IN_FLOATS = ("float32", "float64")
TODO = "say model.input.normalise, which is then used instead"


def normalisation(path: Path, tensor: Mapping[str, Any]) -> Normalisation:
    """What all steps of an input do, one after the other.

    path: of the description. Raises BadInput for a step that settings have no words for.
    """
    factor, shift, percentiles = 1.0, 0.0, None
    for step in tensor["preprocessing"]:
        kind, told = step["id"], step.get("kwargs", {})
        if kind == "ensure_dtype" and told["dtype"] in IN_FLOATS:
            continue
        if kind == "scale_range" and percentiles is None:
            # Ranks are the same after a factor and a shift, which need not be kept.
            percentiles, factor, shift = _percentiles(path, tensor, told), 1.0, 0.0
            continue
        gain, more = _linear(path, kind, told)
        factor, shift = factor * gain, shift * gain + more
    found: dict[str, Any] = {"factor": factor, "shift": shift, "percentiles": percentiles}
    return Normalisation.parse(found, f"{path}: its preprocessing")


def _linear(path: Path, kind: str, told: Mapping[str, Any]) -> tuple[float, float]:
    """Factor and shift of a step."""
    if kind == "scale_linear":
        return _single(path, told["gain"]), _single(path, told["offset"])
    if kind == "fixed_zero_mean_unit_variance":
        mean, deviation = _single(path, told["mean"]), _single(path, told["std"])
        return 1 / deviation, -mean / deviation
    if kind == "zero_mean_unit_variance":
        raise BadInput(path, "takes mean and deviation from the image itself, and a tile is not the image", todo=TODO)
    raise BadInput(path, f"computes {kind} before the network, which is not done here", todo=TODO)


def _single(path: Path, value: Any) -> float:
    """A number, or that of the only channel."""
    values = value if isinstance(value, list) else [value]
    if len(values) != 1:
        raise BadInput(path, "normalises several channels", got=values, todo=TODO)
    return float(values[0])


def _percentiles(path: Path, tensor: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Those that become 0 and 1: over sections if each is taken by itself, over the volume if all are together."""
    if told["reference_tensor"] not in (None, tensor["id"]):
        raise BadInput(path, "takes the range from another tensor", got=told["reference_tensor"], todo=TODO)
    kinds = {axis["id"]: axis["type"] for axis in tensor["axes"]}
    space = {name for name, kind in kinds.items() if kind == "space"}
    together = set(kinds) if told["axes"] is None else set(told["axes"])
    within = together & space
    if within == space and ("z" in space or "batch" in together):
        per = "volume"
    elif within == {"y", "x"}:
        per = "section"
    else:
        raise BadInput(path, "takes the range along other axes than settings can", got=sorted(together), todo=TODO)
    return {"low": told["min_percentile"], "high": told["max_percentile"], "per": per}
