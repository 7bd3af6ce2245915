"""What fragments are called on disk, when a volume has grown: which old numbers can stay.

A block stores numbers of its own first. `segment` writes final ones over them, and two pieces of a block that meet only
near the old end of the volume have one final number then, although the larger volume may keep them apart. So a final
number stays only if it is the smallest of what is joined within the kept blocks. A number always is 1 + the index of a
voxel of its fragment, so the store's tables may go on calling a fragment by any of them.
"""

from __future__ import annotations

import numpy as np
from funlib.geometry import Roi

from blockwise.grid import Grid, Voxels, unpack
from blockwise.kernels.components import components, unique_pairs
from blockwise.kernels.tables import relabel
from blockwise.stages.tables import COUNTED, JOINS, NAMES, NODE, NODES, RENAMED
from blockwise.store.base import Store
from blockwise.store.table import Table


def note_renaming(store: Store) -> None:
    """Remember that the fragments in the store get final numbers from now on."""
    _note(store, RENAMED)


def note_counting(store: Store) -> None:
    """Remember it if edges are counted, and joins found, on fragments that have final numbers already."""
    if is_renamed(store):
        _note(store, COUNTED)


def is_renamed(store: Store) -> bool:
    """Whether the fragments may have final numbers."""
    return _noted(store, RENAMED)


def is_counted_after(store: Store) -> bool:
    """Whether the joins of the fragments may have been found when these had final numbers: then none are known."""
    return _noted(store, COUNTED)


def carry_numbers(store: Store, grid: Grid, box: Voxels) -> np.ndarray:
    """(counts) bool: blocks in `box` whose final numbers are wrong in a larger volume, and must be redone.

    Of all others the numbers on disk are added to those that the store knows of each block.
    """
    wrong = np.zeros(grid.counts, bool)
    if not is_renamed(store):
        return wrong
    inside = grid.inside(box)
    wrong |= inside  # those that the store has no names of
    joined = components(unique_pairs(store.rows(JOINS, Roi((0, 0, 0), box))))
    for key, names in store.each(NAMES):
        place = unpack(key)
        if not inside[place]:
            continue
        number = relabel(names["provisional"], *joined)
        wrong[place] = (names["fragment"] != number).any()
        if not wrong[place] and (number != names["provisional"]).any():
            store.put(NODES, key, np.union1d(names["provisional"], number).astype(NODE))
    return wrong


def final_numbers(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Provisional numbers of fragments, sorted, and the final ones of those that have another."""
    tables = [table[table["provisional"] != table["fragment"]] for _, table in store.each(NAMES)]
    table = np.unique(NAMES.joined(tables))
    return np.ascontiguousarray(table["provisional"]), np.ascontiguousarray(table["fragment"])


def final_numbers_of(numbers: np.ndarray, grid: Grid, store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Those of some numbers of fragments that have another final one, sorted, and the final ones.

    Only the blocks that the numbers are from are asked. grid: the blocks that fragments were made in.
    """
    some = np.unique(numbers)
    some = some[some > 0]
    tables = [store.get(NAMES, key) for key in np.unique(grid.homes(some)).tolist()]
    table = np.unique(NAMES.joined([rows for rows in tables if rows is not None]))
    table = table[(table["provisional"] != table["fragment"]) & np.isin(table["provisional"], some)]
    return np.ascontiguousarray(table["provisional"]), np.ascontiguousarray(table["fragment"])


def _note(store: Store, table: Table) -> None:
    store.put(table, 0, np.array([_making(store)], table.dtype))


def _noted(store: Store, table: Table) -> bool:
    found = store.get(table, 0)
    return found is not None and found[0] == _making(store)


def _making(store: Store) -> bytes:
    """The fingerprint of the fragments in the store; empty if there are none."""
    return next((one.fingerprint for one in store.stages() if one.name == "fragments"), "").encode()
