# mypy: allow-untyped-defs
"""Walk the merges of a dendrogram from the highest score, keeping the sums that scores are made of."""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.lookup import DEAD, empty_slots, find, insert, is_crowded, refill


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
def _add(sums, at, value):
    """Add to a sum and keep what rounding lost beside it (Neumaier 1974)."""
    total = sums[at, 0] + value
    if abs(sums[at, 0]) >= abs(value):
        sums[at, 1] += (sums[at, 0] - total) + value
    else:
        sums[at, 1] += (value - total) + sums[at, 0]
    sums[at, 0] = total


@compiled
def _bits(one, other):
    """How much x log2 x grows when two counts become one."""
    first, second = np.float64(one), np.float64(other)
    both = first + second
    result = both * np.log2(both)
    if one:
        result -= first * np.log2(first)
    if other:
        result -= second * np.log2(second)
    return result


@compiled
def _matches(node, best, best_truth, size, truth_size):
    """Whether more than half of the union of a cluster and its main truth object is in both."""
    return best[node] > 0 and 3 * best[node] > size[node] + truth_size[best_truth[node]]


@compiled
def _offer(node, row, links, voxels, best, best_truth, is_object):
    """Keep the truth object that shares most voxels with a cluster."""
    truth = links[row, 2] - np.uint32(len(best))
    if is_object[truth] and voxels[row] > best[node]:
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
            _add(logs, 0, _bits(voxels[row], voxels[there]))
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
def begin(node, truth, voxels, is_object, nodes):
    """The state before any merge; truth objects are numbered after the nodes, as both are keys."""
    links = np.empty((len(node), 4), np.uint32)
    voxels = voxels.copy()
    slots = empty_slots(len(node))
    head = np.full(nodes, DEAD, np.uint32)
    size = np.zeros(nodes, np.uint64)
    truth_size = np.zeros(len(is_object), np.uint64)
    best, best_truth = np.zeros(nodes, np.uint64), np.zeros(nodes, np.uint32)
    for row in range(len(node)):
        at = node[row]
        links[row, 0], links[row, 2] = at, truth[row] + nodes
        insert(slots, links[row, 0], links[row, 2], row)
        links[row, 1], head[at] = head[at], row
        size[at] += voxels[row]
        truth_size[truth[row]] += voxels[row]
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
        _add(logs, 1, _bits(size[kept], size[gone]))
    size[kept] += size[gone]
    # What holds background is background, the largest of the three.
    present[kept] = max(present[kept], present[gone])
    _count(kept, present, state, counts, 1)
    return used


@compiled
def walk(node, truth, voxels, is_object, present, child, parent, score, thresholds, start):
    """Sums after all merges above each threshold.

    node, truth, voxels: rows of the table: cluster (int64), truth object (int64), shared voxels (uint64).
    is_object:  (truths,) bool, False for a truth that is background.
    present:    (nodes,) uint8, 0 not in the table, 1 is in it, 2 is background: in it, but not an object.
    child, parent, score: the merges of nodes, best first. thresholds: falling.
    start:      the logarithms' sums (pairs, clusters) before any merge, float64.
    Returns for each threshold: squares (2, 2) uint64 added to (pairs, clusters), logs (2,), and counts (3,):
    segments, segments with voxels to evaluate, and those of them that match a truth object.
    """
    # Thresholds fall, so the merges of one are the first merges of the next: all of them cost one walk.
    nodes = len(present)
    steps = len(thresholds)
    merge = 0
    used = len(node)
    state = begin(node, truth, voxels, is_object, nodes)
    squares = np.zeros((2, 2), np.uint64)
    logs = np.zeros((2, 2))
    counts = np.zeros(3, np.int64)
    logs[:, 0] = start
    # Which number a cluster goes by matters to nobody outside: that of the one with more rows is kept, so that a row is
    # handed over log2(rows) times at most.
    length, parents = np.bincount(node, minlength=nodes), np.arange(nodes)
    for at in range(nodes):
        _count(at, present, state, counts, 1)
    all_squares = np.zeros((steps, 2, 2), np.uint64)
    all_logs = np.zeros((steps, 2))
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
        all_squares[step], all_counts[step] = squares, counts
        # What rounding lost was kept apart all the way, and is added at last.
        all_logs[step] = logs[:, 0] + logs[:, 1]
    return all_squares, all_logs, all_counts
