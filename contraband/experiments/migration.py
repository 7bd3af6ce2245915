"""`param_dict.json` files of the original tool: what is spelt or meant otherwise there, each with a warning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from blockwise.errors import BadInput

log = logging.getLogger(__name__)

HEADS = {"SimpleSegHead": "Simple", "SparseSegHead": "Sparse"}
EMBEDDINGS = "embs"


def migrated(data: Mapping[str, Any], where: object) -> dict[str, Any]:
    """The file as it is written today; sections that are no mappings stay for others to refuse."""
    result = dict(data)
    for name in ("contrastive", "seg"):
        if isinstance(result.get(name), dict):
            result[name] = _section(result[name], f"{where}: {name}")
    seg = result.get("seg")
    if isinstance(seg, dict) and isinstance(seg.get("dataset"), list):
        datasets = [_datasets(one, result.get("save_embs"), f"{where}: seg.dataset") for one in seg["dataset"]]
        result["seg"] = seg | {"dataset": datasets}
    return result


def _section(section: dict[str, Any], where: str) -> dict[str, Any]:
    """`basline`, names of classes as heads, and `epochs`, which never did anything."""
    found = {("baseline" if key == "basline" else key): value for key, value in section.items()}
    if "basline" in section:
        if "baseline" in section:
            raise BadInput(f"{where}.basline", "is given together with baseline", todo="remove basline")
        log.warning("%s: 'basline' is read as 'baseline'; please correct the spelling", where)
    if "epochs" in found:
        del found["epochs"]
        log.warning("%s: 'epochs' is not read; num_iterations says how long to train", where)
    heads = found.get("seg_head")
    if isinstance(heads, list) and any(isinstance(head, str) and head in HEADS for head in heads):
        found["seg_head"] = [HEADS.get(head, head) if isinstance(head, str) else head for head in heads]
        log.warning("%s: seg_head %s is read as %s", where, heads, found["seg_head"])
    return found


def _datasets(splits: object, save_embs: object, where: str) -> object:
    """Raw, from which embeddings are made, where these (`embs`) stand for it: they have a place of their own."""
    if not isinstance(splits, dict):
        return splits
    result = dict(splits)
    for name, pair in splits.items():
        if isinstance(pair, dict) and pair.get("raw") == EMBEDDINGS:
            raw = _source_of(pair.get("gt"), save_embs)
            if raw is None:
                raise BadInput(f"{where}.{name}.raw", "says embs, but save_embs names no raw", todo="name the raw data")
            result[name] = pair | {"raw": raw}
            log.warning(
                "%s: raw of %s, '%s', is read as '%s', which embeddings are made from", where, name, EMBEDDINGS, raw
            )
    return result


def _source_of(labels: object, save_embs: object) -> str | None:
    """The raw data set of `save_embs` beside the labels, or its first."""
    names = save_embs.get("datasets") if isinstance(save_embs, dict) else None
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    beside = [name for name in texts if PurePosixPath(name).parent == PurePosixPath(str(labels)).parent]
    return next(iter(beside or texts), None)
