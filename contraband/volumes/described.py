"""A network that comes with a description: what the settings do not say is taken from it."""

from __future__ import annotations

from typing import Any

from contraband.models.foreign.description import ENDINGS, StoredDescription, read_description
from contraband.models.foreign.settings import NetworkInput
from contraband.volumes.settings import Model


def with_description(model: Model, kept: object = None) -> tuple[Model, StoredDescription | None]:
    """The same with the network's file, and with what its description says where the settings say nothing.

    kept: what was stored of the description. Returns also what is to be stored of it. Raises BadInput where neither
    says it. What is no description is left as it is, and nothing is stored.
    """
    if model.network is None or model.network.suffix not in ENDINGS:
        return model, None
    description = read_description(model.network, kept)
    told = model.input.model_fields_set
    shown: dict[str, Any] = {
        "axes": model.input.axes if "axes" in told else description.axes(),
        "normalise": model.input.normalise if "normalise" in told else description.normalise(),
    }
    context = model.context or description.context()
    # Whoever tells offsets tells of affinities.
    is_said = "output" in model.model_fields_set or model.offsets is not None
    used = model.model_copy(
        update={
            "network": description.network(),
            "context": context,
            "stride": model.stride or description.stride(context),
            "input": NetworkInput(**shown),
            "output": model.output if is_said else description.says(),
        }
    )
    return used, description.stored
