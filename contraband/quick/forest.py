# mypy: allow-untyped-defs
"""A random forest: scikit-learn grows it, compiled code walks it, so that predicting needs neither it nor a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray

from blockwise.kernels.compiled import compiled
from contraband.quick.head import QuickHead

TREES = 100
CHUNK = 1024
"""Voxels that walk through a tree one after the other, while the tree is in the cache."""


class Forest(QuickHead):
    """Trees, node by node: `feature` is -1 at a leaf, else voxels with at most `threshold` go to the left."""

    kind = "forest"

    def __init__(self, tables: Mapping[str, NDArray[np.generic]]) -> None:
        super().__init__(np.asarray(tables["seen"], np.int64), int(tables["features"]))
        self._roots = np.ascontiguousarray(tables["roots"], np.int32)
        self._feature = np.ascontiguousarray(tables["feature"], np.int32)
        self._threshold = np.ascontiguousarray(tables["threshold"], np.float64)
        self._children = np.ascontiguousarray(tables["children"], np.int32)
        self._share = np.ascontiguousarray(tables["share"], np.float32)
        nodes = len(self._feature)
        inner = self._feature >= 0
        # a file may hold anything: nothing outside of these arrays may be read, and every walk must end
        if (
            self._children.shape != (nodes, 2)
            or self._share.shape != (nodes, len(self.seen))
            or self._threshold.shape != (nodes,)
            or not len(self._roots)
            or np.any(np.diff(self._roots) <= 0)
            or np.any((self._roots < 0) | (self._roots >= nodes))
            or np.any(self._feature >= self.features)
            or np.any(self._children[inner] <= np.flatnonzero(inner)[:, None])
            or np.any(self._children >= nodes)
        ):
            raise ValueError("the trees are no trees")
        self._steps = _as_steps(self._feature, self._threshold, self._children)
        self._depths = _depths(self._roots, self._feature, self._children)

    @classmethod
    def fitted(cls, features_PF: NDArray[np.float32], classes_P: NDArray[np.integer], seed: int) -> Self:
        """A hundred trees in which every class weighs the same."""
        from sklearn.ensemble import RandomForestClassifier

        found = RandomForestClassifier(TREES, class_weight="balanced", random_state=seed, n_jobs=1)
        found.fit(features_PF, classes_P)
        trees = [tree.tree_ for tree in found.estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
        left_right = [
            np.stack([tree.children_left, tree.children_right], 1) + at for tree, at in zip(trees, roots, strict=True)
        ]
        share = np.concatenate([tree.value[:, 0] for tree in trees])
        feature = np.concatenate([tree.feature for tree in trees])
        return cls(
            {
                "seen": found.classes_,
                "features": np.array(features_PF.shape[1]),
                "roots": roots,
                "feature": np.maximum(feature, -1),
                "threshold": np.concatenate([tree.threshold for tree in trees]),
                "children": np.where(feature[:, None] >= 0, np.concatenate(left_right), 0),
                "share": share / share.sum(axis=1, keepdims=True),
            }
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {
            "seen": self.seen,
            "features": np.array(self.features),
            "roots": self._roots,
            "feature": self._feature,
            "threshold": self._threshold,
            "children": self._children,
            "share": self._share,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Forest:
        return cls(arrays)

    def _into(self, features_FN: NDArray[np.float32], result_CN: NDArray[np.float32]) -> None:
        _walk(features_FN, self._roots, self._depths, *self._steps, self._share, result_CN)


def _as_steps(
    feature: NDArray[np.int32], threshold: NDArray[np.float64], children: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Trees in which a leaf leads to itself, so that all walks through one are equally long and none has to ask."""
    own = np.arange(len(feature), dtype=np.int32)
    is_leaf = feature < 0
    # a float32 is at most a float64 if it is at most the largest float32 that is
    near = threshold.astype(np.float32)
    near = np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
    onward = np.where(is_leaf[:, None], own[:, None], children)
    return np.where(is_leaf, 0, feature), near, np.ascontiguousarray(onward.reshape(-1))


@compiled
def _depths(roots, feature, children):
    """(T,) the steps from each root to its deepest leaf."""
    depth = np.zeros(len(feature), np.int32)
    for node in range(len(feature)):  # children come after their parents
        if feature[node] >= 0:
            depth[children[node, 0]] = depth[node] + 1
            depth[children[node, 1]] = depth[node] + 1
    result = np.zeros(len(roots), np.int32)
    for tree in range(len(roots)):
        end = roots[tree + 1] if tree + 1 < len(roots) else len(feature)
        for node in range(roots[tree], end):
            result[tree] = max(result[tree], depth[node])
    return result


@compiled
def _walk(features, roots, depths, feature, threshold, onward, share, result):
    """Write the mean of the leaves that each voxel comes to: (C, N) of features (F, N)."""
    classes, voxels = result.shape
    rows = np.empty((CHUNK, features.shape[0]), np.float32)
    nodes = np.empty(CHUNK, np.int32)
    sums = np.empty((CHUNK, classes), np.float32)
    for low in range(0, voxels, CHUNK):
        count = min(voxels - low, CHUNK)
        # a voxel's features side by side: each walk looks at a few of them only
        for f in range(features.shape[0]):
            for n in range(count):
                rows[n, f] = features[f, low + n]
        sums[:] = 0
        for tree in range(len(roots)):
            nodes[:] = roots[tree]
            for _ in range(depths[tree]):
                for n in range(count):
                    node = nodes[n]
                    nodes[n] = onward[2 * node + (rows[n, feature[node]] > threshold[node])]
            for n in range(count):
                for c in range(classes):
                    sums[n, c] += share[nodes[n], c]
        for c in range(classes):
            for n in range(count):
                result[c, low + n] = sums[n, c] / np.float32(len(roots))
