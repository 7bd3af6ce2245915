"""What a result depends on, as one digest: settings, code version, inputs and the stages before."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from blockwise.arrays.content import digest, identity, metadata
from blockwise.arrays.volume import Volume
from blockwise.stage import Stage


def fingerprint(stage: Stage, upstream: Mapping[str, str], made: Collection[str] = ()) -> tuple[str, dict[str, Any]]:
    """The sha256 of all that the stage's result depends on, and its ingredients as plain data.

    upstream: fingerprints of the stages it depends on. made: absolute paths of what those write: no inputs.
    """
    grid = stage.grid()
    ingredients: dict[str, Any] = {f"{stage.name}.{key}": value for key, value in flat(stage.parameters()).items()}
    ingredients["code version"] = stage.version
    ingredients["block shape"] = list(grid.block)
    ingredients["volume shape"] = list(grid.volume)
    ingredients.update({key: identity(volume) for key, volume in external(stage, made).items()})
    ingredients.update({f"upstream {name}": digest for name, digest in upstream.items()})
    plain: dict[str, Any] = json.loads(json.dumps(ingredients, sort_keys=True))
    return digest(plain), plain


def external(stage: Stage, made: Collection[str] = ()) -> dict[str, Volume]:
    """The arrays that no stage of the run makes, by their key among the ingredients."""
    return {
        f"input {place} ({volume.path.name})": volume
        for place, volume in enumerate(stage.inputs())
        if str(volume.path.absolute()) not in made
    }


def sources(stage: Stage, made: Collection[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """The metadata of those arrays, to be compared when they have changed."""
    return {key: metadata(volume) for key, volume in external(stage, made).items()}


def explain(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What changed between two sets of ingredients, for people: `fragments.smooth was 0.7, is now 1.0`."""
    changes = []
    for key in [*new, *(key for key in old if key not in new)]:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if key.startswith(("upstream ", "input ")):
            changes.append(f"{key} changed")
        else:
            changes.append(f"{key} was {_short(before)}, is now {_short(after)}")
    return ", ".join(changes) or "nothing that is known"


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    result: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            result.update(flat(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = value
    return result


def _short(value: object, limit: int = 60) -> str:
    text = "unset" if value is None else json.dumps(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
