"""How far a line of stages is by the store's word, and whether a run would go on from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blockwise.engine.fingerprint import explain, fingerprint
from blockwise.engine.preflight import depends, missing
from blockwise.stage import Stage
from blockwise.store.base import Failure, Store


@dataclass(frozen=True)
class Standing:
    """One stage as the store knows it."""

    stage: Stage
    done: int
    """Blocks, however they were made."""
    failures: tuple[Failure, ...] = ()
    changes: str = ""
    """What has changed since these were made; empty if nothing has."""
    gone: tuple[Path, ...] = ()
    """What it has written and is not there any more."""

    @property
    def state(self) -> str:
        """One word, or how much is done."""
        blocks = self.stage.grid().count
        if self.gone:
            return "gone"
        if self.changes:
            return "stale"
        if self.done >= blocks:
            return "done"
        return "failed" if self.failures else f"{self.done / blocks:.0%}"


def standings(stages: Sequence[Stage], store: Store) -> list[Standing]:
    """Every stage of the whole line, in its order; reads metadata only."""
    known = {info.name: info for info in store.stages()}
    digests: dict[str, str] = {}
    made: set[str] = set()
    found = []
    for stage in stages:
        upstream = {name: digest for name, digest in digests.items() if depends(stage, name)}
        digests[stage.name], ingredients = fingerprint(stage, upstream, made)
        made |= {str(volume.path.absolute()) for volume in stage.outputs()}
        done = int(np.count_nonzero(store.done_mask(stage.name, stage.grid())))
        failures = tuple(store.failures(stage.name))
        old = known.get(stage.name)
        if old is None or not store.totals(stage.name).done:
            found.append(Standing(stage, done, failures))
            continue
        is_same = old.fingerprint == digests[stage.name]
        changes = "" if is_same else explain(old.ingredients, ingredients)
        found.append(Standing(stage, done, failures, changes, tuple(missing(stage, old))))
    return found
