# mypy: allow-untyped-defs
"""A hash from unordered pairs of rows to places in two columns, in which pairs may be removed again.

`slots` has a power of two of entries: a place, FREE or GONE. The pair of a place is read from the columns
`first` and `second` (uint32) of the caller, so a slot costs four bytes.
"""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.pairs import hash_pair

FREE = np.uint32(0xFFFFFFFF)
GONE = np.uint32(0xFFFFFFFE)
MOST = 2**31
"""Places that fit: twice as many half-edges must be countable in uint32, FREE and GONE apart."""


@compiled
def empty_slots(places):
    """Slots for this many places, two thirds full at the most."""
    size = 16
    while 2 * size < 3 * places:
        size *= 2
    return np.full(size, FREE, np.uint32)


@compiled
def _start(one, other):
    return hash_pair(min(one, other), max(one, other)) >> np.uint64(20)


@compiled
def find(slots, first, second, one, other):
    """The slot that holds one and other, or -1."""
    mask = np.uint64(len(slots) - 1)
    slot = _start(one, other) & mask
    while slots[slot] != FREE:
        place = slots[slot]
        if place != GONE:
            ends = first[place], second[place]
            if ends == (one, other) or ends == (other, one):
                return np.int64(slot)
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1)


@compiled
def insert(slots, one, other, place):
    """Enter a pair that is not there yet; returns 1 if a FREE slot was used up, else 0."""
    mask = np.uint64(len(slots) - 1)
    slot = _start(one, other) & mask
    while slots[slot] != FREE and slots[slot] != GONE:
        slot = (slot + np.uint64(1)) & mask
    fresh = 1 if slots[slot] == FREE else 0
    slots[slot] = np.uint32(place)
    return fresh


@compiled
def remove(slots, slot):
    """Take the pair out of a slot; returns 1 if the slot is FREE again, 0 if it must stay GONE."""
    after = (slot + 1) & (len(slots) - 1)
    if slots[after] == FREE:
        slots[slot] = FREE
        return 1
    slots[slot] = GONE
    return 0


@compiled
def clean(slots, first, second):
    """Enter all pairs anew, so that no slot is GONE; returns how many there are."""
    places = slots[slots < GONE]
    slots[:] = FREE
    for place in places:
        insert(slots, first[place], second[place], place)
    return len(places)
