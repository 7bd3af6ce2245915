# mypy: allow-untyped-defs
"""Walk the merges of a dendrogram from the highest score, keeping the sums that scores are made of."""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.lookup import DEAD, empty_slots, find, insert, is_crowded, refill

PER_BIT = 1 << 52
"""x log2 x of a count is 0 or at least 2, from where on float64 has no finer steps: no term is rounded twice."""


@compiled
def _add_product(words, at, one, other):
    """Add one * other to the two 64-bit words (high, low) at `words[at]`, in which nothing overflows."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    a = one >> half
    b = one & mask
    c = other >> half
    d = other & mask
    low = b * d
    middle = (low >> half) + (a * d & mask) + (b * c & mask)
    high = a * c + (a * d >> half) + (b * c >> half) + (middle >> half)
    low = (middle << half) | (low & mask)
    words[at, 1] += low
    words[at, 0] += high + np.uint64(words[at, 1] < low)


@compiled
def _squares(values):
    words = np.zeros((1, 2), np.uint64)
    for value in values:
        _add_product(words, 0, value, value)
    return words


def sum_of_squares(values: np.ndarray) -> int:
    """The exact sum of the squares of uint64 numbers (at 3e9 voxels a square exceeds int64)."""
    return two_words(_squares(np.ascontiguousarray(values, np.uint64))[0])


def two_words(words: np.ndarray) -> int:
    """(high, low) uint64 as one Python integer."""
    return (int(words[0]) << 64) + int(words[1])


@compiled
def _add_bits(sums, at, voxels, sign):
    """Add x log2 x of a count to `sums[at]`, or take it away: whole bits, and parts of one in units of 1 / PER_BIT.

    Both are whole numbers, so that a sum is the same in whichever order it is made.
    """
    if voxels:
        value = np.float64(voxels)
        bits = value * np.log2(value)
        whole = np.floor(bits)
        sums[at, 0] += sign * np.int64(whole)
        sums[at, 1] += sign * np.int64((bits - whole) * PER_BIT)
        if sums[at, 1] < 0:
            sums[at, 0] -= 1
            sums[at, 1] += PER_BIT
        elif sums[at, 1] >= PER_BIT:
            sums[at, 0] += 1
            sums[at, 1] -= PER_BIT


@compiled
def _bits(values):
    sums = np.zeros((1, 2), np.int64)
    for value in values:
        _add_bits(sums, 0, value, 1)
    return sums


def sum_of_bits(values: np.ndarray) -> int:
    """The sum of x log2 x of uint64 numbers, in units of 1 / PER_BIT; each term is rounded to float64."""
    return in_units(_bits(np.ascontiguousarray(values, np.uint64))[0])


def in_units(bits: np.ndarray) -> int:
    """(whole, rest) int64 as one Python integer, in units of 1 / PER_BIT."""
    return int(bits[0]) * PER_BIT + int(bits[1])


@compiled
def _join_bits(sums, at, one, other):
    """Let two counts become one in a sum of x log2 x."""
    _add_bits(sums, at, one + other, 1)
    _add_bits(sums, at, one, -1)
    _add_bits(sums, at, other, -1)


@compiled
def _matches(node, best, best_truth, size, truth_size):
    """Whether more than half of the union of a cluster and its main truth object is in both."""
    return best[node] > 0 and 3 * best[node] > size[node] + truth_size[best_truth[node]]


@compiled
def _offer(node, row, links, voxels, best, best_truth, is_object):
    """Keep the truth object that shares most voxels with a cluster; of several, the one with the smaller number."""
    truth = links[row, 2] - np.uint32(len(best))
    is_more = voxels[row] > best[node] or (voxels[row] == best[node] and truth < best_truth[node])
    if is_object[truth] and is_more:
        best[node], best_truth[node] = voxels[row], truth


@compiled
def _hand_over(gone, kept, state, is_object, squares, logs):
    """Add the rows of one cluster to those of another; returns the slots used up."""
    links, voxels, slots, head, _, _, best, best_truth = state
    row, used = np.int64(head[gone]), 0
    while row != DEAD:
        after, truth = np.int64(links[row, 1]), links[row, 2]
        slot, there = find(slots, links, kept, truth), row
        # A truth object that `kept` does not meet yet: the row is its from now on, and no count changes.
        if slot < 0:
            links[row, 0] = kept
            insert(slots, kept, truth, row)
            used += 1
            links[row, 1], head[kept] = head[kept], row
        else:
            # Two counts become one: the sums change by what it has more than the two, (a + b)^2 - a^2 - b^2 = 2 a b, so
            # none of them is ever taken over all rows again.
            there = np.int64(slots[1][slot])
            _add_product(squares, 0, voxels[row], np.uint64(2) * voxels[there])
            _join_bits(logs, 0, voxels[row], voxels[there])
            voxels[there] += voxels[row]
            links[row, 0] = DEAD
        # Shared voxels only grow, so the main truth object is found by looking at what has just grown.
        _offer(kept, there, links, voxels, best, best_truth, is_object)
        row = after
    return used


@compiled
def root(parents, node):
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@compiled
def begin(node, truth, voxels, truth_size, is_object, nodes):
    """The state before any merge; truth objects are numbered after the nodes, as both are keys.

    truth_size: (truths,) uint64, in all of what is scored, of which the rows may be some.
    """
    links = np.empty((len(node), 4), np.uint32)
    voxels = voxels.copy()
    slots = empty_slots(len(node))
    head = np.full(nodes, DEAD, np.uint32)
    size = np.zeros(nodes, np.uint64)
    best, best_truth = np.zeros(nodes, np.uint64), np.zeros(nodes, np.uint32)
    for row in range(len(node)):
        at = node[row]
        links[row, 0], links[row, 2] = at, truth[row] + nodes
        insert(slots, links[row, 0], links[row, 2], row)
        links[row, 1], head[at] = head[at], row
        size[at] += voxels[row]
        _offer(at, row, links, voxels, best, best_truth, is_object)
    return links, voxels, slots, head, size, truth_size, best, best_truth


@compiled
def _count(node, present, state, counts, sign):
    """Add a cluster to the counts of segments, evaluated ones and matched ones, or take it out again."""
    size = state[4]
    truth_size = state[5]
    best = state[6]
    best_truth = state[7]
    if present[node] == 1:
        counts[0] += sign
        counts[1] += sign * (size[node] > 0)
        counts[2] += sign * _matches(node, best, best_truth, size, truth_size)


@compiled
def merge_clusters(kept, gone, present, state, is_object, squares, logs, counts):
    """Merge two clusters and keep all sums and counts; returns the slots used up."""
    size = state[4]
    # Whether a cluster counts and matches depends on all of it: both are taken out, and what they become is put in.
    _count(kept, present, state, counts, -1)
    _count(gone, present, state, counts, -1)
    used = _hand_over(gone, kept, state, is_object, squares, logs)
    if size[kept] and size[gone]:
        _add_product(squares, 1, size[kept], np.uint64(2) * size[gone])
        _join_bits(logs, 1, size[kept], size[gone])
    size[kept] += size[gone]
    # What holds background is background, the largest of the three.
    present[kept] = max(present[kept], present[gone])
    _count(kept, present, state, counts, 1)
    return used


@compiled
def walk(node, truth, voxels, truth_size, is_object, present, child, parent, score, thresholds):
    """What all merges above each threshold change.

    node, truth, voxels: rows of the table: cluster (int64), truth object (int64), shared voxels (uint64).
    truth_size, is_object: (truths,) uint64 and bool: voxels in all, and False for a truth that is background.
    present:    (nodes,) uint8, 0 not in the table, 1 is in it, 2 is background: in it, but not an object.
    child, parent, score: the merges of nodes, best first. thresholds: falling.
    Returns for each threshold what is added to the sums of (pairs, clusters), squares (2, 2) uint64 and logarithms
    (2, 2) int64, each in two words; and counts (3,): segments, segments with voxels to evaluate, and those of them that
    match a truth object.
    """
    # Thresholds fall, so the merges of one are the first merges of the next: all of them cost one walk.
    nodes = len(present)
    steps = len(thresholds)
    merge = 0
    used = len(node)
    state = begin(node, truth, voxels, truth_size, is_object, nodes)
    squares = np.zeros((2, 2), np.uint64)
    logs = np.zeros((2, 2), np.int64)
    counts = np.zeros(3, np.int64)
    # Which number a cluster goes by matters to nobody outside: that of the one with more rows is kept, so that a row is
    # handed over log2(rows) times at most.
    length, parents = np.bincount(node, minlength=nodes), np.arange(nodes)
    for at in range(nodes):
        _count(at, present, state, counts, 1)
    all_squares = np.zeros((steps, 2, 2), np.uint64)
    all_logs = np.zeros((steps, 2, 2), np.int64)
    all_counts = np.zeros((steps, 3), np.int64)
    for step in range(steps):
        while merge < len(score) and score[merge] > thresholds[step]:
            kept = root(parents, parent[merge])
            gone = root(parents, child[merge])
            if length[kept] < length[gone]:
                kept, gone = gone, kept
            used += merge_clusters(kept, gone, present, state, is_object, squares, logs, counts)
            parents[gone] = kept
            length[kept] += length[gone]
            # Slots of rows that are no more are not given back one by one.
            if is_crowded(state[2], used):
                used = refill(state[2], state[0])
            merge += 1
        all_squares[step], all_logs[step], all_counts[step] = squares, logs, counts
    return all_squares, all_logs, all_counts
