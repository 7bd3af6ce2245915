"""A volume that has only become larger: what of the finished stages stays as it is, and how the store takes it over.

What counts is a box of whole blocks that begins at the first voxel. Outside of it everything is redone: blocks that
the end of the old volume cut off, and those that read beyond it. Blocks are named by their place, so none is renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from blockwise.arrays.content import content_identity, metadata
from blockwise.arrays.volume import Volume, as_shard, can_grow, info
from blockwise.engine.fingerprint import explain, external, fingerprint
from blockwise.errors import Stale
from blockwise.grid import Grid, Voxels, as_voxels
from blockwise.stage import Stage
from blockwise.store.base import StageInfo, Store

_ASIDE = ("identity", "source")
"""Attributes that an import gives to what it has read, other than what the voxels mean."""

_LAYOUT = frozenset(
    (
        "chunk_grid",
        "chunk_key_encoding",
        "chunks",
        "codecs",
        "compressor",
        "dimension_separator",
        "filters",
        "order",
        "storage_transformers",
    )
)
"""How voxels lie in files."""


@dataclass(frozen=True)
class Kept:
    """What stays of one stage."""

    stage: Stage
    info: StageInfo
    """As it will be remembered."""
    box: Voxels
    """Results in here are as they were."""
    done: np.ndarray
    """(counts) bool: the finished blocks that stay."""


@dataclass
class Growth:
    """Stages of a line whose volume has grown, gathered from the first to the last."""

    store: Store
    known: Mapping[str, StageInfo]
    trusted: bool = False
    """The user's word that no old voxel has changed; without it only what can be proved counts."""
    kept: dict[str, Kept] = field(default_factory=dict)
    redone: dict[str, Grid] = field(default_factory=dict)
    """Stages that are made again as a whole because of those."""
    sources: dict[Path, tuple[Voxels, Voxels]] = field(default_factory=dict)
    """The arrays that have grown: from which shape to which."""

    def covers(self, stage: Stage, new: StageInfo, made: set[str]) -> bool:
        """Whether growth is all that makes the stage's finished blocks stale; if so, it is among `kept` or `redone`.

        Raises Stale if only the content of an array is in doubt.
        """
        old = self.known[stage.name]
        # With the old shape put back the fingerprint must be the old one; else more has changed, and the stage is
        # stale.
        was = as_it_was(stage, old, made)
        if was is None or not self._is_all(old, was, new):
            return False
        same = self._same(old)
        # A stage that can keep no box is made again as a whole if something ahead of it has grown; else growth is no
        # excuse.
        box = stage.unchanged_box(same, self.store) if same else None
        if box is None or not all(box) or not _fits(stage):
            if not self._above(old):
                return False
            self.redone[stage.name] = new.grid
            return True
        # Finished blocks of the old volume, and those that a run has taken over before it died.
        fits = self.store.done_mask(stage.name, new.grid, old.fingerprint)
        fits |= self.store.done_mask(stage.name, new.grid, new.fingerprint)  # a run may have died within `enter`
        # Whether old voxels are the same costs reading them, so it is asked last, and matters only if a block would be
        # kept.
        if doubt := self._doubt(stage, old, made):
            if fits.any():
                raise doubt
            self.redone[stage.name] = new.grid
            return True
        self.kept[stage.name] = Kept(stage, new, box, fits & new.grid.inside(box))
        return True

    def take_over(self, clear: Iterable[str], announce: Callable[[str], None]) -> None:
        """Forget what is made again, and keep what has only grown: the one call that a run makes."""
        self._leave_out_redone()
        if kept := self.describe():
            announce(kept)
        for name in clear:
            self.store.clear(name)
        self.enter()

    def _leave_out_redone(self) -> None:
        """Let the stages do what they must while the store still knows everything of the old volume."""
        for name, one in self.kept.items():
            self.kept[name] = replace(one, done=one.done & ~one.stage.blocks_to_redo(one.box, self.store))

    def enter(self) -> None:
        """Let the store take the kept blocks for those of the grown volume; the last stage first.

        Whenever a run dies in between, the stages ahead are still those of the old volume, and the next run goes on.
        """
        for name, one in reversed(self.kept.items()):
            self.store.keep(name, one.info.grid.keys()[one.done], one.info.fingerprint)
            self.store.put_stage(one.info)

    def describe(self) -> str:
        """What grew, what is kept and what is made, in one line; empty if nothing has grown."""
        if not self.kept:
            return ""
        grown = "; ".join(f"{path} grew from {list(old)} to {list(new)}" for path, (old, new) in self.sources.items())
        stages = [
            f"{name} keeps {np.count_nonzero(one.done)} blocks and makes {np.count_nonzero(~one.done)}"
            for name, one in self.kept.items()
        ]
        if self.redone:
            stages.append("redone: " + ", ".join(f"{name} ({grid.count})" for name, grid in self.redone.items()))
        return f"{grown}: {'; '.join(stages)}"

    def _above(self, old: StageInfo) -> set[str]:
        """Stages that have grown and that this one was made from."""
        return {name for name in (*self.kept, *self.redone) if f"upstream {name}" in old.ingredients}

    def _is_all(self, old: StageInfo, was: Mapping[str, Any], new: StageInfo) -> bool:
        """Whether nothing but the volume has changed, and what comes from outside or from stages that have grown."""
        if old.ingredients.keys() != new.ingredients.keys():
            return False
        above = {f"upstream {name}": self.known[name].fingerprint for name in self._above(old)}
        for key, value in old.ingredients.items():
            if key.startswith("upstream "):
                fits = value in (above.get(key), new.ingredients[key])
            else:
                fits = key.startswith("input ") or was[key] == value
            if not fits:
                return False
        return True

    def _same(self, old: StageInfo) -> Voxels | None:
        """The box in which what the stage reads is as it was; None if some of it is redone."""
        above = self._above(old)
        if above & set(self.redone):
            return None
        boxes = [old.grid.volume, *(self.kept[name].box for name in above)]
        return as_voxels(min(ends) for ends in zip(*boxes, strict=True))

    def _doubt(self, stage: Stage, old: StageInfo, made: set[str]) -> Stale | None:
        """What is to be raised unless all arrays from outside are known to be the old ones, and more."""
        before, after = old.grid.volume, stage.grid().volume
        for key, volume in external(stage, made).items():
            doubt = doubtful(old.sources.get(key), volume, before, after, self.trusted)
            if doubt:
                return Stale(
                    stage.name,
                    f"its volume has grown from {list(before)} to {list(after)}, and {key} {doubt}",
                    todo=f"use --grown if no old voxel has changed, else --redo {stage.name}",
                )
            self.sources[volume.path] = (before, after)
        return None


