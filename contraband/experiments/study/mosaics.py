"""Which images are tiles of one mosaic, found by the borders they have in common, and how mosaics are dealt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mosaics(images: NDArray[np.integer], least_correlation: float) -> NDArray[np.int64]:
    """(S,): for each image of (S, y, x) the number of its mosaic, from 0 in the order of their first images.

    Two images are joined if the last row (column) of one and the first of the other are each other's best match among
    all images and correlate better than `least_correlation`. Borders of one value alone match nothing.
    """
    joined = np.zeros((len(images), len(images)), bool)
    for last, first in ((images[:, -1], images[:, 0]), (images[:, :, -1], images[:, :, 0])):
        correlation = _centred(last) @ _centred(first).T
        np.fill_diagonal(correlation, -1)
        after = correlation.argmax(1)
        before = correlation.argmax(0)
        here = np.arange(len(images))
        fits = (before[after] == here) & (correlation[here, after] > least_correlation)
        joined[here[fits], after[fits]] = True
    return _components(joined | joined.T)


def deal(groups: NDArray[np.int64], shares: tuple[float, ...], seed: int) -> NDArray[np.int64]:
    """(S,): the region of each image, an index into `shares`, whole groups together.

    The largest groups are dealt first, each to the region that lacks most images of its share, equal ones in an order
    drawn with `seed`; so each region gets about its share, and one at least where there are as many groups as regions.
    """
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    wanted = np.array(shares) * len(groups)
    given = np.zeros(len(shares))
    region = np.zeros(len(sizes), np.int64)
    for place, group in enumerate(order):
        empty = np.flatnonzero(given == 0)
        is_last_chance = len(order) - place <= len(empty)
        region[group] = empty[0] if is_last_chance else int(np.argmax(wanted - given))
        given[region[group]] += sizes[group]
    return region[groups]


def _centred(borders: NDArray[np.integer]) -> NDArray[np.float64]:
    """Borders (S, n) of mean 0 and length 1, so that products are correlations; 0 where a border is of one value."""
    centred = borders - borders.mean(1, keepdims=True)
    length = np.sqrt((centred * centred).sum(1, keepdims=True))
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-9)


def _components(joined: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(S,): components of a symmetric relation, numbered in the order of their first members."""
    from scipy.sparse.csgraph import connected_components

    number = connected_components(joined, directed=False)[1]
    _, first, place = np.unique(number, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[place].astype(np.int64)
