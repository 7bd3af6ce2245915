# mypy: allow-untyped-defs
"""A hash from unordered pairs of numbers to places, five bytes a slot; pairs change and die without notice.

The pair of a place is read from the caller's `links` (places, 4) uint32: its two ends are in columns 0 and 2 (and
beside each, in 1 and 3, the caller's list of places with that end, so that one look in memory finds both). A
place whose first end is DEAD is no more. `slots` is (marks, places): a mark is 0 for a free slot, else some bits of
the hash, so that most slots are passed over without a look at `links`. A slot may be stale: its place has another
pair now, or is dead. That does no harm, as pairs are compared when they are found: a stale slot is passed over,
or leads to the right place by chance. `refill` drops what is stale.
"""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.pairs import hash_pair

DEAD = np.uint32(0xFFFFFFFF)
MOST = 2**31 - 1
"""Places that fit: twice as many ends are counted in uint32, DEAD apart."""


@compiled
def empty_slots(places):
    """Slots for this many places, a power of two of them, half of them in use at the most."""
    size = 16
    while size < 2 * places:
        size *= 2
    return np.zeros(size, np.uint8), np.empty(size, np.uint32)


@compiled
def _start(size, one, other):
    """Where to look first and for which mark, the same for (one, other) and (other, one)."""
    mixed = hash_pair(min(one, other), max(one, other))
    return np.int64(mixed >> np.uint64(20)) & (size - 1), np.uint8((mixed & np.uint64(127)) + np.uint64(1))


@compiled
def joins(links, place, one, other):
    """Whether a place, which may be dead, has this pair."""
    first, second = links[place, 0], links[place, 2]
    return (first == one and second == other) or (first == other and second == one)


@compiled
def find(slots, links, one, other):
    """The slot that holds the place of one and other, or -1."""
    marks, places = slots
    slot, mark = _start(len(marks), one, other)
    while marks[slot]:
        if marks[slot] == mark and joins(links, places[slot], one, other):
            return slot
        slot = (slot + 1) & (len(marks) - 1)
    return -1


@compiled
def insert(slots, one, other, place):
    """Enter a pair that is not there yet; uses up one slot."""
    marks, places = slots
    slot, mark = _start(len(marks), one, other)
    while marks[slot]:
        slot = (slot + 1) & (len(marks) - 1)
    marks[slot], places[slot] = mark, np.uint32(place)


@compiled
def is_crowded(slots, used):
    """Whether it is time to `refill`."""
    return 4 * used > 3 * len(slots[0])


@compiled
def refill(slots, links):
    """Enter all places that live again, so that no slot is stale; returns how many there are."""
    slots[0][:] = 0
    used = 0
    for place in range(len(links)):
        if links[place, 0] != DEAD:
            insert(slots, links[place, 0], links[place, 2], place)
            used += 1
    return used