def as_it_was(stage: Stage, old: StageInfo, made: set[str]) -> dict[str, Any] | None:
    """The ingredients of the stage's fingerprint on the old volume, which is smaller; None if it is not.

    Arrays from outside are those of today; stages ahead are left out.
    """
    before, after = old.grid.volume, stage.grid().volume
    smaller = all(a <= b for a, b in zip(before, after, strict=True)) and before != after
    if "shape" not in type(stage).model_fields or not smaller:
        return None
    changes: dict[str, Any] = {"shape": before}
    if getattr(stage, "truth_shape", None) == after:
        changes["truth_shape"] = before
    return fingerprint(stage.model_copy(update=changes), {}, made)[1]


def doubtful(old: list[dict[str, Any]] | None, volume: Volume, before: Voxels, after: Voxels, trusted: bool) -> str:
    """Why an array is not known to hold the voxels it held when its metadata were `old`; empty if it is."""
    if old is None:
        return "was read by an earlier version"
    new = metadata(volume)
    aside = frozenset() if trusted else _LAYOUT  # the voxels themselves are compared
    before_plain = dict(_plain(old, aside))
    after_plain = dict(_plain(new, aside))
    if before_plain != after_plain:
        return f"changed: {explain(before_plain, after_plain)}"
    if _spatial(old) != before or _spatial(new) != after:
        return "has a different shape from the volume"
    if trusted:
        return ""
    identity = _attributes(old).get("identity")
    if identity is None:
        return "has no attribute identity to compare its old voxels by"
    return "" if content_identity(volume, before) == identity else "has changed within the old volume"


def _plain(documents: list[dict[str, Any]], aside: Collection[str]) -> Iterator[tuple[str, Any]]:
    """What metadata say apart from the shape along z, y, x, what an import notes, and the keys left aside."""
    for place, document in enumerate(deepcopy(documents)):
        for attributes in (document, document.get("attributes", {})):
            for name in _ASIDE:
                attributes.pop(name, None)
        if "shape" in document:
            document["shape"] = document["shape"][:-3]
        yield from ((f"{place} {key}", value) for key, value in document.items() if key not in aside)


def _attributes(documents: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for document in documents:
        found |= document | document.get("attributes", {})
    return found


def _spatial(documents: list[dict[str, Any]]) -> Voxels:
    return as_voxels(_attributes(documents)["shape"][-3:])


def _fits(stage: Stage) -> bool:
    """Whether all outputs are there and can be enlarged in place."""
    grid = stage.grid()
    shard = as_shard(grid.block, grid.volume)
    for volume in stage.outputs():
        if not volume.path.exists():
            return False
        found = info(volume)
        shape = (*found.shape[:-3], *grid.volume)
        if found.shape != shape and not can_grow(found, shape, shard):  # a run may have died after enlarging it
            return False
    return True
